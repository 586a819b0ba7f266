//! `twos`, power of two choices: two destinations drawn by chance in proportion to their weights, of which the one with less
//! load for its weight is picked.
//!
//! Numbers are drawn from 0 to the sum of all weights, both included, so the first destination in list order has one chance
//! more than its weight. Source: Linux 6.1 (`twos` exists since 5.15).

use super::Service;
use crate::env::Env;
use lvsx_platform::bits;

/// The sum of weights is below this: 2^14 destinations of 2^31. Said in code, because the verifier follows a sum that grows
/// without a bound for ever.
const MOST: u64 = (1 << 46) - 1;

/// Place of the better of two destinations drawn. `None`: none takes new connections.
#[inline(always)]
pub fn pick<E: Env>(env: &E, service: &Service) -> Option<u32> {
    let mut total = 0u64;
    env.scan(service.count, |place| {
        let Some(candidate) = service.candidate(env, place) else {
            return false;
        };
        if candidate.takes_new() {
            total = total.wrapping_add(u64::from(candidate.weight)) & MOST;
        }
        true
    });
    if total == 0 {
        return None;
    }
    let mut first = Draw::below(total + 1, env.random());
    let mut second = Draw::below(total + 1, env.random());
    env.scan(service.count, |place| {
        let Some(candidate) = service.candidate(env, place) else {
            return false;
        };
        if candidate.takes_new() {
            first.pass(place, candidate.weight);
            second.pass(place, candidate.weight);
        }
        true
    });
    // None, if others were overloaded between the two walks.
    let one = service.candidate(env, first.place()?)?;
    let Some(other) = second.place() else {
        return first.place();
    };
    let candidate = service.candidate(env, other)?;
    // Products of 32 bits with their sign, as in the kernel.
    let is_lighter = candidate.weight.wrapping_mul(one.overhead()) as i32
        > one.weight.wrapping_mul(candidate.overhead()) as i32;
    if is_lighter {
        Some(other)
    } else {
        first.place()
    }
}

/// A number drawn, and the place at which the weights passed reach it. Without branches, which the verifier would walk in
/// every order.
struct Draw {
    left: u64,
    /// 0 while it is not reached, then the place plus one.
    reached: u64,
}

impl Draw {
    /// A number below `limit` (at most 2^46), from 32 random bits: `limit` x `random` / 2^32.
    #[inline(always)]
    fn below(limit: u64, random: u32) -> Self {
        let random = u64::from(random);
        Self {
            left: (limit >> 32) * random + (((limit & 0xffff_ffff) * random) >> 32),
            reached: 0,
        }
    }

    /// Walks past a destination that takes new connections, or has reached it.
    #[inline(always)]
    fn pass(&mut self, place: u32, weight: u32) {
        let weight = u64::from(weight);
        let here = bits::is_zero(self.reached) & (1 ^ bits::less(weight, self.left));
        self.reached = bits::pick(here, u64::from(place) + 1, self.reached);
        self.left = self.left.wrapping_sub(weight) & (MOST << 1 | 1);
    }

    #[inline(always)]
    fn place(&self) -> Option<u32> {
        self.reached.checked_sub(1).map(|place| place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::generation::SchedulerKind;
    use std::collections::BTreeMap;

    fn shares(scene: &Scene, picks: u32) -> BTreeMap<char, u32> {
        let mut shares = BTreeMap::new();
        for _ in 0..picks {
            *shares
                .entry(scene.pick(&request([10, 1, 0, 1], 1, [0; 4])))
                .or_default() += 1;
        }
        shares
    }

    /// With equal loads the one drawn first is picked: the first of the list has 2 chances in 4, the others 1.
    #[test]
    fn the_first_of_the_list_has_a_chance_more() {
        let scene = Scene::new(SchedulerKind::PowerOfTwo, &[1, 1, 1]);
        for (name, chances) in [('C', 2), ('B', 1), ('A', 1)] {
            let share = shares(&scene, 40_000)[&name];
            let expected = 10_000 * chances;
            assert!(share.abs_diff(expected) < 500, "{name}: {share} of 40000");
        }
    }

    /// A busy server is picked only if both draws are it: B has 2 chances in 3, so 4 in 9.
    #[test]
    fn of_two_the_lighter_is_picked() {
        let scene = Scene::new(SchedulerKind::PowerOfTwo, &[1, 1]);
        scene.counts('B', 5, 0);
        let share = shares(&scene, 45_000)[&'B'];
        assert!(share.abs_diff(20_000) < 600, "B: {share} of 45000");
    }

    #[test]
    fn who_takes_nothing_new_is_not_drawn() {
        let scene = Scene::new(SchedulerKind::PowerOfTwo, &[0, 3, 3, 2]);
        scene.overload('C');
        let shares = shares(&scene, 2000);
        assert_eq!(shares.keys().collect::<std::string::String>(), "BD");
        scene.overload('B');
        scene.overload('D');
        assert_eq!(scene.pick(&request([10, 1, 0, 1], 1, [0; 4])), '-');
    }

    /// The sum of the weights may be beyond 32 bits.
    #[test]
    fn the_greatest_weights_share_evenly() {
        let most = i32::MAX as u32;
        let scene = Scene::new(SchedulerKind::PowerOfTwo, &[most; 4]);
        for (name, share) in shares(&scene, 40_000) {
            assert!(share.abs_diff(10_000) < 500, "{name}: {share} of 40000");
        }
    }
}
