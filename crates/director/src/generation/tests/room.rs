//! What the arena has room for.

use super::*;

#[test]
fn what_does_not_fit_leaves_the_generation_before_in_force() {
    let tables = Tables::plain(capacity(64));
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    config
        .services
        .insert(0, Arc::new(service(key(1), vec![destination(1, 1)])));
    generations
        .publish(&tables, config.clone(), concerns(&config))
        .expect("it fits");

    let mut large = config.clone();
    large.services.insert(
        1,
        Arc::new(service(
            key(2),
            (2..60).map(|id| destination(id, 1)).collect(),
        )),
    );
    let result = generations.publish(&tables, large.clone(), concerns(&large));
    assert_eq!(result, Err(ArenaFull { lines: 64 }));
    assert_in_force(&tables, &config, [key(2)].into_iter());
    for _ in 0..100 {
        generations
            .publish(&tables, config.clone(), concerns(&config))
            .expect("no line was lost");
    }
}

#[test]
fn services_that_come_one_by_one_leave_room_for_larger_tables() {
    let tables = Tables::plain(Capacity {
        services: 1024,
        ..capacity(8192)
    });
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    for number in 0..1000u32 {
        let key = ServiceKey::Address {
            protocol: 6,
            addr: IpAddr::V4(Ipv4Addr::from(0xc612_0000 + number)),
            port: 80,
        };
        config
            .services
            .insert(number, Arc::new(service(key, vec![destination(1, 1)])));
        let concerned = concerned(&generations, &config);
        let result = generations.publish(&tables, config.clone(), concerned);
        assert_eq!(result, Ok(()), "service {number}");
    }
    assert_in_force(&tables, &config, std::iter::empty());
}

#[test]
fn what_was_built_up_one_by_one_can_be_cleared_at_once() {
    const SERVICES: u32 = 40;
    const SERVERS: u32 = 50;
    let tables = Tables::plain(capacity(10_240));
    let mut generations = Generations::none(&tables, Readers::Nobody);
    let mut config = Config::default();
    let key = |number| ServiceKey::Address {
        protocol: 6,
        addr: IpAddr::V4(Ipv4Addr::from(0xc612_0000 + number)),
        port: 80,
    };
    for number in 0..SERVICES {
        for server in 0..=SERVERS {
            let ids = (0..server).map(|it| number * SERVERS + it);
            let servers = ids.map(|id| destination(id, 1)).collect();
            let service = Arc::new(service(key(number), servers));
            config.services.insert(number, service);
            let concerned = concerned(&generations, &config);
            let result = generations.publish(&tables, config.clone(), concerned);
            assert_eq!(result, Ok(()), "service {number} with {server} servers");
        }
    }
    let removed = config.services.iter().flat_map(|(id, service)| {
        let of = |destination: &DestinationConfig| Removed {
            destination: *destination,
            service: service.key,
            service_id: *id,
        };
        service.destinations.iter().map(of).collect::<Vec<_>>()
    });
    let trash = Arc::new(removed.collect::<Vec<_>>());
    let cleared = Config {
        trash,
        services: config
            .services
            .iter()
            .skip(39)
            .map(|(id, it)| (*id, it.clone()))
            .collect(),
        ..config
    };
    let concerned = Concerned::Whole(concerns(&cleared));
    assert_eq!(
        generations.publish(&tables, cleared.clone(), concerned),
        Ok(())
    );
    assert_in_force(&tables, &cleared, (0..39).map(key));
}
