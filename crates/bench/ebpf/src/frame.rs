//! A frame of which enough is there.

use aya_ebpf::programs::XdpContext;
use lvsx_platform::{load16, load32, store16, store32};

/// A frame's first byte; as many as were asked for follow it.
#[derive(Clone, Copy)]
pub(crate) struct Frame(usize);

impl Frame {
    /// The frame, if `length` bytes of it are there. All that is read and written must lie within them: the verifier knows.
    #[inline(always)]
    pub(crate) fn of(context: &XdpContext, length: usize) -> Option<Self> {
        let start = context.data();
        (start + length <= context.data_end()).then_some(Self(start))
    }

    #[inline(always)]
    pub(crate) fn half(self, at: usize) -> u16 {
        // SAFETY: the bytes are there, and nothing else has the frame.
        load16(unsafe { &*((self.0 + at) as *const [u8; 2]) })
    }

    #[inline(always)]
    pub(crate) fn word(self, at: usize) -> u32 {
        // SAFETY: as above.
        load32(unsafe { &*((self.0 + at) as *const [u8; 4]) })
    }

    #[inline(always)]
    pub(crate) fn put_half(self, at: usize, value: u16) {
        // SAFETY: as above.
        store16(unsafe { &mut *((self.0 + at) as *mut [u8; 2]) }, value);
    }

    #[inline(always)]
    pub(crate) fn put(self, at: usize, value: u32) {
        // SAFETY: as above.
        store32(unsafe { &mut *((self.0 + at) as *mut [u8; 4]) }, value);
    }
}
