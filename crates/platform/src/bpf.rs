//! BPF bodies: compiler intrinsics for atomics, inline assembly for unaligned access.
//!
//! The target has no unaligned loads of its own accord: LLVM would split each into single bytes, which costs code and
//! stack. The kernel allows unaligned packet access on the architectures that matter, so the instruction is written out.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, is_val_statically_known};

/// A shared 64-bit word.
#[repr(transparent)]
#[derive(Debug)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: every access below is one 8-byte load, store or atomic instruction, which BPF never tears.
unsafe impl Sync for Word {}

impl Word {
    /// The value; what was written before the store that put it there is visible afterwards.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        let value = self.peek();
        compiler_barrier();
        value
    }

    /// The value, ordered by nothing: for words that another word guards.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        // SAFETY: the cell is valid and aligned; volatile keeps the load one and in place.
        unsafe { self.0.get().read_volatile() }
    }

    /// Stores `value` after everything written before.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        compiler_barrier();
        self.poke(value);
    }

    /// Stores `value`, ordered by nothing: for words that another word guards.
    #[inline(always)]
    pub fn poke(&self, value: u64) {
        // SAFETY: the cell is valid and aligned; volatile keeps the store one and in place.
        unsafe { self.0.get().write_volatile(value) }
    }

    /// Begins to fetch the word's cache line for one who will write there, and waits for nothing. Byte `BYTE` of the word, by
    /// rising significance, must be 0 at all times.
    ///
    /// A store of that 0: a load would wait in the processor's window for its line and soon hold up what follows, a store waits
    /// behind it. BPF has no instruction that fetches a line ahead.
    #[inline(always)]
    pub fn touch<const BYTE: usize>(&self) {
        const { assert!(BYTE < 8) };
        // SAFETY: the byte lies in the cell; it holds what is stored, so no access of the whole word meets another value.
        unsafe { self.0.get().cast::<u8>().add(BYTE).write_volatile(0) }
    }

    /// Adds `value`, wrapping.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        // SAFETY: the cell is valid and aligned. The result is not used, so the relaxed form is compiled rightly.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(self.0.get(), value) };
    }

    /// Puts `new` in place of `old`. A full barrier.
    ///
    /// # Errors
    /// The value found, when it was not `old`; nothing is changed then.
    #[inline(always)]
    pub fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: the cell is valid and aligned.
        let (found, swapped) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                self.0.get(),
                old,
                new,
            )
        };
        if swapped { Ok(()) } else { Err(found) }
    }
}

#[inline(always)]
fn compiler_barrier() {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("", options(nostack)) }
}

/// Orders all earlier loads and stores before all later ones: each compare-and-swap already does so on BPF.
#[inline(always)]
pub fn fence() {
    compiler_barrier();
}

/// The same value, unknown to the compiler and so to the verifier's path explosion: keeps branch-free arithmetic
/// branch-free (BPF has no conditional move, LLVM would turn a select into a branch) and loops rolled.
#[inline(always)]
pub fn hide(value: u64) -> u64 {
    let hidden;
    // SAFETY: one register move.
    unsafe {
        asm!("{o} = {i}", o = lateout(reg) hidden, i = in(reg) value, options(pure, nomem, nostack))
    };
    hidden
}

/// Whether the compiler knows the value, so that code for the other case is left out.
#[inline(always)]
pub fn is_constant(value: u64) -> bool {
    is_val_statically_known(value)
}

macro_rules! unaligned {
    ($load:ident, $load_at:ident, $store:ident, $type:ty, $len:literal, $size:literal, $doc:literal) => {
        #[doc = concat!($doc, " bytes as they lie in memory.")]
        #[inline(always)]
        pub fn $load(bytes: &[u8; $len]) -> $type {
            let value: u64;
            // SAFETY: the reference covers the bytes that are read; the kernel allows unaligned access.
            unsafe {
                asm!(concat!("{o} = *(", $size, " *)({p} + 0)"), o = lateout(reg) value, p = in(reg) bytes.as_ptr(),
                     options(pure, readonly, nostack));
            }
            value as $type
        }

        #[doc = concat!($doc, " bytes as they lie in memory from `AT` on, in one instruction.")]
        #[inline(always)]
        pub fn $load_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> $type {
            const { assert!(AT + $len <= N) };
            let value: u64;
            // SAFETY: the reference covers the bytes that are read; the kernel allows unaligned access.
            unsafe {
                asm!(concat!("{o} = *(", $size, " *)({p} + {at})"), o = lateout(reg) value, p = in(reg) bytes.as_ptr(),
                     at = const AT, options(pure, readonly, nostack));
            }
            value as $type
        }

        #[doc = concat!("Stores ", $doc, " bytes as they lie in memory.")]
        #[inline(always)]
        pub fn $store(bytes: &mut [u8; $len], value: $type) {
            // SAFETY: the reference covers the bytes that are written; the kernel allows unaligned access.
            unsafe {
                asm!(concat!("*(", $size, " *)({p} + 0) = {v}"), p = in(reg) bytes.as_mut_ptr(), v = in(reg) u64::from(value),
                     options(nostack));
            }
        }
    };
}

unaligned!(load16, load16_at, store16, u16, 2, "u16", "two");
unaligned!(load32, load32_at, store32, u32, 4, "u32", "four");
unaligned!(load64, load64_at, store64, u64, 8, "u64", "eight");
