//! Netlink datagrams, as far as they must be told apart here. Pure; the numbers are those of `linux/netlink.h`,
//! `linux/genetlink.h` and of `lvsx_ipvs::consts`, which a test holds against these.

/// Type of messages to the generic-netlink controller.
const NLCTRL: u16 = 0x10;
/// Its command that asks for a family, and the attribute with the family's name.
const GETFAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const IPVS: &[u8] = b"IPVS\0";
/// The family id that lvsd answers; the kernel gives out ids up to 1023.
pub(crate) const FAMILY_ID: u16 = 0x4950;
/// lvsd's command for the text of a file, the attribute with its name or with a part of it.
const PROC: u8 = 0xf0;
const TEXT: u16 = 1;
/// Types of an error or acknowledgement, and of a dump's end.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags of a request: of every one, of one that wants an acknowledgement, of a dump.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;

/// Lengths of the netlink header, the generic header behind it, an attribute's header.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const ATTRIBUTE: usize = 4;
/// Longest name of a file that is asked for.
const NAME_MAX: usize = 32;
/// Longest request of our own.
pub(crate) const REQUEST_MAX: usize = HEADER + GENERIC + ATTRIBUTE + NAME_MAX;

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// Steps through what begins with a length: messages of a datagram, attributes of a message.
struct Pieces<'a> {
    left: &'a [u8],
    header: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = match self.header {
            HEADER => word(self.left, 0)? as usize,
            _ => usize::from(half(self.left, 0)?),
        };
        let piece = self
            .left
            .get(..length)
            .filter(|piece| piece.len() >= self.header)?;
        self.left = self
            .left
            .get(length.wrapping_add(3) & !3..)
            .unwrap_or_default();
        Some(piece)
    }
}

fn messages(datagram: &[u8]) -> Pieces<'_> {
    Pieces {
        left: datagram,
        header: HEADER,
    }
}

/// The payload of the first attribute of this type.
fn attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
    let left = message.get(HEADER + GENERIC..)?;
    Pieces {
        left,
        header: ATTRIBUTE,
    }
    .find(|piece| half(piece, 2).is_some_and(|found| found & 0x3fff == kind))?
    .get(ATTRIBUTE..)
}

/// Whether a datagram is for the family `IPVS`: the question for its id, or a request with lvsd's.
pub fn is_for_ipvs(datagram: &[u8]) -> bool {
    match half(datagram, 4) {
        Some(FAMILY_ID) => datagram.len() >= HEADER + GENERIC,
        Some(NLCTRL) => messages(datagram).next().is_some_and(|message| {
            message.get(HEADER) == Some(&GETFAMILY)
                && attribute(message, FAMILY_NAME).is_some_and(|name| name.starts_with(IPVS))
        }),
        _ => false,
    }
}

/// Whether an error, an acknowledgement or a dump's end will come last in the answer to a datagram.
pub fn has_an_end(datagram: &[u8]) -> bool {
    half(datagram, 6).is_some_and(|flags| flags & ACK != 0 || flags & DUMP == DUMP)
}

/// Whether a datagram of an answer has its end.
pub fn is_the_end(datagram: &[u8]) -> bool {
    messages(datagram).any(|message| matches!(half(message, 4), Some(ERROR | DONE)))
}

/// The request for the text of the file of this name, and its length. `None`: the name is too long.
pub(crate) fn ask_for_text(name: &[u8]) -> Option<([u8; REQUEST_MAX], usize)> {
    let mut bytes = [0; REQUEST_MAX];
    let attribute = ATTRIBUTE + name.len() + 1;
    let length = HEADER + GENERIC + attribute;
    let mut put = |at: usize, what: &[u8]| -> Option<()> {
        bytes
            .get_mut(at..)?
            .get_mut(..what.len())?
            .copy_from_slice(what);
        Some(())
    };
    if name.len() >= NAME_MAX {
        return None;
    }
    put(0, &(length as u32).to_ne_bytes())?;
    put(4, &FAMILY_ID.to_ne_bytes())?;
    put(6, &(REQUEST | ACK | DUMP).to_ne_bytes())?;
    put(8, &1u32.to_ne_bytes())?;
    put(HEADER, &[PROC, 1])?;
    put(HEADER + GENERIC, &(attribute as u16).to_ne_bytes())?;
    put(HEADER + GENERIC + 2, &TEXT.to_ne_bytes())?;
    put(HEADER + GENERIC + ATTRIBUTE, name)?;
    Some((bytes, length))
}

/// What a message of the answer to [`ask_for_text`] holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The next part of the text.
    Text(&'a [u8]),
    /// There is no more.
    End,
    /// The request is refused with this error.
    Refused(i32),
}

/// The parts in a datagram.
pub(crate) fn parts(datagram: &[u8]) -> impl Iterator<Item = Part<'_>> {
    messages(datagram).filter_map(|message| match half(message, 4)? {
        DONE => Some(Part::End),
        ERROR => match word(message, HEADER)?.cast_signed() {
            0 => Some(Part::End),
            error => Some(Part::Refused(error.wrapping_neg())),
        },
        FAMILY_ID => attribute(message, TEXT).map(Part::Text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvsx_ipvs::Request;
    use lvsx_ipvs::consts::{self, attr, cmd};
    use proptest::prelude::*;

    /// What a client sends.
    fn sent(request: &Request) -> Vec<u8> {
        request.encode(consts::FAMILY_ID, 1)
    }

    /// A question to the controller for the family of this name.
    fn lookup(name: &[u8]) -> Vec<u8> {
        let length = (HEADER + GENERIC + ATTRIBUTE + name.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(NLCTRL.to_ne_bytes());
        bytes.extend((REQUEST | ACK).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([GETFAMILY, 1, 0, 0]);
        bytes.extend(((ATTRIBUTE + name.len()) as u16).to_ne_bytes());
        bytes.extend(FAMILY_NAME.to_ne_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn numbers_are_those_of_the_director() {
        assert_eq!(
            (FAMILY_ID, PROC, TEXT, NLCTRL),
            (consts::FAMILY_ID, cmd::PROC, attr::TEXT, consts::NLCTRL)
        );
        assert_eq!(crate::lvsd::FIRST_PORT, lvsx_ipvs::transport::FIRST_PORT);
        let (bytes, length) = ask_for_text(b"ip_vs_conn").expect("short enough");
        let request = Request::ProcText("ip_vs_conn".into());
        let wanted = sent(&request);
        // What the codec fills up to four bytes need not be sent.
        assert_eq!(bytes[4..length], wanted[4..length]);
        assert_eq!(length.next_multiple_of(4), wanted.len());
        assert!(ask_for_text(&[b'a'; NAME_MAX]).is_none());
    }

    #[test]
    fn only_datagrams_for_ipvs_are_taken() {
        assert!(is_for_ipvs(&lookup(b"IPVS\0")));
        assert!(is_for_ipvs(&sent(&Request::Flush)));
        for other in [
            lookup(b"nl80211\0"),
            lookup(b"IPVS6\0"),
            lookup(b"IPVS"),
            lookup(b""),
        ] {
            assert!(!is_for_ipvs(&other), "{other:?}");
        }
        // Routes: RTM_GETADDR.
        let mut route = lookup(b"IPVS\0");
        route[4] = 22;
        assert!(!is_for_ipvs(&route));
        assert!(has_an_end(&sent(&Request::Services)) && has_an_end(&sent(&Request::Flush)));
    }

    #[test]
    fn texts_come_in_parts() {
        let request = sent(&Request::ProcText("ip_vs".into()));
        // A text's part has the form of its name in the request.
        assert_eq!(
            parts(&request).next(),
            Some(Part::Text(b"ip_vs\0".as_slice()))
        );
        let mut error = request;
        error[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        error[HEADER..HEADER + 4].copy_from_slice(&(-2i32).to_ne_bytes());
        assert_eq!(parts(&error).next(), Some(Part::Refused(2)));
        assert!(is_the_end(&error));
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_apart(bytes: Vec<u8>) {
            let _ = (is_for_ipvs(&bytes), has_an_end(&bytes), is_the_end(&bytes), parts(&bytes).count());
        }

        #[test]
        fn any_change_of_a_request_is_told_apart(at in 0usize..40, with: u8, cut in 0usize..40) {
            let mut bytes = lookup(b"IPVS\0");
            if let Some(byte) = bytes.get_mut(at) { *byte = with; }
            bytes.truncate(cut);
            let _ = (is_for_ipvs(&bytes), is_the_end(&bytes), parts(&bytes).count());
        }
    }
}
