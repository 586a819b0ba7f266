//! What a packet's way ends in.

use crate::env::Env;
use crate::event::Event;

/// What becomes of a packet. All fields are always set: BPF has no use for half an enum, and its verifier refuses to see
/// one copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// Under which name it was counted. Of [`Action::Next`], nothing was.
    pub event: Event,
    /// Index of the interface it leaves by; else 0.
    pub interface: u32,
    /// Raw IPv4 address of the next hop that the kernel has to resolve; else 0.
    pub gateway: u32,
    /// The stage that goes on with it.
    pub stage: Stage,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as it came.
    Pass,
    /// It ends here.
    Drop,
    /// It leaves by an interface, its link-layer header written.
    Out,
    /// It leaves by an interface, and the kernel finds the next hop's link-layer address. Only where the hook can;
    /// elsewhere it ends here and the director is told.
    OutUnresolved,
    /// Another stage goes on with it.
    Next,
}

/// A stage, by its place in the array of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// [`super::fast`]: the first, never the next.
    Fast = 0,
    /// [`super::open`].
    Open = 1,
    /// [`super::overflow`].
    Overflow = 2,
    /// [`super::bind`].
    Bind = 3,
    /// [`super::first`].
    First = 4,
}

/// Stages a packet may go through before it is given up: what the kernel allows (33 tail calls).
pub const MOST_STAGES: u32 = 33;

/// Why a packet goes no further in a stage.
pub(super) enum Stop {
    Pass(Event),
    Drop(Event),
    Next(Stage),
}

use Stop::{Drop, Next, Pass};

/// The way out: an interface, and the next hop if the kernel has to resolve it (else 0).
pub(super) struct Out {
    pub(super) interface: u32,
    pub(super) gateway: u32,
}

/// The one place that counts what became of a packet. A packet sent on was counted in its destination's tally.
#[inline(always)]
pub(super) fn conclude<E: Env>(env: &E, way: Result<Out, Stop>) -> Verdict {
    let mut verdict = Verdict {
        action: Action::Out,
        event: Event::Forwarded,
        interface: 0,
        gateway: 0,
        stage: Stage::Fast,
    };
    match way {
        Ok(out) => {
            verdict.interface = out.interface;
            verdict.gateway = out.gateway;
            if out.gateway != 0 {
                verdict.action = Action::OutUnresolved;
                verdict.event = Event::ForwardedUnresolved;
            }
        }
        Err(Pass(event)) => {
            verdict.action = Action::Pass;
            verdict.event = event;
        }
        Err(Drop(event)) => {
            verdict.action = Action::Drop;
            verdict.event = event;
        }
        Err(Next(stage)) => {
            verdict.action = Action::Next;
            verdict.stage = stage;
            return verdict;
        }
    }
    if verdict.event != Event::Forwarded {
        env.count(verdict.event);
    }
    verdict
}
