//! Files put to the kernel's IPVS, which takes them line by line and may refuse one in the midst.

use super::*;
use crate::memory::MemoryDirector;
use lvsx_ipvs::{Transport, answer};
use std::cell::RefCell;
use std::rc::Rc;

/// `ENOMEM`, as the kernel answers a request with it.
fn out_of_memory(request: &[u8]) -> Vec<u8> {
    let header = &request[..16];
    let mut answer = Vec::from(36u32.to_ne_bytes());
    answer.extend(2u16.to_ne_bytes());
    answer.extend(&header[6..]);
    answer.extend((-12i32).to_ne_bytes());
    answer.extend(header);
    answer
}

/// The kernel's IPVS, out of memory where a request speaks of this address.
fn kernel(refused: [u8; 4]) -> (Client, Rc<RefCell<MemoryDirector>>) {
    let director = Rc::new(RefCell::new(MemoryDirector::new()));
    let asked = Rc::clone(&director);
    let client = Client::new(Transport::local_kernel(move |request| {
        let is_change = request[16] != lvsx_ipvs::consts::cmd::GET_DEST;
        match is_change && request.windows(4).any(|bytes| bytes == refused) {
            true => vec![out_of_memory(request)],
            false => answer(request, &mut *asked.borrow_mut()),
        }
    }));
    (client, director)
}

const FILE: &str = "\
-A -t 192.0.2.1:80 -s rr
-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 1
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1

-a -t 192.0.2.1:80 -r 10.0.0.3:80 -m -w 1
-A -t 192.0.2.2:80 -s rr
";

fn servers(director: &RefCell<MemoryDirector>) -> Vec<Vec<String>> {
    let services = &director.borrow().services;
    let of = |(_, destinations): &(_, Vec<lvsx_ipvs::Destination>)| {
        let addresses = destinations.iter().map(|it| it.key.addr.to_string());
        addresses.collect()
    };
    services.iter().map(of).collect()
}

#[test]
fn what_the_kernel_refuses_halfway_is_named_and_what_is_left_is_said() {
    let (mut client, director) = kernel([10, 0, 0, 2]);
    let mut rules = Rules::read("web.rules", FILE.as_bytes());
    let undone = apply(&mut client, &mut rules, Wish::default()).expect_err("one is refused");
    assert_eq!(
        undone.to_string(),
        "web.rules:3: -a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1\n    Memory allocation problem\n\
         not atomic here: 2 of 5 changes were made before it and are in force, it and those behind it are not; \
         `lvsx diff' shows what is left"
    );
    assert_eq!(servers(&director), [["10.0.0.1"]]);
    // What is left is what a trial says, and with memory it can be made.
    let left = Wish {
        is_trial: true,
        ..Wish::default()
    };
    let changes = apply(&mut client, &mut rules, left).expect("a trial");
    assert_eq!(changes.len(), 3, "{changes:?}");
}

#[test]
fn lines_that_the_kernel_refuses_do_not_keep_others_from_being_loaded_but_are_counted() {
    let (mut client, director) = kernel([10, 0, 0, 2]);
    let rules = Rules::read_plain("stdin", FILE.as_bytes());
    let mut told = Vec::new();
    let undone = line_by_line(&mut client, &rules, |why| told.push(why.to_owned()));
    assert_eq!(told, ["Memory allocation problem"]);
    assert_eq!(
        undone.expect_err("one is refused").to_string(),
        "not atomic here: 1 of 6 lines were refused, the first of them stdin:3: -a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1; \
         the others are in force"
    );
    assert_eq!(
        servers(&director),
        [vec!["10.0.0.3", "10.0.0.1"], Vec::new()]
    );
}
