//! What holds for every message: what is written reads back, and nothing that comes can crash.

mod support {
    pub(crate) mod memory;
}

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use lvsx_ipvs::{
    Client, Destination, DestinationKey, DestinationSettings, Director, FlagChange,
    ForwardingMethod, Netmask, Request, Service, ServiceFlags, ServiceKey, ServiceSettings, Stats,
    Transport, Tunnel, TunnelType, answer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::memory::MemoryDirector;

fn key() -> impl Strategy<Value = ServiceKey> {
    let address =
        (any::<u16>(), any::<IpAddr>(), any::<u16>()).prop_map(|(protocol, addr, port)| {
            ServiceKey::Address {
                protocol,
                addr,
                port,
            }
        });
    let mark = (any::<IpAddr>(), 1u32..).prop_map(|(addr, mark)| ServiceKey::Mark {
        family: lvsx_ipvs::Family::of(&addr),
        mark,
    });
    prop_oneof![address, mark]
}

fn stats() -> impl Strategy<Value = Stats> {
    any::<[u64; 10]>().prop_map(|[a, b, c, d, e, f, g, h, i, j]| Stats {
        connections: a,
        in_packets: b,
        out_packets: c,
        in_bytes: d,
        out_bytes: e,
        connection_rate: f,
        in_packet_rate: g,
        out_packet_rate: h,
        in_byte_rate: i,
        out_byte_rate: j,
    })
}

prop_compose! {
    fn service()(
        key in key(),
        scheduler in proptest::option::of("[a-m]{1,15}"),
        engine in proptest::option::of("[a-z]{1,15}"),
        flags: u32,
        timeout: u32,
        mask: [u8; 4],
        stats in stats(),
    ) -> Service {
        let netmask = match key.family() {
            lvsx_ipvs::Family::V4 => Netmask::V4(mask.into()),
            lvsx_ipvs::Family::V6 => Netmask::V6(u32::from_le_bytes(mask)),
        };
        let flags = ServiceFlags(flags).union(ServiceFlags::HASHED);
        Service { key, scheduler, engine, flags, timeout, netmask, stats }
    }
}

prop_compose! {
    fn settings()(
        words: [u32; 4],
        kind: u8,
        port: u16,
        flags: u16,
    ) -> DestinationSettings {
        DestinationSettings {
            method: ForwardingMethod::from_bits(words[0]),
            weight: words[1],
            upper_threshold: words[2],
            lower_threshold: words[3],
            tunnel: Tunnel { kind: TunnelType::from_number(kind), port, flags },
        }
    }
}

prop_compose! {
    fn destination()(
        addr: IpAddr,
        port: u16,
        settings in settings(),
        counts: [u32; 3],
        stats in stats(),
    ) -> Destination {
        let [active, inactive, persistent] = counts;
        let key = DestinationKey { addr, port };
        Destination { key, settings, active, inactive, persistent, stats }
    }
}

fn client_of(director: Rc<RefCell<MemoryDirector>>) -> Client {
    Client::new(Transport::local(move |datagram| {
        answer(datagram, &mut *director.borrow_mut())
    }))
}

proptest! {
    #[test]
    fn listings_arrive_as_the_director_gave_them(
        service in service(),
        destinations in vec(destination(), 0..40),
    ) {
        let director = Rc::new(RefCell::new(MemoryDirector::new()));
        director.borrow_mut().services.push((service.clone(), destinations.clone()));
        let mut client = client_of(director);
        prop_assert_eq!(client.services().unwrap(), std::slice::from_ref(&service));
        prop_assert_eq!(&client.service(&service.key).unwrap(), &service);
        prop_assert_eq!(client.destinations(&service.key).unwrap(), destinations);
    }

    #[test]
    fn a_whole_table_arrives_as_its_parts_do(
        rows in vec((service(), vec(destination(), 0..12)), 0..12),
    ) {
        let director = Rc::new(RefCell::new(MemoryDirector::new()));
        for (service, destinations) in rows {
            let stands = director.borrow().services.iter().any(|(it, _)| it.key == service.key);
            if !stands {
                director.borrow_mut().services.push((service, destinations));
            }
        }
        let mut client = client_of(Rc::clone(&director));
        let mut parts = Vec::new();
        for service in client.services().unwrap() {
            let destinations = client.destinations(&service.key).unwrap();
            parts.push((service, destinations));
        }
        let mut whole = |statistics| -> Option<Vec<_>> {
            let snapshot = client.table(statistics).unwrap()?;
            Some(snapshot.rows().collect())
        };
        prop_assert_eq!(whole(true), Some(parts.clone()));
        for (service, destinations) in &mut parts {
            service.stats = Stats::default();
            destinations.iter_mut().for_each(|it| it.stats = Stats::default());
        }
        prop_assert_eq!(whole(false), Some(parts));
    }

    #[test]
    fn requests_arrive_as_the_client_gave_them(
        wanted in service(),
        addr: IpAddr,
        port: u16,
        settings in settings(),
    ) {
        let director = Rc::new(RefCell::new(MemoryDirector::new()));
        let mut client = client_of(Rc::clone(&director));
        let asked = ServiceSettings {
            scheduler: Some("rr".into()),
            engine: None,
            flags: FlagChange::exactly(wanted.flags),
            timeout: wanted.timeout,
            netmask: Netmask::host(wanted.key.family()),
        };
        client.call(&Request::NewService(wanted.key, asked)).unwrap();
        let stored = director.borrow().services[0].0.clone();
        prop_assert_eq!((stored.key, stored.flags), (wanted.key, wanted.flags));
        prop_assert_eq!(stored.timeout, wanted.timeout);

        let key = DestinationKey { addr, port };
        let fine = client.call(&Request::NewDestination(wanted.key, key, settings)).is_ok();
        let stored = director.borrow().destinations(&wanted.key).unwrap();
        prop_assert_eq!(stored.len(), usize::from(fine));
        for stored in stored {
            prop_assert_eq!((stored.key, stored.settings), (key, settings));
        }
    }

    #[test]
    fn any_datagram_is_answered_or_ignored(
        command: u8,
        flags in prop_oneof![Just(5u16), Just(0x305), any::<u16>()],
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut director = MemoryDirector::new();
        answer(&noise, &mut director);
        for kind in [0x10u16, 0x4950] {
            let mut datagram = (20 + noise.len() as u32).to_ne_bytes().to_vec();
            datagram.extend_from_slice(&kind.to_ne_bytes());
            datagram.extend_from_slice(&(flags | 5).to_ne_bytes());
            datagram.extend_from_slice(&[0; 8]);
            datagram.extend_from_slice(&[command, 1, 0, 0]);
            datagram.extend_from_slice(&noise);
            prop_assert!(!answer(&datagram, &mut director).is_empty());
        }
    }

    /// Damage near a valid message reaches deeper than noise does.
    #[test]
    fn a_damaged_request_is_answered_or_ignored(
        wanted in service(),
        settings in settings(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: prop::sample::Index,
    ) {
        let mut director = MemoryDirector::new();
        director.services.push((wanted.clone(), Vec::new()));
        let key = DestinationKey { addr: [10, 0, 0, 9].into(), port: 80 };
        let mut datagram = Request::NewDestination(wanted.key, key, settings).encode(0x4950, 1);
        for (at, byte) in damage {
            let at = at.index(datagram.len());
            datagram[at] = byte;
        }
        answer(&datagram, &mut director);
        answer(&datagram[..cut.index(datagram.len())], &mut director);
    }

    #[test]
    fn a_hostile_director_cannot_crash_the_client(noise in vec(any::<u8>(), 0..200), kind in 0u16..5) {
        let noise = std::rc::Rc::new(noise);
        let mut client = Client::new(Transport::local(move |request| {
            let mut datagram = request.to_vec();
            datagram.truncate(16);
            datagram[4..6].copy_from_slice(&kind.to_ne_bytes());
            datagram.extend_from_slice(&noise);
            let length = datagram.len() as u32;
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            vec![datagram]
        }));
        let _ = client.services();
        let _ = client.info();
        let _ = client.status();
    }
}

/// What the fuzzer begins with, and what it found (`cargo xtask fuzz`).
#[test]
fn kept_inputs_are_answered_or_ignored() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/netlink");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap().flatten() {
        let bytes = std::fs::read(seed.path()).unwrap();
        let answers = answer(&bytes, &mut MemoryDirector::new());
        assert!(answers.iter().all(|answer| answer.len() >= 20));
        let mut client = Client::new(Transport::local(move |_| vec![bytes.clone()]));
        let _ = client.call(&Request::Services);
        count += 1;
    }
    assert!(count >= 9);
}
