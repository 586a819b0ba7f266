//! Changes that wait to be applied in one step: ordinary requests, sent in parts because a datagram has an end.
//!
//! A client chooses a number, sends its requests as the messages they would be one by one, cut anywhere
//! ([`Request::Stage`](crate::Request::Stage)), and asks for them to be applied ([`Request::Apply`](crate::Request::Apply)).
//! Each part says where it belongs, so a change of which something got lost is refused and never applied by halves.

use crate::errno::{Errno, Refused};
use std::collections::VecDeque;

/// Changes that wait at once; the oldest gives way to one more.
const CHANGES: usize = 4;
/// Bytes of one change: some 300,000 destinations.
pub const CHANGE_MAX: usize = 64 << 20;
/// Bytes of a part, below what an attribute holds.
pub const PART_MAX: usize = 60_000;

/// What waits.
#[derive(Debug, Default)]
pub struct Stage {
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl Stage {
    /// Takes the part of a change that begins at byte `at`; 0 begins it anew.
    ///
    /// # Errors
    /// `EAGAIN` the parts before it are not there: send all again; `EMSGSIZE` the change is longer than [`CHANGE_MAX`], and
    /// is forgotten.
    pub fn add(&mut self, change: u64, at: u32, part: &[u8]) -> Result<(), Refused> {
        if at == 0 {
            self.forget(change);
            if self.waiting.len() == CHANGES {
                self.waiting.pop_front();
            }
            self.waiting.push_back((change, Vec::new()));
        }
        let found = self.waiting.iter_mut().find(|(other, _)| *other == change);
        let (_, bytes) = found.ok_or_else(lost)?;
        if bytes.len() != at as usize {
            return Err(lost());
        }
        if bytes.len() + part.len() > CHANGE_MAX {
            self.forget(change);
            let why = format!(
                "the change is longer than {} MiB; make it in several",
                CHANGE_MAX >> 20
            );
            return Err(Refused::new(Errno::EMSGSIZE, why));
        }
        bytes.extend_from_slice(part);
        Ok(())
    }

    /// The bytes of a change, which waits no longer.
    ///
    /// # Errors
    /// `EAGAIN` it is not there, or not `length` bytes long.
    pub fn take(&mut self, change: u64, length: u32) -> Result<Vec<u8>, Refused> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let place = self.waiting.iter().position(|(other, _)| *other == change);
        let (_, bytes) = place
            .and_then(|place| self.waiting.remove(place))
            .ok_or_else(lost)?;
        if bytes.len() == length as usize {
            Ok(bytes)
        } else {
            Err(lost())
        }
    }

    fn forget(&mut self, change: u64) {
        self.waiting.retain(|(other, _)| *other != change);
    }
}

fn lost() -> Refused {
    let why = "parts of the change are not there: lvsd was started anew, or others made changes at the same time; try again";
    Refused::new(Errno::EAGAIN, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno<T>(result: Result<T, Refused>) -> Option<Errno> {
        result.err().map(|refused| refused.errno)
    }

    #[test]
    fn parts_come_together_in_their_order_or_not_at_all() {
        let mut stage = Stage::default();
        stage.add(7, 0, b"one ").unwrap();
        stage.add(8, 0, b"other").unwrap();
        stage.add(7, 4, b"two").unwrap();
        assert_eq!(errno(stage.add(7, 4, b"two")), Some(Errno::EAGAIN));
        assert_eq!(errno(stage.add(9, 3, b"two")), Some(Errno::EAGAIN));
        assert_eq!(stage.take(7, 7).unwrap(), b"one two");
        assert_eq!(errno(stage.take(7, 7)), Some(Errno::EAGAIN), "taken once");
        assert_eq!(
            errno(stage.take(8, 4)),
            Some(Errno::EAGAIN),
            "of another length"
        );
        assert_eq!(stage.take(10, 0).unwrap(), b"", "nothing needs no part");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stage = Stage::default();
        for change in 0..=CHANGES as u64 {
            stage.add(change, 0, b"x").unwrap();
        }
        assert_eq!(errno(stage.add(0, 1, b"y")), Some(Errno::EAGAIN));
        stage.add(1, 1, b"y").unwrap();
        let part = vec![0; CHANGE_MAX];
        assert_eq!(errno(stage.add(1, 2, &part)), Some(Errno::EMSGSIZE));
        assert_eq!(errno(stage.take(1, 2)), Some(Errno::EAGAIN));
    }
}
