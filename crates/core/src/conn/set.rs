//! A set of the table: its head, the control words of its ways, their entries.

use lvsx_platform::{Word, bits, fence, hide};

/// Entries in a set.
pub const WAYS: usize = 7;

/// A set. Head and control words fill one cache line.
///
/// Flows are at home in one set; the head counts those that found no room there.
#[repr(C)]
pub struct Set<E> {
    /// What [`Head`] describes.
    pub head: Word,
    /// The control words.
    pub control: [Word; WAYS],
    /// The entries.
    pub entry: [E; WAYS],
}

/// The head word of a set, by value: of the flows that are at home here, not of the entries that lie here.
///
/// ```text
/// 63 locked | 62..48 tick of the lock | 47..32 live in their second set | 31..16 live in the overflow area | 15..8 0 | 7..0 reach
/// ```
///
/// The byte that is always 0 is there for [`touch`](Word::touch).
///
/// One word, so that the reach falls back to 0 with the last flow of the overflow area and no look-up stops short of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head(pub u64);

const LOCKED: u64 = 1 << 63;
const LOCK: u64 = 0xffff << 48;
const COUNT: u64 = 0xffff;
const REACH: u64 = 0xff;
/// The byte that is always 0.
pub(super) const BLANK: usize = 1;
const ELSEWHERE: u32 = 32;
const OVERFLOWED: u32 = 16;

/// A lock older than this many ticks is broken: no packet takes two seconds.
const STALE_LOCK: u64 = 32;

/// A lock this many ticks old or older is one that is younger than the clock of whoever looks at it.
const YOUNG_LOCK: u64 = 1 << 14;

impl Head {
    /// Whether some flow of this home lives in its second set.
    #[inline(always)]
    #[must_use]
    pub fn has_elsewhere(self) -> bool {
        self.0 >> ELSEWHERE & COUNT != 0
    }

    /// Sets of the overflow area that a look-up visits; 0 while no flow of this home lives there.
    #[inline(always)]
    #[must_use]
    pub fn reach(self) -> u32 {
        (self.0 & REACH) as u32
    }

    /// Whether all flows of this home live in it.
    #[inline(always)]
    pub(super) fn keeps_all(self) -> bool {
        self.0 & !LOCK == 0
    }

    /// Whether an opener may take the lock at `tick`: it is nobody's, or its holder is gone. The opener's clock may be a tick
    /// behind the holder's, who read it later.
    #[inline(always)]
    pub(super) fn may_lock(self, tick: u32) -> bool {
        let age = u64::from(tick).wrapping_sub(self.0 >> 48) & 0x7fff;
        self.0 & LOCKED == 0 || age > STALE_LOCK && age < YOUNG_LOCK
    }

    /// The word once locked at `tick`.
    #[inline(always)]
    pub(super) fn locked(self, tick: u32) -> Self {
        Self(self.0 & !LOCK | LOCKED | (u64::from(tick) & 0x7fff) << 48)
    }

    /// The word with one flow more in its second set. `None`: too many to count.
    #[inline(always)]
    pub(super) fn with_elsewhere(self) -> Option<Self> {
        if self.0 >> ELSEWHERE & COUNT == COUNT {
            return None;
        }
        Some(Self(self.0 + (1 << ELSEWHERE)))
    }

    /// The word with one flow more in the overflow area, `steps` sets from its start at most. `None`: too many to count.
    #[inline(always)]
    pub(super) fn with_overflowed(self, steps: u32) -> Option<Self> {
        if self.0 >> OVERFLOWED & COUNT == COUNT {
            return None;
        }
        let reach = self.0 & REACH;
        let steps = u64::from(steps) & REACH;
        let reach = bits::pick(bits::less(reach, steps), steps, reach);
        Some(Self((self.0 & !REACH | reach) + (1 << OVERFLOWED)))
    }

    /// The word with one flow less in the overflow area.
    #[inline(always)]
    pub(super) fn without_overflowed(self) -> Self {
        let left = self.0.wrapping_sub(1 << OVERFLOWED);
        let last = bits::is_zero(left >> OVERFLOWED & COUNT);
        Self(bits::pick(last, left & !REACH, left))
    }
}

/// Gives back the lock that `held` shows, unless it was broken meanwhile. Whatever else happens to the head at the same
/// moment, the counts stay right: this touches the bits of the lock alone.
#[inline(always)]
pub(super) fn unlock(head: &Word, held: Head) {
    fence();
    if (head.load() ^ held.0) >> 48 == 0 {
        head.add((held.0 & LOCK).wrapping_neg());
    }
}

/// What takes a flow out of its home's count of those in their second sets: to be added to the head word.
pub(super) const ONE_LESS_ELSEWHERE: u64 = (1u64 << ELSEWHERE).wrapping_neg();

/// Tries to change a head that others change too.
const TRIES: u64 = 8;

/// Puts what `change` makes of the head in its place. `false`: `change` refused, or others changed it each time.
#[inline(always)]
pub(super) fn change(head: &Word, change: impl Fn(Head) -> Option<Head>) -> bool {
    let mut tries = 0;
    while hide(tries) < TRIES {
        let found = head.load();
        let Some(new) = change(Head(found)) else {
            return false;
        };
        if head.compare_exchange(found, new.0).is_ok() {
            return true;
        }
        tries += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_falls_with_the_last_flow_of_the_overflow_area() {
        let head = Head(0)
            .with_overflowed(3)
            .and_then(|head| head.with_overflowed(2));
        let head = head.and_then(Head::with_elsewhere).expect("counted");
        assert_eq!(head.reach(), 3);
        assert_eq!(head.without_overflowed().reach(), 3);
        let left = head.without_overflowed().without_overflowed();
        assert_eq!(left.reach(), 0);
        assert!(left.has_elsewhere());
        assert_eq!(left.0.wrapping_add(ONE_LESS_ELSEWHERE), 0);
    }

    #[test]
    fn a_lock_is_taken_once_and_broken_when_its_holder_is_gone() {
        let free = Head(7 << 32);
        assert!(free.may_lock(5));
        let held = free.locked(5);
        assert!(!held.may_lock(5));
        assert!(!held.may_lock(4), "by a clock read before");
        assert!(!held.may_lock(37));
        assert!(held.may_lock(38));
        let broken = held.locked(38);
        let after = |word: Head| {
            let word = Word::new(word.0);
            unlock(&word, held);
            Head(word.load())
        };
        assert_eq!(after(held), free);
        assert_eq!(after(broken), broken, "not ours any more");
        let counted = held.with_elsewhere().expect("counted");
        assert_eq!(after(counted), Head(8 << 32));
        let wrapped = free.locked(0x7fff_fff0);
        assert!(!wrapped.may_lock(0x8000_0004));
    }

    #[test]
    fn counts_do_not_run_over() {
        assert_eq!(Head(COUNT << ELSEWHERE).with_elsewhere(), None);
        assert_eq!(Head(COUNT << OVERFLOWED).with_overflowed(1), None);
    }
}
