//! Host bodies: the standard library's atomics (or shuttle's, which tries interleavings) and safe byte copies.

#[cfg(not(shuttle))]
use core::sync::atomic::{AtomicU64, Ordering, fence as atomic_fence};
#[cfg(shuttle)]
use shuttle::sync::atomic::{AtomicU64, Ordering, fence as atomic_fence};

/// A shared 64-bit word.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

impl Word {
    /// A word that holds `value`.
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// The value; what was written before the store that put it there is visible afterwards.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The value, ordered by nothing: for words that another word guards.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Stores `value` after everything written before.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// Stores `value`, ordered by nothing: for words that another word guards.
    #[inline(always)]
    pub fn poke(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Begins to fetch the word's cache line for one who will write there; nothing on this side, where no speed is asked for.
    /// Byte `BYTE` of the word, by rising significance, must be 0 at all times.
    #[inline(always)]
    pub fn touch<const BYTE: usize>(&self) {
        const { assert!(BYTE < 8) };
        debug_assert_eq!(self.peek() >> (8 * BYTE) & 0xff, 0);
    }

    /// Adds `value`, wrapping.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// Puts `new` in place of `old`. A full barrier.
    ///
    /// # Errors
    /// The value found, when it was not `old`; nothing is changed then.
    #[inline(always)]
    pub fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
    }
}

/// Orders all earlier loads and stores before all later ones.
#[inline(always)]
pub fn fence() {
    atomic_fence(Ordering::SeqCst);
}

/// The same value, unknown to the compiler; matters on BPF only.
#[inline(always)]
pub fn hide(value: u64) -> u64 {
    value
}

/// Whether the compiler knows the value; matters on BPF only.
#[inline(always)]
pub fn is_constant(_value: u64) -> bool {
    false
}

/// Two bytes as they lie in memory.
#[inline(always)]
pub fn load16(bytes: &[u8; 2]) -> u16 {
    u16::from_ne_bytes(*bytes)
}

/// Four bytes as they lie in memory.
#[inline(always)]
pub fn load32(bytes: &[u8; 4]) -> u32 {
    u32::from_ne_bytes(*bytes)
}

/// Eight bytes as they lie in memory.
#[inline(always)]
pub fn load64(bytes: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*bytes)
}

macro_rules! load_at {
    ($load_at:ident, $type:ty, $len:literal, $doc:literal) => {
        #[doc = concat!($doc, " bytes as they lie in memory from `AT` on.")]
        #[inline(always)]
        pub fn $load_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> $type {
            const { assert!(AT + $len <= N) };
            let mut value = [0; $len];
            value.copy_from_slice(&bytes[AT..AT + $len]);
            <$type>::from_ne_bytes(value)
        }
    };
}

load_at!(load16_at, u16, 2, "Two");
load_at!(load32_at, u32, 4, "Four");
load_at!(load64_at, u64, 8, "Eight");

/// Stores two bytes as they lie in memory.
#[inline(always)]
pub fn store16(bytes: &mut [u8; 2], value: u16) {
    *bytes = value.to_ne_bytes();
}

/// Stores four bytes as they lie in memory.
#[inline(always)]
pub fn store32(bytes: &mut [u8; 4], value: u32) {
    *bytes = value.to_ne_bytes();
}

/// Stores eight bytes as they lie in memory.
#[inline(always)]
pub fn store64(bytes: &mut [u8; 8], value: u64) {
    *bytes = value.to_ne_bytes();
}
