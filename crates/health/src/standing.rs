//! How a server stands: up or down, by how its checks end.
//!
//! It goes down after `fall` checks in a row that failed, and comes up after `rise` that succeeded. One that keeps falling must
//! succeed longer: each fall that is not forgotten doubles what it takes to come up again, up to sixteen times; a fall is forgotten
//! after [`CALM`] successes in a row while it is up. So a server that flaps leaves the pool a few times and then stays out.

use std::num::NonZeroU32;

/// Successes in a row after which a fall is forgotten.
pub const CALM: u32 = 30;
/// Falls that count: the rise is doubled for each but the first.
const MOST_FALLS: u32 = 5;

/// How many checks in a row it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// Successes until a server is up.
    pub rise: NonZeroU32,
    /// Failures until it is down.
    pub fall: NonZeroU32,
}

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    is_up: bool,
    /// Checks in a row that said otherwise than `is_up`.
    against: u32,
    /// Checks in a row that confirmed that it is up.
    calm: u32,
    falls: u32,
}

impl Standing {
    /// A server that no check has ended for yet.
    #[must_use]
    pub const fn new(is_up: bool) -> Self {
        Self {
            is_up,
            against: 0,
            calm: 0,
            falls: 0,
        }
    }

    /// Whether it is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Takes note of how a check ended. Whether the server came up or went down by it.
    pub fn record(&mut self, success: bool, patience: Patience) -> bool {
        if success == self.is_up {
            self.against = 0;
            if self.is_up {
                self.be_calm();
            }
            return false;
        }
        self.calm = 0;
        self.against = self.against.saturating_add(1);
        if self.against < self.needed(patience) {
            return false;
        }
        self.is_up = success;
        self.against = 0;
        if !success {
            self.falls = (self.falls + 1).min(MOST_FALLS);
        }
        true
    }

    /// Checks in a row that it takes to change.
    fn needed(&self, patience: Patience) -> u32 {
        if self.is_up {
            return patience.fall.get();
        }
        patience
            .rise
            .get()
            .saturating_mul(1 << self.falls.saturating_sub(1))
    }

    fn be_calm(&mut self) {
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.falls = self.falls.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patience(rise: u32, fall: u32) -> Patience {
        let number = |value| NonZeroU32::new(value).expect("not 0");
        Patience {
            rise: number(rise),
            fall: number(fall),
        }
    }

    /// The checks, from the first, at which it changed.
    fn changes(standing: &mut Standing, rule: Patience, checks: &[bool]) -> Vec<usize> {
        let changed = |(at, success): (usize, &bool)| standing.record(*success, rule).then_some(at);
        checks.iter().enumerate().filter_map(changed).collect()
    }

    #[test]
    fn it_falls_and_rises_after_checks_in_a_row() {
        let (t, f) = (true, false);
        let mut standing = Standing::new(true);
        assert_eq!(
            changes(
                &mut standing,
                patience(2, 3),
                &[f, f, t, f, f, f, f, t, f, t, t]
            ),
            [5, 10]
        );
        assert!(standing.is_up());
    }

    #[test]
    fn one_that_keeps_falling_must_succeed_longer() {
        let rule = patience(2, 2);
        let mut standing = Standing::new(true);
        // Four seconds bad, four good, on and on, at a check a second.
        let checks: Vec<bool> = (0..400).map(|second| second / 4 % 2 == 1).collect();
        let changes = changes(&mut standing, rule, &checks);
        assert_eq!(changes, [1, 5, 9, 15, 17], "it is out after three falls");
    }

    #[test]
    fn falls_are_forgotten() {
        let rule = patience(1, 1);
        let mut standing = Standing::new(true);
        for _ in 0..3 {
            assert!(standing.record(false, rule));
            while !standing.record(true, rule) {}
        }
        for _ in 0..3 * CALM {
            assert!(!standing.record(true, rule));
        }
        assert!(standing.record(false, rule));
        assert!(standing.record(true, rule), "one success is enough again");
    }

    proptest! {
        /// Against the definition: it is down from the first `fall` failures in a row on, until enough successes in a row.
        #[test]
        fn it_changes_only_after_enough_in_a_row(
            checks in prop::collection::vec(any::<bool>(), 0..200),
            rise in 1u32..4,
            fall in 1u32..4,
        ) {
            let rule = patience(rise, fall);
            let mut standing = Standing::new(true);
            for (at, success) in checks.iter().enumerate() {
                let was = standing.is_up();
                let changed = standing.record(*success, rule);
                prop_assert_eq!(changed, was != standing.is_up());
                let row = checks[..=at].iter().rev().take_while(|last| *last == success).count();
                if changed {
                    prop_assert_eq!(*success, standing.is_up());
                    let least = if was { fall } else { rise };
                    prop_assert!(row >= least as usize);
                } else if was {
                    prop_assert!(*success || row < fall as usize);
                } else {
                    prop_assert!(!*success || row < 16 * rise as usize);
                }
            }
        }
    }
}
