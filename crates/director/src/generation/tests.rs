//! Generations in plain memory, read with the functions that packets use, against a naive model.

mod room;

use super::*;
use crate::config::{DestinationConfig, Marked, Removed};
use crate::tables::Capacity;
use lvsx_core::generation::{
    Concern, DestinationLine, Ends, Kinds, SchedulerKind, ServiceLine, Setting,
};
use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Family, ForwardingMethod, MarkRule, Netmask, ServiceFlags,
    ServiceKey, Tunnel,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn capacity(config: u32) -> Capacity {
    Capacity {
        config,
        destinations: 4096,
        services: 512,
        ..Capacity::rated(8, 0, 1)
    }
}

fn key(number: u8) -> ServiceKey {
    let protocol = if number.is_multiple_of(2) { 6 } else { 17 };
    let addr = match number % 4 {
        1 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())),
        2 => {
            return ServiceKey::Mark {
                family: if number.is_multiple_of(3) {
                    Family::V6
                } else {
                    Family::V4
                },
                mark: u32::from(number) / 4 + 1,
            };
        }
        _ => IpAddr::V4(Ipv4Addr::new(10, 0, number / 7, number)),
    };
    ServiceKey::Address {
        protocol,
        addr,
        port: 80 + u16::from(number % 5),
    }
}

fn destination(id: u32, weight: u32) -> DestinationConfig {
    DestinationConfig {
        id,
        key: DestinationKey {
            addr: if id.is_multiple_of(5) {
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, id as u16))
            } else {
                IpAddr::V4(Ipv4Addr::from(0xc0a8_0000 + id))
            },
            port: 8080,
        },
        settings: DestinationSettings {
            method: if id.is_multiple_of(3) {
                ForwardingMethod::Masquerade
            } else {
                ForwardingMethod::DirectRouting
            },
            weight,
            upper_threshold: weight * 2,
            lower_threshold: weight,
            tunnel: Tunnel::default(),
        },
        last_weight: weight,
    }
}

fn service(key: ServiceKey, destinations: Vec<DestinationConfig>) -> ServiceConfig {
    ServiceConfig {
        key,
        scheduler: SchedulerKind::WeightedRoundRobin,
        flags: ServiceFlags::PERSISTENT,
        timeout: 360,
        netmask: match key.family() {
            Family::V4 => Netmask::V4(Ipv4Addr::new(255, 255, 240, 0)),
            Family::V6 => Netmask::V6(96),
        },
        destinations,
    }
}

fn concerns(config: &Config) -> Concerns {
    crate::concerns::of(config, crate::concerns::Ours::EVERYTHING)
}

/// The same for the generation after the one in force: where nothing is less, with what is more.
fn concerned(generations: &Generations, config: &Config) -> Concerned {
    let all = concerns(config);
    let Some(before) = generations.concerns() else {
        return all.into();
    };
    let addresses = |concerns: &Concerns| -> Vec<IpAddr> {
        let v4 = concerns.v4.keys().map(|raw| address(*raw).into());
        let v6 = concerns.v6.keys().map(|raw| {
            let [low, high] = raw.map(u128::from);
            Ipv6Addr::from((low | high << 64).to_le_bytes()).into()
        });
        v4.chain(v6).collect()
    };
    let of = |concerns: &Concerns, addr| concerns.of(addr).unwrap_or_default();
    let is_less = |addr: &IpAddr| {
        let (then, now) = (of(before, *addr), all.of(*addr));
        now.is_none_or(|now| now.with(then) != now)
    };
    if before.prefixes != all.prefixes || addresses(before).iter().any(is_less) {
        return all.into();
    }
    let news = addresses(&all).into_iter().filter_map(|addr| {
        let is_news = before.of(addr) != all.of(addr);
        is_news.then(|| (addr, of(&all, addr)))
    });
    Concerned::More(news.collect())
}

/// The block that packets to a service find.
fn found(root: &RootLine, tables: &Tables, key: &ServiceKey) -> Option<u32> {
    match *key {
        ServiceKey::Address {
            protocol,
            addr: IpAddr::V6(addr),
            port,
        } => root.service6(tables, protocol as u8, raw_address6(addr), port.to_be()),
        ServiceKey::Mark { family, mark } => {
            let family = if family == Family::V4 { 2 } else { 10 };
            root.marked(tables, family, mark)
        }
        key => root.service(tables, table_key(&key, root.seed)?),
    }
}

/// A mark rule that holds for one port.
fn mark_rule(number: u16) -> Marked {
    let kinds = [
        "protocol tcp to 192.0.2.0/24",
        "protocol udp to 2001:db8::/32 from 2001:db8:1::/48",
        "protocol tcp interface eth0",
        "protocol tcp to 198.18.0.0/15",
    ];
    let rule = format!(
        "mark {number} {} ports {}-{}",
        kinds[usize::from(number) % kinds.len()],
        number % 100,
        number % 100 + 7
    );
    let rule: MarkRule = rule.parse().expect("a rule");
    Marked {
        interface: rule.interface.as_ref().and(Some(u32::from(number % 4) + 1)),
        rule,
    }
}

/// Some packets, so that rules match and do not.
fn packets() -> impl Iterator<Item = Ends> {
    let addresses = [
        (2, "192.0.2.7", "10.0.0.1"),
        (2, "192.0.3.7", "10.0.0.1"),
        (10, "2001:db8::9", "2001:db8:1::1"),
        (10, "2001:db8::9", "2001:db8:2::1"),
    ];
    addresses.into_iter().flat_map(|(family, to, from)| {
        let words = |text: &str| match text.parse().expect("an address") {
            IpAddr::V4(addr) => [u64::from(raw_address(addr)), 0],
            IpAddr::V6(addr) => raw_address6(addr),
        };
        (0..400u32).map(move |number| Ends {
            family,
            protocol: if number.is_multiple_of(2) { 6 } else { 17 },
            source_port: 1000u16.to_be(),
            destination_port: ((number / 4) as u16).to_be(),
            interface: number % 4,
            source: words(from),
            destination: words(to),
        })
    })
}

/// The mark of a packet by the rules as they read, one after another.
fn model_mark(marks: &[Marked], ends: &Ends) -> u32 {
    let addr = |words: [u64; 2]| {
        let [low, high] = words.map(u64::to_ne_bytes);
        match ends.family {
            2 => IpAddr::from([low[0], low[1], low[2], low[3]]),
            _ => IpAddr::from(<[u8; 16]>::try_from([low, high].concat()).expect("16 bytes")),
        }
    };
    let mut mark = 0;
    for Marked { rule, interface } in marks {
        let family = if ends.family == 2 {
            Family::V4
        } else {
            Family::V6
        };
        let ports = rule.ports.first..=rule.ports.last;
        let matches = rule.family.is_none_or(|it| it == family)
            && rule.protocol.is_none_or(|it| it == ends.protocol)
            && rule.to.is_none_or(|it| it.contains(addr(ends.destination)))
            && rule.from.is_none_or(|it| it.contains(addr(ends.source)))
            && ports.contains(&u16::from_be(ends.destination_port))
            && (rule.interface.is_none() || *interface == Some(ends.interface));
        if matches {
            mark = mark & !rule.change.mask ^ rule.change.value;
        }
    }
    mark
}

/// What packets see of the generation in force must be what the configuration says.
fn assert_in_force(tables: &Tables, config: &Config, absent: impl Iterator<Item = ServiceKey>) {
    let root = RootLine::current(tables).expect("a generation is in force");
    assert_eq!(root.services_count as usize, config.services.len());
    for (id, service) in &config.services {
        let block = found(&root, tables, &service.key).expect("the service is found");
        let head = ServiceLine::decode(&tables.config[block as usize]);
        assert_eq!((head.id, head.scheduler), (*id, service.scheduler));
        assert_eq!((head.max_weight, head.weight_step), service.weight_steps());
        let lines = tables.config[block as usize + 1..]
            .iter()
            .take(head.destinations as usize);
        let ids: Vec<_> = lines
            .map(DestinationLine::decode)
            .map(|line| (line.id, line.weight, line.service))
            .collect();
        let expected: Vec<_> = service
            .destinations
            .iter()
            .map(|it| (it.id, it.settings.weight, *id))
            .collect();
        assert_eq!(ids, expected);
    }
    for key in absent.filter(|key| config.service(key).is_none()) {
        assert_eq!(found(&root, tables, &key), None);
    }
    let available: std::collections::BTreeSet<u32> = config.available().collect();
    for id in 0..tables.capacity.destinations {
        assert_eq!(
            root.is_available(tables, id),
            available.contains(&id),
            "destination {id}"
        );
    }
    let expected = concerns(config);
    for (address, concern) in &expected.v4 {
        assert_eq!(root.concern(tables, *address), *concern);
    }
    for (address, concern) in &expected.v6 {
        assert_eq!(root.concern6(tables, *address), *concern);
    }
    for number in 0..64 {
        let address = raw_address6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, number));
        assert_eq!(root.concern6(tables, address), Concern::default());
    }
    let kinds = Kinds {
        prefixes: !expected.prefixes.is_empty(),
        ..config.kinds()
    };
    assert_eq!(root.kinds, kinds);
    let is_in_prefix = |addr: IpAddr| {
        let is_wide = addr.is_ipv6();
        root.is_in_prefix(tables, is_wide, raw_words(addr))
    };
    let bounds = expected.prefixes.iter().flat_map(|prefix| {
        let around: [IpAddr; 3] = match prefix.addr() {
            IpAddr::V4(first) => {
                let last = first.to_bits() | u32::MAX >> prefix.length();
                let around = [first.to_bits(), last, last.wrapping_add(1)];
                around.map(|bits| Ipv4Addr::from_bits(bits).into())
            }
            IpAddr::V6(first) => {
                let last = first.to_bits() | u128::MAX >> prefix.length();
                let around = [first.to_bits(), last, last.wrapping_add(1)];
                around.map(|bits| Ipv6Addr::from_bits(bits).into())
            }
        };
        around
    });
    for addr in bounds.chain(["0.0.0.0", "::", "198.18.0.1"].map(|it| it.parse().expect("one"))) {
        let expected = expected.prefixes.iter().any(|prefix| prefix.contains(addr));
        assert_eq!(is_in_prefix(addr), expected, "{addr}");
    }
    for ends in packets() {
        assert_eq!(
            root.mark_of(tables, &ends),
            model_mark(&config.marks, &ends),
            "{ends:?}"
        );
    }
    let strangers = (0..64).map(|number| raw_address(Ipv4Addr::new(203, 0, 113, number)));
    for address in strangers.filter(|address| !expected.v4.contains_key(address)) {
        assert_eq!(root.concern(tables, address), Concern::default());
    }
    assert_eq!(root.settings, config.values.settings());
    assert_eq!(root.icmp_limits(tables), config.icmp);
    assert_eq!(root.path_limits(tables), config.paths);
    for (number, ticks) in config.timeouts.iter().enumerate() {
        assert_eq!(root.timeout(tables, number as u32), *ticks);
    }
}

#[test]
fn before_the_first_generation_nothing_is_in_force() {
    let tables = Tables::plain(capacity(64));
    assert!(RootLine::current(&tables).is_none());
    let generations =
        Generations::in_force(&tables, Readers::Nobody).expect("an empty arena is sound");
    assert_eq!(
        (generations.number(), generations.config()),
        (0, &Config::default())
    );
}

#[test]
fn an_untouched_service_keeps_its_lines() {
    let tables = Tables::plain(capacity(4096));
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    config.services.insert(
        0,
        Arc::new(service(
            key(1),
            (0..100).map(|id| destination(id, 1)).collect(),
        )),
    );
    generations
        .publish(&tables, config.clone(), concerns(&config))
        .expect("it fits");
    let block = |tables: &Tables| {
        let root = RootLine::current(tables).expect("in force");
        found(&root, tables, &key(1))
    };
    let before = block(&tables);
    config
        .services
        .insert(1, Arc::new(service(key(2), vec![destination(200, 1)])));
    generations
        .publish(&tables, config.clone(), concerns(&config))
        .expect("it fits");
    assert_eq!(block(&tables), before);
}

#[test]
fn hundreds_of_services_on_one_address_are_all_found() {
    let tables = Tables::plain(capacity(8192));
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    for number in 0..500u32 {
        let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let key = ServiceKey::Address {
            protocol: 6,
            addr,
            port: 1000 + number as u16,
        };
        config.services.insert(
            number,
            Arc::new(service(key, vec![destination(number, number)])),
        );
    }
    generations
        .publish(&tables, config.clone(), concerns(&config))
        .expect("it fits");
    assert_in_force(&tables, &config, std::iter::empty());
}

#[test]
fn overwritten_lines_are_called_damaged() {
    let tables = Tables::plain(capacity(4096));
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    config.services.insert(
        0,
        Arc::new(service(
            key(1),
            (0..10).map(|id| destination(id, 1)).collect(),
        )),
    );
    generations
        .publish(&tables, config.clone(), concerns(&config))
        .expect("it fits");
    let written: Vec<Vec<u64>> = tables
        .config
        .iter()
        .map(|line| line.iter().map(lvsx_platform::Word::peek).collect())
        .collect();
    // Each word in turn is overwritten: an error or another configuration, never a panic.
    for (line, values) in written.iter().enumerate().skip(1).take(40) {
        for (word, before) in values.iter().enumerate() {
            for value in [u64::MAX, 0, 1 << 32 | 7, 0xffff_ffff] {
                tables.config[line][word].store(value);
                let _ = Generations::in_force(&tables, Readers::Nobody);
                tables.config[line][word].store(*before);
            }
        }
    }
    for line in [4096, u32::MAX] {
        tables.state[0][0].store(1 << 32 | u64::from(line));
        assert!(Generations::in_force(&tables, Readers::Nobody).is_err());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Service(u8),
    DeleteService(u8),
    Destination(u8, u32),
    Weight(u8, u8, u32),
    Delete(u8, u8),
    EmptyTrash,
    Timeout(u8, u32),
    Setting(usize, i32),
    Icmp(u32),
    Mark(u16),
    FlushMarks,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let service = 0..40u8;
    prop_oneof![
        4 => service.clone().prop_map(Op::Service),
        1 => service.clone().prop_map(Op::DeleteService),
        8 => (service.clone(), 0..9u32).prop_map(|(service, weight)| Op::Destination(service, weight)),
        4 => (service.clone(), any::<u8>(), 0..9u32).prop_map(|(service, place, weight)| Op::Weight(service, place, weight)),
        3 => (service, any::<u8>()).prop_map(|(service, place)| Op::Delete(service, place)),
        1 => Just(Op::EmptyTrash),
        1 => (0..16u8, any::<u32>()).prop_map(|(number, ticks)| Op::Timeout(number, ticks)),
        1 => (0..Setting::ALL.len(), any::<i32>()).prop_map(|(number, value)| Op::Setting(number, value)),
        1 => any::<u32>().prop_map(Op::Icmp),
        2 => any::<u16>().prop_map(Op::Mark),
        1 => Just(Op::FlushMarks),
        1 => Just(Op::Restart),
    ]
}

fn apply(config: &mut Config, op: &Op, next_id: &mut u32) {
    let find = |config: &Config, number: u8| {
        config
            .service(&key(number))
            .map(|(id, service)| (id, service.clone()))
    };
    match *op {
        Op::Service(number) if find(config, number).is_none() => {
            let id = (0..)
                .find(|id| !config.services.contains_key(id))
                .unwrap_or(0);
            config
                .services
                .insert(id, Arc::new(service(key(number), Vec::new())));
        }
        Op::DeleteService(number) => {
            if let Some((id, service)) = find(config, number) {
                config.services.remove(&id);
                let removed = service.destinations.iter().rev();
                let removed = removed.map(|it| Removed {
                    destination: *it,
                    service: service.key,
                    service_id: id,
                });
                Arc::make_mut(&mut config.trash).extend(removed);
            }
        }
        Op::Destination(number, weight) => {
            if let Some((id, service)) = find(config, number) {
                let mut service = (*service).clone();
                service
                    .destinations
                    .insert(0, destination(*next_id, weight));
                *next_id += 1;
                config.services.insert(id, Arc::new(service));
            }
        }
        Op::Weight(number, place, weight) => {
            if let Some((id, service)) = find(config, number)
                && !service.destinations.is_empty()
            {
                let mut service = (*service).clone();
                let place = usize::from(place) % service.destinations.len();
                service.destinations[place].settings.weight = weight;
                config.services.insert(id, Arc::new(service));
            }
        }
        Op::Delete(number, place) => {
            if let Some((id, service)) = find(config, number)
                && !service.destinations.is_empty()
            {
                let mut service = (*service).clone();
                let place = usize::from(place) % service.destinations.len();
                let destination = service.destinations.remove(place);
                let removed = Removed {
                    destination,
                    service: service.key,
                    service_id: id,
                };
                Arc::make_mut(&mut config.trash).push(removed);
                config.services.insert(id, Arc::new(service));
            }
        }
        Op::EmptyTrash => config.trash = Arc::default(),
        Op::Timeout(number, ticks) => config.timeouts[usize::from(number)] = ticks,
        Op::Setting(number, value) => {
            config.values = config.values.with(Setting::ALL[number], value);
        }
        Op::Mark(number) => Arc::make_mut(&mut config.marks).push(mark_rule(number)),
        Op::FlushMarks => config.marks = Arc::default(),
        Op::Icmp(value) => {
            config.icmp.burst = value;
            config.paths.kept = value;
        }
        Op::Service(_) | Op::Restart => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// After every change packets see exactly the configuration, and a director that starts anew reads it back.
    #[test]
    fn packets_see_every_change_and_a_restart_finds_it(ops in prop::collection::vec(op(), 1..60)) {
        let tables = Tables::plain(capacity(4000));
        let mut generations = Generations::none(&tables, Readers::Nobody);
        let (mut config, mut next_id) = (Config::default(), 0);
        for op in &ops {
            apply(&mut config, op, &mut next_id);
            if matches!(op, Op::Restart) {
                generations = Generations::in_force(&tables, Readers::Nobody).expect("what was written is sound");
            }
            let concerned = concerned(&generations, &config);
            prop_assert_eq!(generations.publish(&tables, config.clone(), concerned), Ok(()));
            let again = Generations::in_force(&tables, Readers::Nobody).expect("what was written is sound");
            prop_assert_eq!(again.config(), &config);
            prop_assert_eq!(again.number(), generations.number());
        }
        assert_in_force(&tables, &config, (0..40).map(key));
    }
}
