//! Many changes in one step: against a table that knows nothing of generations, and against the same changes one by one.

use super::*;
use lvsx_ipvs::{Applying, MarkChange, MarkRule, Request};
use lvsx_ipvsadm::Table;
use proptest::prelude::*;

fn web(number: u8) -> ServiceKey {
    match number {
        0 => service(),
        1..4 => ServiceKey::Address {
            protocol: 17,
            addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
            port: 53,
        },
        _ => ServiceKey::Mark {
            family: Family::V4,
            mark: number.into(),
        },
    }
}

fn change() -> impl Strategy<Value = Request> {
    let scheduler = || prop::sample::select(vec!["rr", "wrr", "wlc", "sh", "wlcc"]);
    let with_thresholds = (0u32..4, 0u32..3).prop_map(|(value, upper)| DestinationSettings {
        upper_threshold: upper * 10,
        ..weight(value)
    });
    let with_thresholds = with_thresholds.boxed();
    (0u8..6, 1u8..6).prop_flat_map(move |(of, to)| {
        let (key, it) = (web(of), server(to));
        let how = with_thresholds.clone();
        prop_oneof![
            3 => scheduler().prop_map(move |name| Request::NewService(key, settings(name))),
            1 => scheduler().prop_map(move |name| Request::SetService(key, settings(name))),
            1 => Just(Request::DeleteService(key)),
            6 => how.clone().prop_map(move |how| Request::NewDestination(key, it, how)),
            3 => how.prop_map(move |how| Request::SetDestination(key, it, how)),
            2 => Just(Request::DeleteDestination(key, it)),
            1 => (1u32..900).prop_map(|udp| Request::SetTimeouts(Timeouts { tcp: 8, tcp_fin: 0, udp })),
            1 => (0u32..3).prop_map(|it| Request::SetSetting("nat_icmp_send".into(), it.to_string())),
            1 => (1u32..9).prop_map(|it| {
                Request::EditMarks(format!("add {}", MarkRule::new(MarkChange::exactly(it))))
            }),
        ]
    })
}

fn changes(most: usize) -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(change(), 0..most)
}

/// A director with room for what trash these changes make.
fn spacious() -> Control {
    let tables = Arc::new(Tables::plain(Capacity {
        config: 16_384,
        services: 64,
        ..capacity()
    }));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    Control::new(tables, generations, ledger, CLOCK, true).expect("an empty configuration fits")
}

/// Changes one by one, refused ones passed over.
fn one_by_one(control: &mut Control, changes: &[Request]) {
    for change in changes {
        let _ = control.apply(std::slice::from_ref(change), Applying::Table);
    }
}

/// What a table says of changes: a scheduler that nobody knows is not its concern. Without the consequences of a service
/// that could not be added.
fn expected(table: &mut Table, changes: &[Request]) -> Vec<(usize, Errno)> {
    let mut faults = Vec::new();
    let mut not_added = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        let mut next = table.clone();
        let errno = match (next.take(change), change) {
            (Err(refused), _) => refused.errno,
            (Ok(()), Request::NewService(_, wanted) | Request::SetService(_, wanted))
                if wanted.scheduler.as_deref() == Some("wlcc") =>
            {
                Errno::ENOENT
            }
            (Ok(()), _) => {
                *table = next;
                continue;
            }
        };
        let is_consequence = match change {
            Request::NewService(key, _) => {
                not_added.push(*key);
                false
            }
            Request::SetService(key, _)
            | Request::DeleteService(key)
            | Request::NewDestination(key, ..)
            | Request::SetDestination(key, ..)
            | Request::DeleteDestination(key, _) => {
                errno == Errno::ESRCH && not_added.contains(key)
            }
            _ => false,
        };
        if !is_consequence {
            faults.push((place, errno));
        }
    }
    faults
}

/// The id of each destination, with its connections and counters.
type Standing = BTreeMap<(ServiceKey, DestinationKey), (u32, u32, lvsx_ipvs::Stats)>;

fn standing(control: &Control) -> Standing {
    let mut standing = BTreeMap::new();
    for service in control.config().services.values() {
        for listed in control.destinations(&service.key).expect("it is there") {
            let (_, found) = service.destination(&listed.key).expect("it is there");
            let what = (found.id, listed.active, listed.stats);
            standing.insert((service.key, listed.key), what);
        }
    }
    standing
}

/// Every word that packets read or write.
fn words(control: &Control) -> Vec<u64> {
    let tables = &control.tables;
    let lines = [&tables.state, &tables.destinations, &tables.services];
    let lines = lines.into_iter().flat_map(|lines| lines.iter());
    lines.flatten().map(Word::load).collect()
}

/// Connections and packets at every destination.
fn carry_something(control: &Control) {
    for id in control.config().available() {
        control.tables.destinations[id as usize][COUNTS].add(3 << 32);
        control.tables.tallies[id as usize][tally::PACKETS_IN].add(5);
    }
}

proptest! {
    // Each case makes tables of 20 MiB.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_change_is_whole_or_nothing(before in changes(30), changes in changes(30), clears: bool) {
        let mut control = spacious();
        one_by_one(&mut control, &before);
        carry_something(&control);
        let changes: Vec<Request> = clears.then_some(Request::Flush).into_iter().chain(changes).collect();
        let (then, table, number) = (standing(&control), control.table(), control.generation());
        let (untouched, config) = (words(&control), control.config().clone());
        let mut model = table.clone();
        let faults = expected(&mut model, &changes);

        let seen = control.apply(&changes, Applying::Trial);
        let seen: Vec<_> = seen.iter().map(|it| (it.change, it.refused.errno)).collect();
        prop_assert_eq!(&seen, &faults);
        prop_assert_eq!(words(&control), untouched.clone(), "a trial changes nothing");
        let done = control.apply(&changes, Applying::Table);
        prop_assert_eq!(done.len(), faults.len());
        if !faults.is_empty() {
            prop_assert_eq!(words(&control), untouched);
            prop_assert_eq!(control.table(), table);
            prop_assert_eq!(control.generation(), number);
            prop_assert_eq!(standing(&control), then);
            return Ok(());
        }
        prop_assert_eq!(control.table(), model.clone());
        prop_assert!(control.generation() - number <= 1, "in one generation");
        prop_assert_eq!(control.generation() == number, *control.config() == config);
        // What stands has kept its id, its connections and its counters.
        for (key, what) in standing(&control) {
            if let Some(old) = then.get(&key) {
                prop_assert_eq!(&what, old);
            }
        }
        // What is left is in the trash with its connections, and counts for nothing.
        for (key, (id, ..)) in &then {
            let is_there = standing(&control).contains_key(key);
            let in_trash = control.config().trash.iter().any(|it| it.destination.id == *id);
            prop_assert!(is_there != in_trash);
        }
        prop_assert_eq!(restarted_config(&control), control.config().clone());
    }

    #[test]
    fn one_step_makes_what_many_do(before in changes(15), changes in changes(20)) {
        let (mut one, mut many) = (spacious(), spacious());
        for control in [&mut one, &mut many] {
            one_by_one(control, &before);
        }
        let changes: Vec<Request> = std::iter::once(Request::Flush).chain(changes).collect();
        let mut model = one.table();
        let faults = expected(&mut model, &changes);
        let good: Vec<Request> = changes
            .into_iter()
            .enumerate()
            .filter(|(place, _)| !faults.iter().any(|(wrong, _)| wrong == place))
            .map(|(_, change)| change)
            .collect();
        one_by_one(&mut many, &good);
        let is_done = one.apply(&good, Applying::Table).is_empty();
        prop_assume!(is_done);
        prop_assert_eq!(one.table(), many.table());
        let fresh = |control: &Control| -> BTreeMap<ServiceKey, u64> {
            let services = control.config().services.iter();
            services.map(|(id, it)| (it.key, control.cursor(*id).load())).collect()
        };
        let stood: Vec<ServiceKey> = before.iter().filter_map(|it| match it {
            Request::NewService(key, _) => Some(*key),
            _ => None,
        }).collect();
        for (key, cursor) in fresh(&one).into_iter().filter(|(key, _)| !stood.contains(key)) {
            let begun = fresh(&many).get(&key).copied();
            prop_assert_eq!(begun, Some(cursor), "a new service begins alike");
        }
    }
}

/// The configuration as a restarted director would find it.
fn restarted_config(control: &Control) -> Config {
    let generations = Generations::in_force(&control.tables, Readers::Nobody);
    generations
        .expect("what was written is sound")
        .config()
        .clone()
}

#[test]
fn a_service_that_goes_and_comes_never_went() {
    let mut control = serving("rr", &[1, 1, 1]);
    carry_something(&control);
    assert_eq!(picks(&control, 2, false), "CB");
    let then = standing(&control);
    let number = control.generation();
    let mut changes = vec![
        Request::Flush,
        Request::NewService(service(), settings("rr")),
    ];
    changes.extend((1..4).map(|it| Request::NewDestination(service(), server(it), weight(1))));
    assert_eq!(control.apply(&changes, Applying::Table), []);
    assert_eq!(control.generation(), number, "nothing has changed");
    assert_eq!(
        picks(&control, 2, false),
        "AC",
        "round robin goes on where it was"
    );
    changes.pop();
    changes.push(Request::NewDestination(service(), server(4), weight(1)));
    assert_eq!(control.apply(&changes, Applying::Table), []);
    assert_eq!(control.generation(), number + 1);
    assert_eq!(id(&control, 1), then[&(service(), server(1))].0);
    assert_eq!(picks(&control, 3, false), "DBA", "C was the first");
}

#[test]
fn a_change_that_does_not_fit_leaves_all_as_it_was() {
    let tables = Arc::new(Tables::plain(Capacity {
        config: 64,
        ..capacity()
    }));
    let generations = Generations::none(&tables, Readers::Nobody);
    let ledger = Ledger::plain(&tables.capacity);
    let mut control =
        Control::new(tables, generations, ledger, CLOCK, true).expect("an empty one fits");
    let services = |count: u8| -> Vec<Request> {
        let all = (1..=count).map(|it| {
            let key = ServiceKey::Address {
                protocol: 6,
                addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, it)),
                port: 80,
            };
            let servers = (1..6).map(move |to| Request::NewDestination(key, server(to), weight(1)));
            std::iter::once(Request::NewService(key, settings("rr"))).chain(servers)
        });
        std::iter::once(Request::Flush)
            .chain(all.flatten())
            .collect()
    };
    assert_eq!(control.apply(&services(2), Applying::Table), []);
    carry_something(&control);
    let (then, table, number) = (standing(&control), control.table(), control.generation());
    let changes = services(9);
    let faults = control.apply(&changes, Applying::Table);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].change, changes.len(), "a fault of the whole");
    assert_eq!(faults[0].refused.errno, Errno::ENOMEM);
    assert_eq!(control.table(), table);
    assert_eq!(control.generation(), number);
    assert_eq!(standing(&control), then);
    assert_eq!(control.apply(&services(1), Applying::Table), []);
}

#[test]
fn removed_servers_without_connections_give_way() {
    let mut control = serving("rr", &[]);
    let all = u8::try_from(capacity().destinations).expect("few");
    let table = |first: u8, count: u8| -> Vec<Request> {
        let added = (first..first + count)
            .map(|it| Request::NewDestination(service(), server(it), weight(1)));
        let service = Request::NewService(service(), settings("rr"));
        [Request::Flush, service].into_iter().chain(added).collect()
    };
    assert_eq!(control.apply(&table(1, all), Applying::Table), []);
    carry_something(&control);
    let busy = id(&control, 1);
    for idle in control
        .config()
        .available()
        .filter(|id| *id != busy)
        .collect::<Vec<_>>()
    {
        control.tables.destinations[idle as usize][COUNTS].store(0);
    }
    let faults = control.apply(&table(all, all), Applying::Table);
    assert_eq!(
        faults.len(),
        1,
        "one is kept by its connections, and one fault says so"
    );
    assert_eq!(faults[0].refused.errno, Errno::ENOMEM);
    assert_eq!(control.apply(&[Request::Flush], Applying::Table), []);
    assert_eq!(control.apply(&table(all, all - 1), Applying::Table), []);
    let trash: Vec<u32> = control
        .config()
        .trash
        .iter()
        .map(|it| it.destination.id)
        .collect();
    assert_eq!(trash, [busy]);
    assert_eq!(restarted_config(&control), control.config().clone());
}
