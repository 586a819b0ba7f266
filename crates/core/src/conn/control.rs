//! The control word of an entry.

use crate::state::State;
use crate::tick::Tick;
use lvsx_platform::{bits, hide};

/// Where an entry is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody's.
    Free,
    /// An opener is writing it.
    Claimed,
    /// A connection.
    Live,
    /// A persistence template.
    Template,
}

/// A control word, by value.
///
/// ```text
/// 63..32 deadline (tick) | 31..16 tag | 15..8 generation | 7..4 state | 3 input-only | 2 active | 1..0 phase
/// ```
///
/// Of a template, the state is 0 or 1 (assured), `input-only` says that it is retired, and it is never active.
///
/// The generation moves at each claim. The tag is 16 bits of the key's hash. `active` says in which half of its
/// destination's counts the entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control(pub u64);

const PHASE: u64 = 3;
const CLAIMED: u64 = 1;
const LIVE: u64 = 2;
const TEMPLATE: u64 = 3;
const ACTIVE: u64 = 1 << 2;
const INPUT_ONLY: u64 = 1 << 3;
const STATE: u64 = 0xf << 4;
const GENERATION: u64 = 0xff << 8;
const TAG: u64 = 0xffff << 16;
const DEADLINE: u64 = 0xffff_ffff << 32;

impl Control {
    /// The bits in which a control word must equal [`Control::wanted`] to be worth a look at its entry.
    pub const LOOK: u64 = TAG | PHASE;

    /// Tag and phase of a connection with this tag.
    #[inline(always)]
    #[must_use]
    pub fn wanted(tag: u16) -> u64 {
        u64::from(tag) << 16 | LIVE
    }

    /// Where the entry is in its life.
    #[inline(always)]
    #[must_use]
    pub fn phase(self) -> Phase {
        match self.0 & PHASE {
            LIVE => Phase::Live,
            TEMPLATE => Phase::Template,
            CLAIMED => Phase::Claimed,
            _ => Phase::Free,
        }
    }

    /// Whether the entry is a connection (its time may be over).
    #[inline(always)]
    #[must_use]
    pub fn is_live(self) -> bool {
        self.0 & PHASE == LIVE
    }

    /// Whether the entry is a template (its time may be over).
    #[inline(always)]
    #[must_use]
    pub fn is_template(self) -> bool {
        self.0 & PHASE == TEMPLATE
    }

    /// Whether the entry is nobody's.
    #[inline(always)]
    #[must_use]
    pub fn is_free(self) -> bool {
        self.0 & PHASE == 0
    }

    /// The protocol state.
    #[inline(always)]
    #[must_use]
    pub fn state(self) -> State {
        State((self.0 >> 4) as u8 & 0xf)
    }

    /// Whether it counts as active.
    #[inline(always)]
    #[must_use]
    pub fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// Whether only packets from the client have been seen and are expected (`NOOUTPUT`).
    #[inline(always)]
    #[must_use]
    pub fn is_input_only(self) -> bool {
        self.0 & INPUT_ONLY != 0
    }

    /// The moment at which it ends.
    #[inline(always)]
    #[must_use]
    pub fn deadline(self) -> Tick {
        Tick((self.0 >> 32) as u32)
    }

    /// Whether its time is over.
    #[inline(always)]
    #[must_use]
    pub fn is_expired(self, now: Tick) -> bool {
        self.deadline().is_before(now)
    }

    /// 1 if the entry is nobody's. This and the next five without branches, for looks over a whole set.
    #[inline(always)]
    pub(super) fn free_bit(self) -> u64 {
        bits::is_zero(self.0 & PHASE)
    }

    /// 1 if the entry is a connection.
    #[inline(always)]
    pub(super) fn live_bit(self) -> u64 {
        bits::is_zero(self.0 & PHASE ^ LIVE)
    }

    /// 1 if it counts as active.
    #[inline(always)]
    pub(super) fn active_bit(self) -> u64 {
        hide(self.0 >> 2) & 1
    }

    /// 1 if the entry is a template.
    #[inline(always)]
    pub(super) fn template_bit(self) -> u64 {
        bits::is_zero(self.0 & PHASE ^ TEMPLATE)
    }

    /// 1 if its time is over.
    #[inline(always)]
    pub(super) fn expired_bit(self, now: Tick) -> u64 {
        hide((self.0 >> 32).wrapping_sub(u64::from(now.0))) >> 31 & 1
    }

    /// 1 if nobody has answered it yet.
    #[inline(always)]
    pub(super) fn embryonic_bit(self) -> u64 {
        hide(u64::from(State::EMBRYONIC) >> (self.0 >> 4 & 0xf)) & 1
    }

    /// Whether `other` is a word of the same life.
    #[inline(always)]
    #[must_use]
    pub fn is_same_life(self, other: Self) -> bool {
        (self.0 ^ other.0) & (GENERATION | PHASE) == 0
    }

    /// The generation.
    #[inline(always)]
    #[must_use]
    pub fn generation(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The word of a claim on this entry: next generation.
    #[inline(always)]
    #[must_use]
    pub fn claimed(self, now: Tick) -> Self {
        let generation = (self.0 + (1 << 8)) & GENERATION;
        Self(u64::from(now.0) << 32 | generation | CLAIMED)
    }

    /// The word of the free entry that this life leaves behind.
    #[inline(always)]
    #[must_use]
    pub fn freed(self) -> Self {
        Self(self.0 & GENERATION)
    }

    /// The word of the entry that this claim becomes: tag and phase as they are looked for, a connection's or a template's.
    #[inline(always)]
    #[must_use]
    pub fn published(self, look: u64, input_only: bool, state: State, deadline: Tick) -> Self {
        // Free of branches, as openers need it.
        Self(
            u64::from(deadline.0) << 32
                | look & Self::LOOK
                | self.0 & GENERATION
                | u64::from(state.0 & 0xf) << 4
                | hide(u64::from(input_only)) << 3
                | hide(state.active_bit()) << 2,
        )
    }

    /// The word after a packet.
    #[inline(always)]
    #[must_use]
    pub fn advanced(self, state: State, active: bool, deadline: Tick) -> Self {
        let active = if active { ACTIVE } else { 0 };
        Self(
            self.0 & !(DEADLINE | STATE | ACTIVE)
                | u64::from(deadline.0) << 32
                | u64::from(state.0 & 0xf) << 4
                | active,
        )
    }

    /// The word with another deadline.
    #[inline(always)]
    #[must_use]
    pub fn until(self, deadline: Tick) -> Self {
        Self(self.0 & !DEADLINE | u64::from(deadline.0) << 32)
    }

    /// Of a template: the word once a server has answered a connection that it controls.
    #[inline(always)]
    #[must_use]
    pub fn assured(self) -> Self {
        Self(self.0 | 1 << 4)
    }

    /// Of a template: whether a server has answered a connection that it controlled.
    #[inline(always)]
    #[must_use]
    pub fn is_assured(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// Of a template: the word once it shall not be found any more. Its tag is another, so that no look-up knows it.
    #[inline(always)]
    #[must_use]
    pub fn retired(self) -> Self {
        if self.is_retired() {
            return self;
        }
        Self((self.0 ^ TAG) | INPUT_ONLY)
    }

    /// Of a template: whether it is never to be found again.
    #[inline(always)]
    #[must_use]
    pub fn is_retired(self) -> bool {
        self.0 & INPUT_ONLY != 0
    }

    /// The word once a packet of the server has been seen.
    #[inline(always)]
    #[must_use]
    pub fn with_output(self) -> Self {
        Self(self.0 & !INPUT_ONLY)
    }
}
