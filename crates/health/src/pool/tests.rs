use super::*;
use proptest::prelude::*;

fn server(last: u8) -> DestinationKey {
    DestinationKey {
        addr: [10, 0, 0, last].into(),
        port: 80,
    }
}

fn at(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

/// A pool of servers 1 to `count` of weight 1, all up.
fn pool(rules: Rules, count: u8) -> Pool {
    let mut pool = Pool::new(rules);
    for last in 1..=count {
        pool.configure(server(last), 1, true);
    }
    pool
}

fn weights(pool: &mut Pool, now: f64) -> Vec<u32> {
    let (weights, _) = pool.decide(at(now));
    weights.into_iter().map(|(_, weight)| weight).collect()
}

#[test]
fn who_is_down_has_weight_0_and_comes_back_with_the_configured_one() {
    let mut pool = pool(Rules::default(), 3);
    assert_eq!(weights(&mut pool, 0.0), [1, 1, 1]);
    assert_eq!(
        pool.stand(&server(2), false, at(1.0)),
        [Event::Down(server(2))]
    );
    assert_eq!(weights(&mut pool, 1.0), [1, 0, 1]);
    pool.configure(server(2), 5, true);
    assert_eq!(weights(&mut pool, 2.0), [1, 0, 1]);
    assert_eq!(
        pool.stand(&server(2), true, at(3.0)),
        [Event::Up(server(2))]
    );
    assert_eq!(weights(&mut pool, 3.0), [1, 5, 1]);
}

#[test]
fn below_the_quorum_the_sorry_server_serves_alone() {
    let rules = Rules {
        quorum: 2,
        sorry: Some(server(4)),
        ..Rules::default()
    };
    let mut pool = pool(rules, 4);
    assert_eq!(weights(&mut pool, 0.0), [1, 1, 1, 0]);
    pool.stand(&server(1), false, at(1.0));
    assert_eq!(weights(&mut pool, 1.0), [0, 1, 1, 0]);
    pool.stand(&server(2), false, at(2.0));
    let (decided, event) = pool.decide(at(2.0));
    assert_eq!(event, Some(Event::QuorumLost { left: 1 }));
    assert_eq!(decided.last(), Some(&(server(4), 1)));
    assert_eq!(weights(&mut pool, 2.0), [0, 0, 0, 1]);
    pool.stand(&server(2), true, at(3.0));
    assert_eq!(pool.decide(at(3.0)).1, Some(Event::QuorumBack));
    assert_eq!(weights(&mut pool, 3.0), [0, 1, 1, 0]);
}

#[test]
fn below_the_quorum_the_rest_serve_where_no_sorry_server_does() {
    for sorry in [None, Some(server(3))] {
        let rules = Rules {
            quorum: 2,
            sorry,
            ..Rules::default()
        };
        let mut pool = pool(rules, 3);
        pool.stand(&server(3), false, at(0.5));
        pool.stand(&server(1), false, at(1.0));
        assert_eq!(weights(&mut pool, 1.0), [0, 1, 0]);
    }
}

#[test]
fn a_pool_is_not_emptied_when_most_fail_at_once() {
    let rules = Rules {
        panic: 50,
        ..Rules::default()
    };
    let mut pool = pool(rules, 4);
    assert_eq!(
        pool.stand(&server(1), false, at(1.0)),
        [Event::Down(server(1))]
    );
    assert_eq!(
        pool.stand(&server(2), false, at(1.1)),
        [Event::Down(server(2))]
    );
    assert_eq!(
        weights(&mut pool, 1.1),
        [0, 0, 1, 1],
        "half of them is not most"
    );
    let panic = Event::Panic { failed: 3, of: 4 };
    assert_eq!(
        pool.stand(&server(3), false, at(1.2)),
        [Event::Down(server(3)), panic]
    );
    assert_eq!(weights(&mut pool, 1.2), [1, 1, 1, 1]);
    pool.stand(&server(4), false, at(1.3));
    assert_eq!(weights(&mut pool, 600.0), [1, 1, 1, 1]);
    // They come back one by one; who does not leaves when the others are enough.
    pool.stand(&server(4), true, at(601.0));
    assert_eq!(weights(&mut pool, 601.0), [1, 1, 1, 1]);
    assert_eq!(
        pool.stand(&server(3), true, at(602.0)),
        [Event::Up(server(3)), Event::Calm]
    );
    assert_eq!(weights(&mut pool, 602.0), [0, 0, 1, 1]);
}

#[test]
fn servers_that_fail_one_after_the_other_leave() {
    let rules = Rules {
        panic: 50,
        ..Rules::default()
    };
    let mut pool = pool(rules, 4);
    for last in 1..=3u8 {
        let moment = at(60.0 * f64::from(last));
        assert_eq!(
            pool.stand(&server(last), false, moment),
            [Event::Down(server(last))]
        );
    }
    assert_eq!(weights(&mut pool, 200.0), [0, 0, 0, 1]);
    // The last one alone is all of them.
    pool.stand(&server(4), false, at(300.0));
    assert_eq!(weights(&mut pool, 300.0), [0, 0, 0, 1]);
}

#[test]
fn a_server_starts_slowly() {
    let rules = Rules {
        slow_start: Duration::from_secs(10),
        ..Rules::default()
    };
    let mut pool = pool(rules, 2);
    assert_eq!(
        weights(&mut pool, 0.0),
        [16, 16],
        "who was up from the beginning does not"
    );
    pool.stand(&server(1), false, at(1.0));
    weights(&mut pool, 1.0);
    pool.stand(&server(1), true, at(100.0));
    let shares: Vec<u32> = (0..=11)
        .map(|second| weights(&mut pool, 100.0 + f64::from(second))[0])
        .collect();
    assert_eq!(shares, [2, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 16]);
    assert!(pool.is_starting(at(105.0)) && !pool.is_starting(at(120.0)));
}

#[test]
fn an_order_goes_before_everything() {
    let mut pool = pool(
        Rules {
            panic: 50,
            ..Rules::default()
        },
        2,
    );
    pool.order(&server(1), Order::Drain);
    assert_eq!(weights(&mut pool, 0.0), [0, 1]);
    pool.order(&server(1), Order::Maintenance);
    pool.stand(&server(1), false, at(1.0));
    assert_eq!(weights(&mut pool, 1.0), [0, 1]);
    pool.stand(&server(1), true, at(2.0));
    pool.order(&server(1), Order::Ready);
    assert_eq!(weights(&mut pool, 3.0), [1, 1]);
}

#[test]
fn small_moves_are_not_made() {
    let mut pool = Pool::new(Rules {
        fine: true,
        ..Rules::default()
    });
    pool.configure(server(1), 100, true);
    assert_eq!(weights(&mut pool, 0.0), [100]);
    pool.set_factor(&server(1), 1.04);
    assert_eq!(weights(&mut pool, 1.0), [100]);
    pool.set_factor(&server(1), 1.06);
    assert_eq!(weights(&mut pool, 2.0), [106]);
    pool.set_factor(&server(1), 1.0);
    assert_eq!(weights(&mut pool, 3.0), [100], "but home it goes exactly");
}

/// What can happen to a pool of six, of which the last is the sorry server.
#[derive(Clone, Debug)]
enum Step {
    Stand(u8, bool),
    Order(u8, u8),
    Configure(u8, u32),
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..=6, any::<bool>()).prop_map(|(server, up)| Step::Stand(server, up)),
        1 => (1u8..=6, 0u8..3).prop_map(|(server, order)| Step::Order(server, order)),
        1 => (1u8..=6, 0u32..4).prop_map(|(server, weight)| Step::Configure(server, weight)),
        2 => (0u8..20).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_happens(steps in prop::collection::vec(step(), 0..60), panic in 0u32..=100, quorum in 0u32..4) {
        let sorry = server(6);
        let rules = Rules { quorum, sorry: Some(sorry), panic, ..Rules::default() };
        let mut pool = pool(rules, 6);
        let mut now = 0.0;
        for step in steps {
            match step {
                Step::Stand(last, up) => drop(pool.stand(&server(last), up, at(now))),
                Step::Order(last, order) => {
                    pool.order(&server(last), [Order::Ready, Order::Drain, Order::Maintenance][usize::from(order)]);
                }
                Step::Configure(last, weight) => pool.configure(server(last), weight, true),
                Step::Pass(seconds) => now += f64::from(seconds),
            }
            let (weights, _) = pool.decide(at(now));
            for (key, weight) in &weights {
                let member = &pool.members[key];
                prop_assert!(*weight == 0 || *weight == member.configured);
                prop_assert!(*weight == 0 || member.counts());
                prop_assert!(*weight == 0 || member.is_up || member.is_held);
                prop_assert!(!(member.is_up && member.is_held));
            }
            let serving = weights.iter().filter(|(key, weight)| *weight > 0 && *key != sorry).count();
            let is_sorry = weights.iter().any(|(key, weight)| *weight > 0 && *key == sorry);
            prop_assert!(!(is_sorry && serving > 0), "never both");
            let could = pool.members.iter().any(|(key, member)| *key != sorry && member.counts() && member.is_up);
            let sorry_could = pool.members[&sorry].serves();
            prop_assert!(serving > 0 || is_sorry || !could, "who could serve is not left out for nobody");
            prop_assert!(!could || serving > 0 || sorry_could);
        }
    }
}
