//! What a packet's way ends in.

use crate::env::Env;
use crate::event::Event;

/// What becomes of a packet: one word, because BPF keeps few things in registers and many of its steps may end a packet.
///
/// ```text
/// 63..32 interface it leaves by, or what a fragment is counted as that nobody takes and from bit 40 on whether it is this host's | 24 whether that interface holds back | 23..16 stage that goes on with it | 15..8 event it was counted as | 7..0 action
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict(u64);

impl Verdict {
    /// It goes on as it came, counted as `event`.
    #[inline(always)]
    pub(super) const fn pass(event: Event) -> Self {
        Self(Action::Pass as u64 | (event as u64) << 8)
    }

    /// It ends here, counted as `event`.
    #[inline(always)]
    pub(super) const fn drop(event: Event) -> Self {
        Self(Action::Drop as u64 | (event as u64) << 8)
    }

    /// `stage` goes on with it.
    #[inline(always)]
    pub(super) const fn next(stage: Stage) -> Self {
        Self(Action::Next as u64 | (Event::Forwarded as u64) << 8 | (stage as u64) << 16)
    }

    /// It leaves by interface number `interface`, which in XDP holds back what is sent back by it, or not.
    #[inline(always)]
    pub(super) const fn out(interface: u32, holds_back: bool) -> Self {
        let holds_back = (holds_back as u64) << HOLDS_BACK;
        Self(
            Action::Out as u64
                | (Event::Forwarded as u64) << 8
                | holds_back
                | (interface as u64) << 32,
        )
    }

    /// Of [`Action::Out`]: whether the interface holds back frames that came in by it and are sent back, until others follow.
    #[inline(always)]
    #[must_use]
    pub const fn is_held_back(self) -> bool {
        self.0 >> HOLDS_BACK & 1 != 0
    }

    /// It leaves by interface number `interface` towards the next hop in [`super::gateway`], once the kernel knows that one's
    /// link-layer address; where the hook cannot wait for that (`resolves`), it is dropped and counted so.
    #[inline(always)]
    pub(super) const fn out_unresolved(interface: u32, resolves: bool) -> Self {
        let event = if resolves {
            Event::ForwardedUnresolved
        } else {
            Event::DropNoNeighbour
        };
        Self(Action::OutUnresolved as u64 | (event as u64) << 8 | (interface as u64) << 32)
    }

    /// The director puts its datagram together. Whether it goes on as it came where the director cannot, and whether a socket
    /// of this host sent it.
    #[inline(always)]
    pub(super) const fn raise(passes_else: bool, is_own: bool) -> Self {
        let event = if passes_else {
            Event::PassFragment
        } else {
            Event::DropFragment
        };
        let otherwise = (event as u64) << 32 | (is_own as u64) << OWN;
        Self(Action::Raise as u64 | (Event::Forwarded as u64) << 8 | otherwise)
    }

    /// Of [`Action::Raise`]: what it is counted as where the director cannot take it.
    #[inline(always)]
    #[must_use]
    pub const fn otherwise(self) -> Event {
        if self.interface() as u8 == Event::PassFragment as u8 {
            Event::PassFragment
        } else {
            Event::DropFragment
        }
    }

    /// Whether it is [`Action::Raise`] of what a socket of this host sent.
    #[inline(always)]
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.0 as u8 == Action::Raise as u8 && self.0 >> OWN & 1 != 0
    }

    /// The director fragments it, and it leaves by interface number `interface`.
    #[inline(always)]
    pub(super) const fn cut(interface: u32) -> Self {
        Self(Action::Cut as u64 | (Event::Forwarded as u64) << 8 | (interface as u64) << 32)
    }

    /// It goes to this host's own stack, as if a socket of its own had sent it.
    #[inline(always)]
    pub(super) const fn local() -> Self {
        Self(Action::Local as u64 | (Event::Forwarded as u64) << 8)
    }

    /// What to do.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Action {
        match self.0 as u8 {
            0 => Action::Pass,
            1 => Action::Drop,
            2 => Action::Out,
            3 => Action::OutUnresolved,
            5 => Action::Raise,
            6 => Action::Cut,
            7 => Action::Local,
            _ => Action::Next,
        }
    }

    /// Number of the event under which it was counted. Of [`Action::Out`], [`Action::Next`], [`Action::Raise`] and
    /// [`Action::Cut`], nothing was.
    #[inline(always)]
    const fn number(self) -> u32 {
        (self.0 >> 8) as u8 as u32
    }

    /// The event under which it was counted.
    #[must_use]
    pub fn event(self) -> Event {
        let event = Event::ALL.get(self.number() as usize);
        event.copied().unwrap_or(Event::DropInconsistent)
    }

    /// Index of the interface it leaves by; else 0.
    #[inline(always)]
    #[must_use]
    pub const fn interface(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The stage that goes on with it.
    #[inline(always)]
    #[must_use]
    pub const fn stage(self) -> Stage {
        match (self.0 >> 16) as u8 {
            1 => Stage::Open,
            2 => Stage::Overflow,
            3 => Stage::Bind,
            4 => Stage::Encapsulate,
            5 => Stage::Refuse,
            6 => Stage::Send,
            7 => Stage::Found,
            8 => Stage::Find6,
            9 => Stage::Open6,
            10 => Stage::Overflow6,
            11 => Stage::Bind6,
            12 => Stage::Encapsulate6,
            13 => Stage::Refuse6,
            14 => Stage::Send6,
            15 => Stage::Found6,
            16 => Stage::On,
            17 => Stage::On6,
            18 => Stage::Relate,
            19 => Stage::Relate6,
            20 => Stage::Convert,
            21 => Stage::Carry,
            22 => Stage::Carry6,
            23 => Stage::Template,
            24 => Stage::Template6,
            25 => Stage::Keep,
            26 => Stage::Keep6,
            27 => Stage::Join,
            28 => Stage::Join6,
            29 => Stage::Raise,
            30 => Stage::Raise6,
            31 => Stage::Cut,
            32 => Stage::Find,
            33 => Stage::Answer,
            34 => Stage::Answer6,
            35 => Stage::Local,
            36 => Stage::Local6,
            37 => Stage::Tell,
            38 => Stage::Tell6,
            39 => Stage::Elsewhere6,
            40 => Stage::Syn,
            _ => Stage::Fast,
        }
    }
}

/// Bit of the verdict of a packet that leaves: its interface holds back what is sent back.
const HOLDS_BACK: u32 = 24;

/// Bit of a fragment's verdict: a socket of this host sent it.
const OWN: u32 = 40;

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} as {}", self.action(), self.event().name())?;
        match self.action() {
            Action::Next => write!(f, " in {:?}", self.stage()),
            Action::Out | Action::OutUnresolved | Action::Cut => {
                write!(f, " by {}", self.interface())
            }
            Action::Pass | Action::Drop | Action::Raise | Action::Local => Ok(()),
        }
    }
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// It goes on as it came.
    Pass = 0,
    /// It ends here.
    Drop = 1,
    /// It leaves by an interface, its link-layer header written.
    Out = 2,
    /// It leaves by an interface, and the kernel finds the link-layer address of the next hop that [`super::gateway`]
    /// tells. Only where the hook can; elsewhere it ends here and the director is told.
    OutUnresolved = 3,
    /// Another stage goes on with it.
    Next = 4,
    /// It is a fragment: the director takes it as it is and puts the datagram together. Where the director cannot, it ends
    /// here or goes on as it came, as [`Verdict::otherwise`] says.
    Raise = 5,
    /// It is as it is to leave by an interface, its link-layer header written, but too long: the director fragments and sends
    /// it, or it ends here where the director cannot.
    Cut = 6,
    /// It goes to this host's own stack past the check of its source, which is an address of this host: the reply to a
    /// request that the director itself sent to one of its virtual addresses.
    Local = 7,
}

/// A stage, by its place in the array of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// [`super::fast`]: the first.
    Fast = 0,
    /// [`super::open`].
    Open = 1,
    /// [`super::overflow`].
    Overflow = 2,
    /// [`super::bind`].
    Bind = 3,
    /// [`super::encapsulate`].
    Encapsulate = 4,
    /// [`super::refuse`].
    Refuse = 5,
    /// [`super::send`].
    Send = 6,
    /// [`super::found`].
    Found = 7,
    /// [`super::find6`].
    Find6 = 8,
    /// [`super::open6`].
    Open6 = 9,
    /// [`super::overflow6`].
    Overflow6 = 10,
    /// [`super::bind6`].
    Bind6 = 11,
    /// [`super::encapsulate6`].
    Encapsulate6 = 12,
    /// [`super::refuse6`].
    Refuse6 = 13,
    /// [`super::send6`].
    Send6 = 14,
    /// [`super::found6`].
    Found6 = 15,
    /// [`super::on`].
    On = 16,
    /// [`super::on6`].
    On6 = 17,
    /// [`super::relate`].
    Relate = 18,
    /// [`super::relate6`].
    Relate6 = 19,
    /// [`super::convert`].
    Convert = 20,
    /// [`super::carry`].
    Carry = 21,
    /// [`super::carry6`].
    Carry6 = 22,
    /// [`super::template`].
    Template = 23,
    /// [`super::template6`].
    Template6 = 24,
    /// [`super::keep`].
    Keep = 25,
    /// [`super::keep6`].
    Keep6 = 26,
    /// [`super::join`].
    Join = 27,
    /// [`super::join6`].
    Join6 = 28,
    /// [`super::raise`].
    Raise = 29,
    /// [`super::raise6`].
    Raise6 = 30,
    /// [`super::cut`].
    Cut = 31,
    /// [`super::find`]: also again for a packet whose connection another CPU opened meanwhile.
    Find = 32,
    /// [`super::answer`].
    Answer = 33,
    /// [`super::answer6`].
    Answer6 = 34,
    /// [`super::local`].
    Local = 35,
    /// [`super::local6`].
    Local6 = 36,
    /// [`super::tell`].
    Tell = 37,
    /// [`super::tell6`].
    Tell6 = 38,
    /// [`super::elsewhere6`].
    Elsewhere6 = 39,
    /// [`super::syn`].
    Syn = 40,
}

/// Stages a packet may go through before it is given up: what the kernel allows (33 tail calls).
pub const MOST_STAGES: u32 = 33;

/// The one place that counts what became of a packet. A packet sent on was counted in its destination's tally.
#[inline(always)]
pub(super) fn conclude<E: Env>(env: &E, way: Result<Verdict, Verdict>) -> Verdict {
    let (Ok(verdict) | Err(verdict)) = way;
    if verdict.number() != Event::Forwarded as u32 {
        env.count_number(verdict.number());
    }
    verdict
}
