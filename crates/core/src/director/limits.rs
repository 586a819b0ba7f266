//! How often ICMP errors are sent, as Linux 6.1 limits its own: to each host, and to all together.
//!
//! A host may be sent one error an interval (`icmp_ratelimit`), and six at once after a silence. The kernel keeps tokens and
//! the time of their last change; here one number says as much: when nothing the host was sent counts any more. All hosts
//! together may be sent so many a second (`icmp_msgs_per_sec`), counted in fiftieths of one, and so many at once
//! (`icmp_msgs_burst`); an error takes none to two of these, so that nobody learns from outside what others were sent.
//! Fragmentation needed and packet too big are never limited.
//!
//! Differs: hosts lie in a table of [`state::ICMP_HOST_LINES`] lines, and one that takes another's place has its limit anew;
//! IPv6 goes by `net.ipv4.icmp_*` too, with the interval that the kernel has for hosts behind a default route.

use crate::env::{Env, state};
use crate::generation::{RootLine, spread};
use lvsx_platform::hide;

/// Intervals saved up in a silence.
const SAVED: u32 = 6;
/// The shortest time, in milliseconds, that adds to what all hosts may be sent.
const STEP: u32 = 20;
/// The longest that does.
const SECOND: u32 = 1000;
/// Tries against other CPUs.
const TRIES: u64 = 4;

/// Whether an IPv4 error of this type and code may be sent to a raw address now. If so, it counts.
#[inline(always)]
pub(super) fn allow4<E: Env>(env: &E, root: &RootLine, kind: u8, code: u8, to: u32) -> bool {
    let limits = root.icmp_limits(env);
    if kind == 3 && code == 4 || limits.mask >> (kind & 31) & 1 == 0 {
        return true;
    }
    let is_all = is_allowed_to_all(env, limits.a_second, limits.burst);
    is_all && is_allowed_to(env, u64::from(to), limits.interval)
}

/// The same of IPv6.
#[inline(always)]
pub(super) fn allow6<E: Env>(env: &E, root: &RootLine, kind: u8, to: [u64; 2]) -> bool {
    if kind == 2 {
        return true;
    }
    let limits = root.icmp_limits(env);
    let host = to[0].rotate_left(23) ^ to[1];
    is_allowed_to_all(env, limits.a_second, limits.burst)
        && is_allowed_to(env, host, limits.interval >> 4)
}

/// Takes from what may be sent to all hosts together.
#[inline(always)]
fn is_allowed_to_all<E: Env>(env: &E, a_second: u32, burst: u32) -> bool {
    let Some(line) = env.state(state::ICMP) else {
        return false;
    };
    let word = &line[state::ICMP_CREDIT];
    let now = env.milliseconds();
    let spent = ((u64::from(env.random()) * 3) >> 32) as u32;
    let mut tries = 0;
    while hide(tries) < TRIES {
        let old = word.load();
        let Some(new) = spend(old, now, a_second, burst, spent) else {
            return false;
        };
        if word.compare_exchange(old, new).is_ok() {
            return true;
        }
        tries += 1;
    }
    false
}

/// The credit word after an error that takes `spent`. `None`: there is no credit.
#[inline(always)]
fn spend(word: u64, now: u32, a_second: u32, burst: u32, spent: u32) -> Option<u64> {
    let (credit, stamp) = ((word >> 32) as u32, word as u32);
    let passed = now.wrapping_sub(stamp).min(SECOND);
    let more = if passed < STEP {
        0
    } else {
        (u64::from(a_second) * u64::from(passed) / u64::from(SECOND)) as u32
    };
    let stamp = if more == 0 { stamp } else { now };
    let credit = credit.saturating_add(more).min(burst);
    if credit == 0 {
        return None;
    }
    Some(u64::from(credit.saturating_sub(spent)) << 32 | u64::from(stamp))
}

/// Takes from what may be sent to one host.
#[inline(always)]
fn is_allowed_to<E: Env>(env: &E, host: u64, interval: u32) -> bool {
    if interval == 0 {
        return true;
    }
    // Two hashes: the place, and the tag that tells hosts of one place apart.
    let (place, tag) = (spread(host, 0), spread(host, 0x5bd1_e995));
    let Some(line) = env.state(state::ICMP_HOSTS + (place / 8) % state::ICMP_HOST_LINES) else {
        return false;
    };
    let word = &line[(place % 8) as usize];
    let now = env.milliseconds();
    let mut tries = 0;
    while hide(tries) < TRIES {
        let old = word.load();
        let Some(free) = next_free(old, tag, now, interval) else {
            return false;
        };
        if word
            .compare_exchange(old, u64::from(tag) << 32 | u64::from(free))
            .is_ok()
        {
            return true;
        }
        tries += 1;
    }
    false
}

/// When nothing that this host was sent counts any more, after one more error. `None`: it may not be sent one.
#[inline(always)]
fn next_free(word: u64, tag: u32, now: u32, interval: u32) -> Option<u32> {
    let ahead = (word as u32).wrapping_sub(now);
    let most = interval.saturating_mul(SAVED);
    // More than can be ahead is past; another's place is as good as an empty one.
    let ahead = if ahead > most || (word >> 32) as u32 != tag {
        0
    } else {
        ahead
    };
    if ahead > interval.saturating_mul(SAVED - 1) {
        return None;
    }
    Some(now.wrapping_add(ahead).wrapping_add(interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kernel's tokens of one host.
    struct Tokens {
        tokens: u64,
        last: u64,
    }

    impl Tokens {
        fn take(&mut self, now: u64, interval: u64) -> bool {
            let most = interval * u64::from(SAVED);
            self.tokens = (self.tokens + now - self.last).min(most);
            self.last = now;
            let is_allowed = self.tokens >= interval;
            if is_allowed {
                self.tokens -= interval;
            }
            is_allowed
        }
    }

    proptest! {
        #[test]
        fn a_host_is_sent_what_tokens_allow(
            start in any::<u32>(), interval in 1u32..5000, steps in prop::collection::vec(0u32..8000, 1..60)
        ) {
            let mut tokens = Tokens { tokens: u64::from(interval) * u64::from(SAVED), last: 0 };
            let (mut word, mut passed) = (0u64, 0u64);
            for step in steps {
                passed += u64::from(step);
                let now = start.wrapping_add(passed as u32);
                let free = next_free(word, 7, now, interval);
                prop_assert_eq!(free.is_some(), tokens.take(passed, u64::from(interval)));
                if let Some(free) = free {
                    word = 7 << 32 | u64::from(free);
                }
            }
        }

        #[test]
        fn all_hosts_together_are_sent_no_more_than_credit(
            a_second in 0u32..5000, burst in 0u32..200, steps in prop::collection::vec((0u32..100, 0u32..3), 1..200)
        ) {
            // Credit and the moment it was last added to, kept apart and in plain arithmetic.
            let (mut credit, mut stamp, mut now, mut word) = (0u32, 0u32, 5_000u32, 0u64);
            for (step, spent) in steps {
                now += step;
                let passed = (now - stamp).min(1000);
                if passed >= 20 && a_second * passed / 1000 > 0 {
                    credit += a_second * passed / 1000;
                    stamp = now;
                }
                credit = credit.min(burst);
                let new = spend(word, now, a_second, burst, spent);
                prop_assert_eq!(new.is_some(), credit > 0);
                if let Some(new) = new {
                    credit = credit.saturating_sub(spent);
                    word = new;
                }
            }
        }
    }

    #[test]
    fn a_second_host_in_a_place_begins_anew() {
        let crowded = 7 << 32 | 6000;
        assert_eq!(next_free(crowded, 7, 0, 1000), None);
        assert_eq!(next_free(crowded, 8, 0, 1000), Some(1000));
        assert_eq!(next_free(crowded, 7, 1000, 1000), Some(7000));
    }
}
