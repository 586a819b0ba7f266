//! Datagrams of any kind to a director, and any answers to a client: nothing panics, every answer is one.
#![no_main]

#[allow(dead_code, reason = "the tests of lvsx-ipvs use all of it")]
#[path = "../../../crates/ipvs/tests/support/memory.rs"]
mod memory;

use libfuzzer_sys::fuzz_target;
use lvsx_ipvs::{Client, Request, Rights, Transport, answer_as};
use memory::MemoryDirector;

/// Longest datagram that sockets take; answers to many messages together may be longer.
const LONGEST: usize = 1 << 16;

fuzz_target!(|datagram: &[u8]| {
    let mut director = MemoryDirector::new();
    for rights in [Rights::Weights, Rights::All] {
        for answer in answer_as(rights, datagram, Some(7), &mut director) {
            assert!(answer.len() >= 20, "an answer without a message");
            // An error quotes its request.
            assert!(answer.len() <= LONGEST + 20, "{} bytes", answer.len());
            assert_eq!(answer[12..16], 7u32.to_ne_bytes());
        }
        // Who may set weights cannot add what they would be for.
        assert!(rights == Rights::All || director.services.is_empty());
    }
    // What was taken is listed, and read back.
    let mut listing = Client::new(Transport::local(move |asked| {
        answer_as(Rights::All, asked, None, &mut director)
    }));
    for service in listing.services().expect("a listing") {
        let _ = listing.destinations(&service.key).expect("a listing");
    }
    let whole = listing.table(true).expect("a table").expect("a table");
    for (service, destinations) in whole.rows() {
        let listed = listing.destinations(&service.key).expect("a listing");
        assert_eq!(destinations, listed);
    }
    // The same bytes as an answer, to a client that waits for one to its first request.
    let answering = || {
        let bytes = datagram.to_vec();
        Client::new(Transport::local(move |_| vec![bytes.clone()]))
    };
    let _ = answering().call(&Request::Services);
    if let Ok(Some(whole)) = answering().table(datagram.len() % 2 == 1) {
        whole.rows().for_each(drop);
    }
});
