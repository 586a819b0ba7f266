//! What a call on a socket says of memory: where the bytes are, and where the address. Of `sendmsg` and `recvmsg` it stands in a
//! header (`struct msghdr`) in the caller's memory, of the others in the arguments.

use nix::errno::Errno;

use super::caller::Caller;

/// Length of a netlink address (`struct sockaddr_nl`): family and padding, port, groups.
pub(super) const ADDRESS: usize = 12;
/// Longest datagram that is read or written here; netlink has none so long.
const DATAGRAM_MAX: usize = 1 << 20;
/// Most pieces of a message (`UIO_MAXIOV`).
const PIECES_MAX: u64 = 1024;

/// Offsets in `struct msghdr` of 64-bit Linux, and its length.
const NAME: usize = 0;
const NAME_LENGTH: usize = 8;
const PIECES: usize = 16;
const PIECE_COUNT: usize = 24;
const CONTROL_LENGTH: usize = 40;
const FLAGS: usize = 48;
const HEADER: usize = 56;
/// Length of `struct iovec`.
const PIECE: usize = 16;

/// Where a length or flags are told to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nowhere.
    No,
    /// The length of the address here.
    Length(u64),
    /// In the header here.
    Header(u64),
}

/// The memory of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Address and length of each piece.
    pieces: Vec<(u64, u64)>,
    /// Address of the other side's address, 0 for none, and how many bytes there are.
    name: u64,
    name_length: u32,
    told: Told,
}

impl Header {
    /// Of `write`, `read`, `sendto`: everything is in the arguments.
    pub(super) fn plain(at: u64, length: u64, name: u64, name_length: u64) -> Self {
        Self {
            pieces: vec![(at, length)],
            name,
            name_length: name_length as u32,
            told: Told::No,
        }
    }

    /// Of `recvfrom`: the length of the address is in memory.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn receiving(
        caller: &Caller,
        (at, length): (u64, u64),
        (name, name_length): (u64, u64),
    ) -> Result<Self, Errno> {
        let mut room = [0; 4];
        let mut header = Self::plain(at, length, name, 0);
        if name != 0 {
            caller.read(name_length, &mut room)?;
            header.name_length = u32::from_ne_bytes(room);
            header.told = Told::Length(name_length);
        }
        Ok(header)
    }

    /// Of `sendmsg` and `recvmsg`: it stands in memory, its pieces too.
    ///
    /// # Errors
    /// `EFAULT`; `EMSGSIZE`: it has too many pieces.
    pub(super) fn message(caller: &Caller, at: u64) -> Result<Self, Errno> {
        let mut header = [0; HEADER];
        caller.read(at, &mut header)?;
        let count = long(&header, PIECE_COUNT);
        if count > PIECES_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut pieces = vec![0; count as usize * PIECE];
        caller.read(long(&header, PIECES), &mut pieces)?;
        let pieces = pieces.chunks_exact(PIECE);
        Ok(Self {
            pieces: pieces
                .map(|piece| (long(piece, 0), long(piece, 8)))
                .collect(),
            name: long(&header, NAME),
            // Its other half is padding.
            name_length: word(&header, NAME_LENGTH),
            told: Told::Header(at),
        })
    }

    fn length(&self) -> usize {
        let lengths = self.pieces.iter().map(|(_, length)| *length as usize);
        lengths.fold(0, usize::saturating_add)
    }

    /// How many bytes of a datagram there is room for, as far as one can be long.
    pub(super) fn room(&self) -> usize {
        self.length().min(DATAGRAM_MAX)
    }

    /// The bytes that are to be sent.
    ///
    /// # Errors
    /// `EFAULT`; `EMSGSIZE`: they are too many.
    pub(super) fn bytes(&self, caller: &Caller) -> Result<Vec<u8>, Errno> {
        if self.length() > DATAGRAM_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut bytes = vec![0; self.length()];
        let mut rest = bytes.as_mut_slice();
        for (at, length) in &self.pieces {
            let (piece, behind) = rest.split_at_mut(*length as usize);
            caller.read(*at, piece)?;
            rest = behind;
        }
        Ok(bytes)
    }

    /// Whether it is sent to the kernel: to nobody named, or to port 0 and no group.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn is_for_the_kernel(&self, caller: &Caller) -> Result<bool, Errno> {
        let mut name = [0; ADDRESS];
        if self.name == 0 {
            return Ok(true);
        }
        if (self.name_length as usize) < ADDRESS {
            return Ok(false);
        }
        caller.read(self.name, &mut name)?;
        // What pads the family says nothing.
        let family = word(&name, 0).to_ne_bytes();
        let is_netlink = family.first_chunk() == address_of_the_kernel().first_chunk::<2>();
        Ok(is_netlink && word(&name, 4) == 0 && word(&name, 8) == 0)
    }

    /// Gives the caller what was received from the kernel, or so it looks; `flags` are those of the message.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn deliver(&self, caller: &Caller, bytes: &[u8], flags: i32) -> Result<(), Errno> {
        let mut rest = bytes;
        for (at, length) in &self.pieces {
            let (piece, behind) = rest.split_at(rest.len().min(*length as usize));
            caller.write(*at, piece)?;
            rest = behind;
        }
        let length = (ADDRESS as u32).to_ne_bytes();
        if self.name != 0 {
            let room = ADDRESS.min(self.name_length as usize);
            let name = address_of_the_kernel();
            caller.write(self.name, name.get(..room).unwrap_or_default())?;
        }
        match self.told {
            Told::No => Ok(()),
            Told::Length(at) => caller.write(at, &length),
            Told::Header(at) => {
                if self.name != 0 {
                    caller.write(at + NAME_LENGTH as u64, &length)?;
                }
                caller.write(at + CONTROL_LENGTH as u64, &[0; 8])?;
                caller.write(at + FLAGS as u64, &flags.to_ne_bytes())
            }
        }
    }
}

/// `{AF_NETLINK, port 0, no groups}`.
fn address_of_the_kernel() -> &'static [u8; ADDRESS] {
    const FAMILY: [u8; 2] = (libc::AF_NETLINK as u16).to_ne_bytes();
    &[FAMILY[0], FAMILY[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn offsets_are_those_of_the_c_library() {
        use libc::{iovec, msghdr};
        assert_eq!(
            [
                NAME,
                NAME_LENGTH,
                PIECES,
                PIECE_COUNT,
                CONTROL_LENGTH,
                FLAGS,
                HEADER,
                PIECE,
                ADDRESS
            ],
            [
                offset_of!(msghdr, msg_name),
                offset_of!(msghdr, msg_namelen),
                offset_of!(msghdr, msg_iov),
                offset_of!(msghdr, msg_iovlen),
                offset_of!(msghdr, msg_controllen),
                offset_of!(msghdr, msg_flags),
                size_of::<msghdr>(),
                size_of::<iovec>(),
                size_of::<libc::sockaddr_nl>(),
            ]
        );
    }

    /// This process is its own caller.
    fn own() -> Caller {
        Caller::reach(std::process::id()).expect("one's own memory")
    }

    #[test]
    fn a_datagram_in_pieces_is_read_and_written_where_it_lies() {
        let (mut first, mut second) = (*b"abc", *b"defg");
        let mut name = name_of(0);
        let mut pieces = [
            (first.as_mut_ptr() as u64, 3u64),
            (second.as_mut_ptr() as u64, 4u64),
        ];
        let mut header = [0u64; HEADER / 8];
        header[0] = (&raw mut name) as u64;
        header[1] = ADDRESS as u64;
        header[2] = pieces.as_mut_ptr() as u64;
        header[3] = 2;
        let caller = own();
        let read = Header::message(&caller, header.as_ptr() as u64).expect("it is there");
        assert_eq!(read.bytes(&caller).expect("there"), b"abcdefg");
        assert_eq!(read.is_for_the_kernel(&caller), Ok(true));
        name = name_of(7);
        assert_eq!(read.is_for_the_kernel(&caller), Ok(false));
        header[5] = 99;
        read.deliver(&caller, b"ABCDE", 0x20).expect("there");
        assert_eq!((&first, &second), (b"ABC", b"DEfg"));
        assert_eq!(name, name_of(0));
        assert_eq!((header[1], header[5], header[6]), (ADDRESS as u64, 0, 0x20));
    }

    /// A netlink address as words: the family, the port, the groups.
    fn name_of(port: u32) -> [u32; 3] {
        [libc::AF_NETLINK as u32, port, 0]
    }

    #[test]
    fn what_is_not_there_is_a_fault() {
        let caller = own();
        assert_eq!(Header::message(&caller, 16), Err(Errno::EFAULT));
        let nowhere = Header::plain(16, 4, 0, 0);
        assert_eq!(nowhere.bytes(&caller), Err(Errno::EFAULT));
        assert_eq!(nowhere.deliver(&caller, b"abcd", 0), Err(Errno::EFAULT));
        let endless = Header::plain(16, u64::MAX, 0, 0);
        assert_eq!(endless.bytes(&caller), Err(Errno::EMSGSIZE));
        assert_eq!(endless.room(), DATAGRAM_MAX);
    }
}
