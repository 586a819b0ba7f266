//! What one stage tells the next.

use super::verdict::Stop::{self, Drop};
use crate::env::Env;
use crate::event::Event;
use crate::generation::RootLine;

/// What crosses from one stage to the next: lines of the arena.
pub(super) struct Crossing {
    /// The root of the generation that the packet met.
    pub(super) root: u32,
    /// The destination picked for it.
    pub(super) picked: u32,
}

impl Crossing {
    #[inline(always)]
    pub(super) fn keep<E: Env>(self, env: &E) {
        env.remember(u64::from(self.root) | u64::from(self.picked) << 32);
    }

    #[inline(always)]
    pub(super) fn of<E: Env>(env: &E) -> Self {
        let word = env.recall();
        Self {
            root: word as u32,
            picked: (word >> 32) as u32,
        }
    }

    #[inline(always)]
    pub(super) fn root<E: Env>(&self, env: &E) -> Result<RootLine, Stop> {
        RootLine::at(env, self.root).ok_or(Drop(Event::DropInconsistent))
    }
}
