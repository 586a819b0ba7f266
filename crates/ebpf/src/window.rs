//! The bounds check before each look at a packet, in a form that compiler and verifier both leave alone.

use lvsx_platform::{hide, is_constant};

/// Offsets beyond this are refused, so that the verifier sees a small number.
const FARTHEST: usize = 511;

/// `N` bytes at `offset` of a packet that lies from `data` to `end`. `None`: they do not lie in it, or too far.
///
/// A variable offset is hidden from the compiler. It would conclude from a check that one nearer to the start always
/// succeeds, and leave that out; the verifier keeps no range for a variable plus a constant and needs both. And it would
/// compare the offset once for all its uses; Linux 6.1's verifier has forgotten the comparison when the offset comes back
/// from the stack.
#[inline(always)]
pub(crate) fn window<const N: usize>(
    data: usize,
    end: usize,
    offset: usize,
) -> Option<*mut [u8; N]> {
    let is_constant = is_constant(offset as u64);
    let offset = if is_constant {
        offset
    } else {
        hide(offset as u64) as usize
    };
    if offset > FARTHEST {
        return None;
    }
    let start = if is_constant {
        data + offset
    } else {
        hide((data + offset) as u64) as usize
    };
    if start + N > end {
        return None;
    }
    Some(start as *mut [u8; N])
}
