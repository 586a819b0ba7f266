//! The only unsafe code that the data plane's core needs: a shared 64-bit word and unaligned big-endian-agnostic loads
//! and stores, each with two bodies, one for BPF and one for the host.
//!
//! Everything that packets share lives in arrays of [`Word`]s: BPF array maps seen by programs, the same maps seen by
//! the director through `mmap`, and plain vectors in tests. A word is never torn, and every decision is one
//! compare-and-swap of a word.
//!
//! Ordering on BPF (measured on x86-64, Linux 6.1 and 6.18): a compare-and-swap is a full barrier; plain loads and stores
//! need only a compiler barrier there. A relaxed fetching add whose result is used is miscompiled to a non-fetching one
//! by LLVM 22, so [`Word::add`] returns nothing and whoever needs the sum uses [`Word::compare_exchange`].
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    allow(
        internal_features,
        reason = "atomics of the BPF target are reachable only as intrinsics"
    )
)]

#[cfg(target_arch = "bpf")]
#[path = "bpf.rs"]
mod body;
#[cfg(not(target_arch = "bpf"))]
#[path = "host.rs"]
mod body;

pub use body::{
    Word, fence, hide, is_constant, load16, load16_at, load32, load32_at, load64, load64_at,
    store16, store32, store64,
};

/// Arithmetic without branches: conditions as 0 or 1, hidden from the compiler so that it makes no branch of them. For code
/// where the verifier would walk every combination of outcomes.
pub mod bits {
    use super::hide;

    /// 1 if `x` is 0. `x` is below 2^63.
    #[inline(always)]
    #[must_use]
    pub fn is_zero(x: u64) -> u64 {
        hide(x.wrapping_sub(1)) >> 63
    }

    /// 1 if `a < b`. Both are below 2^63.
    #[inline(always)]
    #[must_use]
    pub fn less(a: u64, b: u64) -> u64 {
        hide(a.wrapping_sub(b)) >> 63
    }

    /// `a` if the bit is 1, `b` if it is 0.
    #[inline(always)]
    #[must_use]
    pub fn pick(bit: u64, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b).wrapping_mul(hide(bit)).wrapping_add(b)
    }
}

/// Words that fill one cache line of 64 bytes.
pub type Line = [Word; 8];
