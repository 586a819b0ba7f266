//! Arrays of shared words: BPF array maps and files by `mmap`, or plain memory in tests. The only place with pointers.
//!
//! Everything behind a [`Shared`] is made of [`Word`]s, which are read and written whole and by everybody at once; so
//! handing out shared references to memory that programs and other processes change is what the type is for.

use lvsx_core::conn::{Entry4, Entry6, Set, no_entry4, no_entry6};
use lvsx_platform::{Line, Word};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// What arrays of shared words are made of: types that consist of [`Word`]s and nothing else.
///
/// # Safety
/// Every bit pattern must be valid, there must be no padding and no pointer, and all access through a shared
/// reference must be atomic.
pub unsafe trait Words: 'static {
    /// An element of zeros.
    fn zero() -> Self;
}

// SAFETY: eight atomic words.
unsafe impl Words for Line {
    fn zero() -> Self {
        std::array::from_fn(|_| Word::new(0))
    }
}

// SAFETY: `repr(C)`, eight control words and seven entries of eight words.
unsafe impl Words for Set<Entry4> {
    fn zero() -> Self {
        no_entry4()
    }
}

// SAFETY: `repr(C)`, eight control words and seven entries of sixteen words.
unsafe impl Words for Set<Entry6> {
    fn zero() -> Self {
        no_entry6()
    }
}

/// An array of shared words.
pub enum Shared<T: Words> {
    /// Memory that others map as well.
    Mapped(Mapping<T>),
    /// Memory of this process alone.
    Plain(Box<[T]>),
}

impl<T: Words> Shared<T> {
    /// `count` elements of zeros in plain memory.
    #[must_use]
    pub fn plain(count: u32) -> Self {
        Self::Plain((0..count).map(|_| T::zero()).collect())
    }

    /// The first `count` elements of the array map or file that `fd` stands for.
    ///
    /// # Errors
    /// Those of `mmap`: a map that was not created mappable (`EPERM`), or is shorter (`EINVAL`).
    pub fn map(fd: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        Mapping::new(fd, count as usize).map(Self::Mapped)
    }

    /// Writes zeros everywhere, word by word.
    pub fn clear(&self) {
        let count = size_of_val(&**self) / size_of::<Word>();
        // SAFETY: `T: Words` consists of words and nothing else, which end where the elements end.
        let words = unsafe { std::slice::from_raw_parts(self.as_ptr().cast::<Word>(), count) };
        words.iter().for_each(|word| word.store(0));
    }
}

impl<T: Words> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Plain(elements) => elements,
        }
    }
}

/// A shared, writable mapping.
pub struct Mapping<T: Words> {
    start: NonNull<T>,
    count: usize,
}

impl<T: Words> Mapping<T> {
    fn new(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let length = Self::length(count);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the place, so nothing mapped before is touched; it refuses a length beyond the map.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }

    /// Bytes mapped; never 0, which `mmap` refuses.
    fn length(count: usize) -> usize {
        (count * size_of::<T>()).max(1)
    }
}

impl<T: Words> Deref for Mapping<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` is page-aligned and maps `count` elements until this is dropped; `T: Words` makes any content
        // valid and any concurrent change atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T: Words> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the same range was mapped in `new`, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), Self::length(self.count)) };
    }
}

// SAFETY: the mapping belongs to nobody's thread, and its elements are atomic words.
unsafe impl<T: Words> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Words> Sync for Mapping<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn two_mappings_of_a_file_are_one_memory() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("lvsx-mapping-{}", std::process::id()));
        let file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        file.set_len(3 * 64)?;
        let one: Shared<Line> = Shared::map(file.as_fd(), 3)?;
        let other: Shared<Line> = Shared::map(file.as_fd(), 3)?;
        one[2][7].store(42);
        assert_eq!(other[2][7].load(), 42);
        assert_eq!(one.len(), 3);
        one.clear();
        assert_eq!(other[2][7].load(), 0);
        Ok(())
    }
}
