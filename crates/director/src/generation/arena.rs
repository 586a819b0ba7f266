//! Which lines of the arena are free, in use, or waiting until no packet can still see them.
//!
//! What stays as long as its service does lies in front, what most changes replace lies at the back: among blocks strewn over the
//! whole arena there would soon be no run long enough for a table, however many lines are free.

use std::collections::BTreeMap;

/// A run of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// The first line.
    pub first: u32,
    /// How many; 0 is no line at all.
    pub lines: u32,
}

impl Extent {
    fn end(self) -> u32 {
        self.first + self.lines
    }
}

/// Where in the arena lines are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where what stays lies.
    Front,
    /// Where what is soon replaced lies.
    Back,
}

/// The book of free lines.
#[derive(Clone, Debug)]
pub struct Arena {
    /// Free runs by first line; no two touch.
    free: BTreeMap<u32, u32>,
    /// Runs that only generations of the past reach.
    retired: Vec<Extent>,
}

impl Arena {
    /// An arena of `lines` lines, all free but the first: line 0 stands for none.
    #[must_use]
    pub fn new(lines: u32) -> Self {
        let mut free = BTreeMap::new();
        if lines > 1 {
            free.insert(1, lines - 1);
        }
        Self {
            free,
            retired: Vec::new(),
        }
    }

    /// Takes `lines` free lines in a run, the first ones that there are or the last. `None`: there is no run so long.
    pub fn take(&mut self, lines: u32, place: Place) -> Option<Extent> {
        let is_enough = |(_, length): &(&u32, &u32)| **length >= lines;
        let (&run, &length) = match place {
            Place::Front => self.free.iter().find(is_enough)?,
            Place::Back => self.free.iter().rfind(is_enough)?,
        };
        let first = match place {
            Place::Front => run,
            Place::Back => run + (length - lines),
        };
        let extent = Extent { first, lines };
        // It lies in a run that is free.
        let _ = self.claim(extent);
        Some(extent)
    }

    /// Takes exactly these lines. `false`, and nothing taken: not all of them are free.
    #[must_use]
    pub fn claim(&mut self, extent: Extent) -> bool {
        let Some((&first, &length)) = self.free.range(..=extent.first).next_back() else {
            return false;
        };
        let Some(end) = extent.first.checked_add(extent.lines) else {
            return false;
        };
        if end > first + length {
            return false;
        }
        if extent.lines == 0 {
            return true;
        }
        self.free.remove(&first);
        if extent.first > first {
            self.free.insert(first, extent.first - first);
        }
        if end < first + length {
            self.free.insert(end, first + length - end);
        }
        true
    }

    /// Free lines, in however many runs.
    #[must_use]
    pub fn free_lines(&self) -> u32 {
        self.free.values().sum()
    }

    /// Gives lines back that no packet can have seen.
    pub fn give_back(&mut self, extent: Extent) {
        if extent.lines == 0 {
            return;
        }
        let mut run = extent;
        if let Some((&first, &length)) = self.free.range(..extent.first).next_back()
            && first + length == extent.first
        {
            self.free.remove(&first);
            run = Extent {
                first,
                lines: length + run.lines,
            };
        }
        if let Some(length) = self.free.remove(&run.end()) {
            run.lines += length;
        }
        self.free.insert(run.first, run.lines);
    }

    /// Puts lines aside that packets of the past generation may still look at.
    pub fn retire(&mut self, extent: Extent) {
        if extent.lines > 0 {
            self.retired.push(extent);
        }
    }

    /// Frees what was put aside: every packet that could have seen it is done.
    pub fn reclaim(&mut self) {
        for extent in std::mem::take(&mut self.retired) {
            self.give_back(extent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Op {
        Take(u32, bool),
        Claim(u32, u32),
        GiveBack(usize),
        Retire(usize),
        Reclaim,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..9u32, any::<bool>()).prop_map(|(lines, back)| Op::Take(lines, back)),
            (0..64u32, 0..9u32).prop_map(|(first, lines)| Op::Claim(first, lines)),
            any::<usize>().prop_map(Op::GiveBack),
            any::<usize>().prop_map(Op::Retire),
            Just(Op::Reclaim),
        ]
    }

    fn lines(extent: Extent) -> impl Iterator<Item = u32> {
        extent.first..extent.end()
    }

    proptest! {
        /// Against a naive book that knows each line by itself.
        #[test]
        fn no_line_is_given_twice_and_none_is_lost(ops in prop::collection::vec(op(), 0..200)) {
            let mut arena = Arena::new(64);
            let mut free: BTreeSet<u32> = (1..64).collect();
            let mut taken: Vec<Extent> = Vec::new();
            let mut retired: Vec<u32> = Vec::new();
            for op in ops {
                match op {
                    Op::Take(count, back) => match arena.take(count, if back { Place::Back } else { Place::Front }) {
                        Some(extent) => {
                            let run = |first: &u32| (*first..first + count).all(|line| free.contains(&line));
                            let mut runs = free.iter().copied().filter(run);
                            let wanted = if back { runs.next_back() } else { runs.next() };
                            prop_assert!(count == 0 || wanted == Some(extent.first));
                            prop_assert!(lines(extent).all(|line| free.remove(&line)));
                            taken.push(extent);
                        }
                        None => {
                            let run = |first: &u32| (*first..first + count).all(|line| free.contains(&line));
                            prop_assert!(!free.iter().any(run));
                        }
                    },
                    Op::Claim(first, count) => {
                        let extent = Extent { first, lines: count };
                        if arena.claim(extent) {
                            prop_assert!(lines(extent).all(|line| free.remove(&line)));
                            taken.push(extent);
                        } else {
                            prop_assert!(count == 0 || !lines(extent).all(|line| free.contains(&line)));
                        }
                    }
                    Op::GiveBack(index) if !taken.is_empty() => {
                        let extent = taken.swap_remove(index % taken.len());
                        free.extend(lines(extent));
                        arena.give_back(extent);
                    }
                    Op::Retire(index) if !taken.is_empty() => {
                        let extent = taken.swap_remove(index % taken.len());
                        retired.extend(lines(extent));
                        arena.retire(extent);
                    }
                    Op::Reclaim => {
                        free.extend(retired.drain(..));
                        arena.reclaim();
                    }
                    Op::GiveBack(_) | Op::Retire(_) => {}
                }
            }
        }
    }
}
