//! Descriptors that the runtime waits for.

use crate::loader::Buffer;
use aya::maps::{MapData, RingBuf};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What owns one open descriptor for all its life, so that the runtime can wait for it.
pub(super) trait Owner: AsRawFd {}

impl Owner for OwnedFd {}
impl Owner for RingBuf<MapData> {}
impl Owner for Buffer {}

/// Has the runtime wait for `owner`'s descriptor.
///
/// # Errors
/// Those of `epoll_ctl`.
pub(super) fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: an owner keeps its one descriptor open as long as it lives, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest) }?)
}
