//! What one stage tells the next.

use super::verdict::Verdict;
use crate::env::Env;
use crate::event::Event;
use crate::generation::RootLine;

/// What crosses from one stage to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    /// Line of the root of the generation that the packet met.
    pub(super) root: u32,
    /// Line of the destination picked for it.
    pub(super) picked: u32,
    /// Hash of the flow.
    pub(super) hash: u64,
}

/// Word of the scratch line: root and picked destination.
const LINES: usize = 0;
/// Word of the scratch line: hash of the flow.
const HASH: usize = 1;

impl Crossing {
    #[inline(always)]
    pub(super) fn keep<E: Env>(self, env: &E) {
        if let Some(scratch) = env.scratch() {
            scratch[LINES].poke(u64::from(self.root) | u64::from(self.picked) << 32);
            scratch[HASH].poke(self.hash);
        }
    }

    #[inline(always)]
    pub(super) fn of<E: Env>(env: &E) -> Result<Self, Verdict> {
        let scratch = env
            .scratch()
            .ok_or(Verdict::drop(Event::DropInconsistent))?;
        let lines = scratch[LINES].peek();
        Ok(Self {
            root: lines as u32,
            picked: (lines >> 32) as u32,
            hash: scratch[HASH].peek(),
        })
    }

    #[inline(always)]
    pub(super) fn root<E: Env>(&self, env: &E) -> Result<RootLine, Verdict> {
        RootLine::at(env, self.root).ok_or(Verdict::drop(Event::DropInconsistent))
    }
}
