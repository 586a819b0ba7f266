//! Datagrams in fragments on their whole way: to servers, back, to the host, to a next hop that is not known yet.

use super::*;
use crate::control::Control;
use crate::generation::{Generations, Readers};
use crate::stats::{Counters, Ledger};
use crate::tables::Capacity;
use lvsx_core::env::{Gateway, PORTS, Route, state};
use lvsx_core::tick::TickRate;
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Director, FlagChange, ForwardingMethod, Netmask,
    ServiceFlags, ServiceKey, ServiceSettings, Tunnel,
};
use std::net::Ipv4Addr;
use std::sync::Arc;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 1];
const SERVER: [u8; 4] = [10, 0, 0, 1];
/// What `frame4` puts first.
const OWN_LINK: u64 = 0x0202_0202_0202;
const FAR_LINK: u64 = 0x0505_0505_0505;
const IN: u32 = 3;
const OUT: u32 = 4;

/// Everything leads out by one interface.
struct Everything(Route);

impl Ways for Everything {
    fn way(&self, _family: u8, _ingress: u32, _to: [u64; 2]) -> Route {
        self.0
    }
}

const KNOWN: Everything = Everything(Route::To {
    interface: OUT,
    address: FAR_LINK,
});

struct Bench {
    control: Control,
    tables: Arc<Tables>,
    fragments: Fragments,
    now: Instant,
}

impl Bench {
    /// A director with a UDP service of port 53 and one server.
    fn new(method: ForwardingMethod) -> Self {
        let capacity = Capacity {
            config: 4096,
            destinations: 64,
            services: 16,
            ..Capacity::rated(64, 7, 2)
        };
        let clock = Clock {
            rate: TickRate { hz: 250, shift: 4 },
            jiffies: 1 << 20,
            monotonic: crate::clock::monotonic(),
        };
        let tables = Arc::new(Tables::plain(capacity));
        let generations = Generations::none(&tables, Readers::Nobody);
        let ledger = Ledger::plain(&tables.capacity);
        let mut control =
            Control::new(tables.clone(), generations, ledger, clock, true).expect("it fits");
        let service = ServiceKey::Address {
            protocol: 17,
            addr: Ipv4Addr::from(VIP).into(),
            port: 53,
        };
        let settings = ServiceSettings {
            scheduler: Some("rr".to_owned()),
            engine: None,
            flags: FlagChange::exactly(ServiceFlags::default()),
            timeout: 0,
            netmask: Netmask::V4(Ipv4Addr::BROADCAST),
        };
        control.new_service(&service, &settings).expect("new");
        let server = DestinationKey {
            addr: Ipv4Addr::from(SERVER).into(),
            port: 5353,
        };
        let settings = DestinationSettings {
            method,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        };
        control
            .new_destination(&service, &server, &settings)
            .expect("new");
        control.set_sources(None, |_| Some(Ipv4Addr::new(10, 0, 0, 9).into()));
        for index in [IN, OUT] {
            let line = &tables.ports[(index % PORTS) as usize];
            line[live::port::ADDRESS].store(OWN_LINK);
            line[live::port::INTERFACE].store(u64::from(index) | 1500 << 32);
        }
        tables.state[state::READ as usize][state::EPOCH].store(1);
        Self {
            control,
            tables,
            fragments: Fragments::default(),
            now: Instant::now(),
        }
    }

    fn take(&mut self, taken: Taken, ways: &Everything) -> Vec<Task> {
        let clock = self.control.clock();
        self.fragments
            .take(taken, &self.tables, clock, ways, self.now)
    }

    /// What is done for a datagram whose fragments come in one after another.
    fn send(&mut self, whole: &Frame, most: u32, ways: &Everything) -> Vec<Task> {
        let cut = cut(whole, &Measure::of(most), 9).expect("there is room");
        let tasks = cut
            .into_iter()
            .map(|it| self.take(Taken::Fragment(it), ways));
        tasks.collect::<Vec<_>>().concat()
    }

    /// What is done so much later about datagrams that are not complete.
    fn expire(&mut self, later: Duration) -> Vec<Task> {
        let clock = self.control.clock();
        self.fragments
            .expire(&self.tables, clock, &KNOWN, self.now + later)
    }

    fn counted(&self, event: Event) -> u64 {
        self.tables.counted(event)
    }

    fn tally(&self) -> Counters {
        (0..4)
            .map(|id| Counters::tally(&self.tables, id))
            .fold(Counters::default(), |sum, tally| sum + tally)
    }
}

/// A UDP datagram of so many bytes of data.
fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16), bytes: usize) -> Frame {
    let mut udp = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    udp.extend((8 + bytes as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(data(bytes));
    let mut frame = frame4(77, &[], &udp);
    frame.bytes[26..30].copy_from_slice(&from.0);
    frame.bytes[30..34].copy_from_slice(&to.0);
    super::super::reassembly::seal4(&mut frame, 20).expect("a header");
    frame
}

fn sent(tasks: &[Task]) -> Vec<&Frame> {
    let sent = tasks.iter().filter_map(|task| match task {
        Task::Send(frame) => Some(frame),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_datagram_goes_and_comes_back_in_fragments_and_counts_once() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    let there = datagram((CLIENT, 4000), (VIP, 53), 1200);
    let tasks = bench.send(&there, 600, &KNOWN);
    let frames = sent(&tasks);
    assert_eq!((frames.len(), tasks.len()), (3, 3));
    for frame in &frames {
        assert_eq!(frame.interface, OUT);
        assert_eq!(frame.bytes[..6], FAR_LINK.to_ne_bytes()[..6]);
        assert_eq!(frame.bytes[30..34], SERVER);
        assert!(frame.len() <= 614 && is_sound4(frame));
    }
    assert_eq!(frames[0].bytes[36..38], 5353u16.to_be_bytes());
    let back = datagram((SERVER, 5353), (CLIENT, 4000), 900);
    let tasks = bench.send(&back, 700, &KNOWN);
    let frames = sent(&tasks);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].bytes[26..30], VIP);
    assert_eq!(frames[0].bytes[34..36], 53u16.to_be_bytes());
    let expected = Counters {
        connections: 1,
        in_packets: 1,
        in_bytes: 1228,
        out_packets: 1,
        out_bytes: 928,
    };
    assert_eq!(bench.tally(), expected);
    assert_eq!(bench.counted(Event::Reassembled), 2);
    assert_eq!(bench.counted(Event::Opened), 1);
}

#[test]
fn a_tunnel_carries_the_whole_datagram_in_fragments_of_the_outer_packet() {
    let mut bench = Bench::new(ForwardingMethod::Tunnel);
    let hop = lvsx_core::conn::Hop::new(FAR_LINK, OUT);
    bench.control.set_hops(None, |_| Some(hop));
    let tasks = bench.send(&datagram((CLIENT, 4000), (VIP, 53), 1200), 620, &KNOWN);
    let frames = sent(&tasks);
    let lengths: Vec<u32> = frames.iter().map(|frame| frame.len() - 14).collect();
    assert_eq!(lengths, [620, 620, 48]);
    assert!(frames.iter().all(|frame| frame.bytes[23] == 4));
    let names: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes[18..20]).collect();
    assert!(names.iter().all(|name| *name == names[0]));
}

#[test]
fn what_is_the_hosts_goes_there_in_the_fragments_that_came() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    let whole = datagram((CLIENT, 4000), (VIP, 99), 1200);
    let came = cut(&whole, &Measure::of(600), 0).expect("there is room");
    let tasks = bench.send(&whole, 600, &KNOWN);
    let expected: Vec<Task> = came.iter().cloned().map(Task::GiveBack).collect();
    assert_eq!(tasks, expected);
    assert_eq!(bench.counted(Event::PassNoService), 1);
    assert_eq!(bench.tally(), Counters::default());
    // They pass when they come in again, in any program that sees them.
    let clock = bench.control.clock();
    let world = World::new(&bench.tables, clock, &KNOWN);
    for mut frame in came {
        let verdict = handle(&mut frame, &world);
        assert_eq!(verdict.event(), Event::PassFragment);
    }
    let mut other = cut(
        &datagram((CLIENT, 4001), (VIP, 99), 1200),
        &Measure::of(600),
        0,
    )
    .expect("there is room");
    other[0].bytes[19] ^= 1;
    assert_eq!(handle(&mut other[0], &world).action(), Action::Raise);
}

#[test]
fn a_datagram_waits_for_its_next_hop_but_not_for_ever() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    let unknown = Everything(Route::Unresolved {
        interface: OUT,
        gateway: Gateway {
            family: 2,
            address: [u64::from(u32::from_ne_bytes(SERVER)), 0],
        },
    });
    let whole = datagram((CLIENT, 4000), (VIP, 53), 1200);
    let hop = Hop {
        interface: OUT,
        address: Ipv4Addr::from(SERVER).into(),
    };
    assert_eq!(bench.send(&whole, 600, &unknown), [Task::Resolve(hop)]);
    assert_eq!(bench.fragments.awaited().collect::<Vec<_>>(), [hop]);
    let clock = bench.control.clock();
    let mut resolve = |address| {
        let tables = bench.tables.clone();
        bench
            .fragments
            .resolved(hop, address, &tables, clock, &KNOWN)
    };
    let tasks = resolve(FAR_LINK);
    assert_eq!(sent(&tasks).len(), 3);
    for frame in sent(&tasks) {
        assert_eq!(frame.bytes[..6], FAR_LINK.to_ne_bytes()[..6]);
        assert_eq!(frame.bytes[6..12], OWN_LINK.to_ne_bytes()[..6]);
        assert_eq!(frame.bytes[30..34], SERVER);
    }
    assert_eq!(resolve(FAR_LINK), []);

    assert_eq!(bench.send(&whole, 600, &unknown), [Task::Resolve(hop)]);
    assert_eq!(bench.expire(PATIENCE), []);
    assert_eq!(bench.fragments.awaited().count(), 0);
    assert_eq!(bench.counted(Event::DropUnsent), 1);
}

#[test]
fn a_long_packet_leaves_cut_to_the_mtu() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    let mut long = datagram((VIP, 53), (CLIENT, 4000), 1600);
    long.interface = OUT;
    let tasks = bench.take(Taken::Long(long, Begun::default()), &KNOWN);
    let lengths: Vec<u32> = sent(&tasks).iter().map(|frame| frame.len() - 14).collect();
    assert_eq!(lengths, [1500, 148]);
    assert_eq!(bench.tally(), Counters::default(), "it was counted before");
}

#[test]
fn what_is_given_up_is_counted_by_its_name() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    let whole = datagram((CLIENT, 4000), (VIP, 53), 1200);
    let came = cut(&whole, &Measure::of(600), 0).expect("there is room");
    let shifted = cut(&whole, &Measure::of(560), 0).expect("there is room");
    assert_eq!(bench.take(Taken::Fragment(came[0].clone()), &KNOWN), []);
    assert_eq!(bench.take(Taken::Fragment(shifted[1].clone()), &KNOWN), []);
    assert_eq!(bench.counted(Event::DropFragmentOverlap), 2);
    assert_eq!(bench.take(Taken::Fragment(came[0].clone()), &KNOWN), []);
    bench.expire(Duration::from_secs(30));
    assert_eq!(bench.counted(Event::DropFragmentLate), 1);
}

#[test]
fn a_sender_is_told_that_its_datagram_was_not_complete_in_time() {
    let mut bench = Bench::new(ForwardingMethod::Masquerade);
    // A client by the address that the fragment was for; a server by this host's own, its fragment forwarded already.
    let ends = [
        ((CLIENT, 4000), (VIP, 53), VIP, 0),
        ((SERVER, 5353), (CLIENT, 4000), [10, 0, 0, 9], 1),
    ];
    for (from, to, answerer, age) in ends {
        let whole = datagram(from, to, 1200);
        let came = cut(&whole, &Measure::of(600), 0).expect("there is room");
        assert_eq!(bench.take(Taken::Fragment(came[0].clone()), &KNOWN), []);
        let tasks = bench.expire(Duration::from_secs(30));
        let [told] = &sent(&tasks)[..] else {
            panic!("not told: {tasks:?}");
        };
        assert_eq!(told.interface, IN);
        assert_eq!(told.bytes[..6], came[0].bytes[6..12]);
        assert_eq!(
            (&told.bytes[26..30], &told.bytes[30..34]),
            (&answerer[..], &from.0[..])
        );
        assert_eq!(told.bytes[34..36], [11, 1]);
        let quoted = &told.bytes[42..];
        assert_eq!(quoted.len(), 548);
        assert_eq!(quoted[8], came[0].bytes[22] - age);
        assert_eq!(quoted[12..], came[0].bytes[26..][..536]);
    }
    // Without the first fragment nobody is.
    let whole = datagram((CLIENT, 4000), (VIP, 53), 1200);
    let came = cut(&whole, &Measure::of(600), 0).expect("there is room");
    bench.take(Taken::Fragment(came[1].clone()), &KNOWN);
    assert_eq!(bench.expire(Duration::from_secs(30)), []);
    assert_eq!(bench.counted(Event::DropFragmentLate), 3);
}
