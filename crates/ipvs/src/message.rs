//! Netlink messages: the header, stepping through a datagram, building.

use crate::attr::Attributes;
use crate::attr::Writer;
use crate::consts::{FAMILY_VERSION, control, flag, refusal as at};
use crate::errno::{Errno, Refused};

/// Length of the netlink header.
pub(crate) const HEADER: usize = 16;
/// Length of the generic-netlink header behind it.
pub(crate) const GENERIC: usize = 4;

/// The header of a netlink message, without the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) header: Header,
    /// The message with its header, as errors quote it.
    pub(crate) whole: &'a [u8],
}

impl<'a> Message<'a> {
    /// What follows the netlink header.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }

    /// The generic command and the attributes behind it; `None` where the message is too short.
    pub(crate) fn generic(&self) -> Option<(u8, &'a [u8])> {
        let attributes = self.payload().get(GENERIC..)?;
        Some((self.payload()[0], attributes))
    }
}

/// Steps through the messages of a datagram; a broken length ends it.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let head: &[u8; HEADER] = self.0.first_chunk()?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let length = word(0) as usize;
        let whole = self.0.get(..length).filter(|whole| whole.len() >= HEADER)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        let header = Header {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
            port: word(12),
        };
        Some(Message { header, whole })
    }
}

/// A netlink message with `body` behind the header.
fn framed(header: Header, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed_behind(&mut bytes, header, body);
    bytes
}

/// The same behind what `bytes` hold already, of whole words.
fn framed_behind(bytes: &mut Vec<u8>, header: Header, body: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&header.kind.to_ne_bytes());
    bytes.extend_from_slice(&header.flags.to_ne_bytes());
    bytes.extend_from_slice(&header.sequence.to_ne_bytes());
    bytes.extend_from_slice(&header.port.to_ne_bytes());
    body(bytes);
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// A generic-netlink message whose attributes `fill` writes.
pub(crate) fn generic(header: Header, command: u8, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    generic_behind(&mut bytes, header, command, fill);
    bytes
}

/// The same behind what `bytes` hold already, of whole words.
pub(crate) fn generic_behind(
    bytes: &mut Vec<u8>,
    header: Header,
    command: u8,
    fill: impl FnOnce(&mut Writer<'_>),
) {
    framed_behind(bytes, header, |bytes| {
        bytes.extend_from_slice(&[command, FAMILY_VERSION, 0, 0]);
        fill(&mut Writer(bytes));
    });
}

/// The acknowledgement of a request: error 0 and the request's header only, 36 bytes.
pub(crate) fn acknowledgement(request: &Message<'_>) -> Vec<u8> {
    let header = Header {
        kind: control::ERROR,
        flags: flag::CAPPED,
        ..request.header
    };
    framed(header, |bytes| {
        bytes.extend_from_slice(&0i32.to_ne_bytes());
        bytes.extend_from_slice(&request.whole[..HEADER]);
    })
}

/// The answer to a request that failed: the negated number and the whole request.
pub(crate) fn error(request: &Message<'_>, errno: Errno) -> Vec<u8> {
    let header = Header {
        kind: control::ERROR,
        flags: 0,
        ..request.header
    };
    framed(header, |bytes| {
        bytes.extend_from_slice(&errno.number().wrapping_neg().to_ne_bytes());
        bytes.extend_from_slice(request.whole);
    })
}

/// The answer to a private request that failed: the negated number, the request's header, the reason
/// (as `NETLINK_EXT_ACK` has it).
pub(crate) fn refusal(request: &Message<'_>, refused: &Refused) -> Vec<u8> {
    let header = Header {
        kind: control::ERROR,
        flags: flag::CAPPED | flag::EXPLAINED,
        ..request.header
    };
    framed(header, |bytes| {
        bytes.extend_from_slice(&refused.errno.number().wrapping_neg().to_ne_bytes());
        bytes.extend_from_slice(&request.whole[..HEADER]);
        Writer(bytes).text(at::MESSAGE, &refused.why);
    })
}

/// The reason that an error of [`refusal`]'s form gives.
pub(crate) fn reason(message: &Message<'_>) -> Option<String> {
    let form = flag::CAPPED | flag::EXPLAINED;
    if message.header.flags & form != form {
        return None;
    }
    let attributes = message.payload().get(size_of::<i32>() + HEADER..)?;
    let (_, text) = Attributes(attributes).find(|(kind, _)| *kind == at::MESSAGE)?;
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The error that a message of type `NLMSG_ERROR` or `NLMSG_DONE` tells; `None` for success.
pub(crate) fn error_number(message: &Message<'_>) -> Option<Errno> {
    let number = i32::from_ne_bytes(*message.payload().first_chunk()?);
    (number < 0).then(|| Errno::new(number.wrapping_neg()))
}

/// The end of a dump, 20 bytes.
pub(crate) fn done(request: &Message<'_>) -> Vec<u8> {
    let header = Header {
        kind: control::DONE,
        flags: flag::MULTI,
        ..request.header
    };
    framed(header, |bytes| bytes.extend_from_slice(&0i32.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_stepped_through(bytes: Vec<u8>) {
            for message in Messages(&bytes) {
                let _ = message.generic();
            }
        }

        #[test]
        fn truncation_loses_only_the_last_message(cut in 0usize..40) {
            let header = Header { kind: 0x4950, flags: 1, sequence: 3, port: 9 };
            let one = generic(header, 15, |_| {});
            let both = [one.clone(), one].concat();
            let seen = Messages(&both[..both.len() - cut]).count();
            prop_assert_eq!(seen, (40 - cut) / 20);
        }
    }
}
