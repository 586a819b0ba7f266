//! Prefixes that are virtual as a whole, on a packet's way.

mod common;

use common::*;
use lvsx_core::director::Action;
use lvsx_core::generation::SchedulerKind::RoundRobin;
use lvsx_core::generation::{Details, PrefixWords, RootLine, TIMEOUTS, prefix_lines};
use lvsx_core::host::{World, raw4};

/// Writes this prefix into the generation in force, and empties the filter of all but servers.
fn serve_whole(world: &World, prefix: PrefixWords) {
    const LINES: u32 = 100;
    let at = RootLine::in_force(world).expect("in force");
    let mut root = RootLine::at(world, at).expect("a root");
    let config = &world.memory.config;
    let write = |line: u32, words: [u64; 8]| {
        let pairs = config[line as usize].iter().zip(words);
        pairs.for_each(|(word, value)| word.store(value));
    };
    for (line, words) in (LINES..).zip(prefix_lines(&[prefix], &[])) {
        write(line, words);
    }
    let details = at + 2;
    let lines = &config[details as usize..];
    let details_then = Details {
        prefixes: LINES,
        ..Details::decode(lines).expect("details")
    };
    write(details, details_then.encode()[0]);
    root.kinds.prefixes = true;
    let mut timeouts = [0; TIMEOUTS];
    for (number, ticks) in timeouts.iter_mut().enumerate() {
        *ticks = root.timeout(world, number as u32);
    }
    write(at, root.encode(at, &timeouts)[0]);
    let filter = &config[root.filter.base as usize];
    // The virtual address' place is taken by another server's, so that the bucket has no hole.
    filter[0].store(filter[1].peek());
}

fn around(address: [u8; 4], mask: [u8; 4]) -> PrefixWords {
    let word = |bytes| [u64::from(raw4(bytes)), 0];
    let first = core::array::from_fn(|byte| address[byte] & mask[byte]);
    PrefixWords {
        address: word(first),
        mask: word(mask),
    }
}

#[test]
fn a_service_within_a_prefix_is_found_and_what_lies_beside_it_passes() {
    let servers = [server(46, 1)].map(|it| Server { method: 0, ..it });
    let world = world(RoundRobin, &servers);
    serve_whole(&world, around(VIP, [255, 255, 255, 252]));
    let (verdict, bytes) = to_vip(40_000, SYN).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(address(&bytes, 16), servers[0].address);
    // 192.168.1.41 lies within, but has no service; 192.168.1.44 lies beside.
    for last in [41, 44] {
        let packet = Build {
            to: ([192, 168, 1, last], 80),
            ..to_vip(40_001, SYN)
        };
        let (verdict, bytes) = packet.run(&world);
        assert_eq!(verdict.action(), Action::Pass, "{last}");
        assert_eq!(bytes, packet.frame().bytes);
    }
}

#[test]
fn replies_are_replies_even_where_every_address_is_virtual() {
    let servers = [server(46, 1)].map(|it| Server { method: 0, ..it });
    let world = world(RoundRobin, &servers);
    serve_whole(&world, around([0; 4], [0; 4]));
    let (verdict, _) = to_vip(40_000, SYN).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    let (verdict, bytes) = reply((servers[0].address, 80), 40_000, SYN | ACK).run(&world);
    assert_eq!(verdict.action(), Action::Out);
    assert_eq!(address(&bytes, 12), VIP);
}
