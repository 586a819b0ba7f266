//! Cutting packets into fragments, as the kernel does on the way out (Linux 6.1, `ip_fragment` and `ip6_fragment`).

use super::piece::{FRAGMENT, FRAGMENT_HEADER, header4, kind};
use super::reassembly::seal4;
use lvsx_core::director::Begun;
use lvsx_core::host::Frame;
use lvsx_core::packet::Packet;
use lvsx_core::wire::checksum::fold;
use lvsx_core::wire::{ETHERNET, FIXED6, Header6, IPV4, IPV6};

/// How long fragments may be; IP headers are included.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// What is no longer goes whole.
    most: usize,
    /// The longest fragment of IPv6.
    each: usize,
    /// IPv6: data of the fragments that the packet came in; those that leave are to be alike, as far as they are no longer
    /// than `each`.
    parts: &'a [u32],
}

impl<'a> Measure<'a> {
    /// For a way that takes packets of so many bytes.
    #[must_use]
    pub fn of(mtu: u32) -> Self {
        Self {
            most: mtu as usize,
            each: mtu as usize,
            parts: &[],
        }
    }

    /// For such a way, and a packet that came in fragments: length of the longest one, and lengths of their data. Those that
    /// leave are no longer; IPv6 with more headers may grow to 1280 bytes.
    #[must_use]
    pub fn like(mtu: u32, longest: u32, parts: &'a [u32]) -> Self {
        const LEAST6: u32 = 1280;
        Self {
            most: mtu.min(longest) as usize,
            each: mtu.min(longest.max(LEAST6)) as usize,
            parts,
        }
    }

    /// The same, but an IPv6 packet that came in one fragment goes in one, however short.
    #[must_use]
    pub fn never_whole(self) -> Self {
        Self {
            most: if self.parts.len() == 1 { 0 } else { self.most },
            ..self
        }
    }
}

/// The packet in fragments, or itself if it is short enough. DF stays as it is. `identification` names an IPv6 packet; an IPv4
/// one has its own. `None`: no IP packet, or no room for eight bytes of data.
#[must_use]
pub fn cut(frame: &Frame, measure: &Measure<'_>, identification: u32) -> Option<Vec<Frame>> {
    match kind(&frame.bytes)? {
        IPV4 => cut4(frame, measure.most),
        IPV6 => cut6(frame, measure, identification),
        _ => None,
    }
}

fn cut4(frame: &Frame, most: usize) -> Option<Vec<Frame>> {
    let header = header4(frame)?;
    let (data, end) = (header.transport, ETHERNET + usize::from(header.total));
    if usize::from(header.total) <= most {
        return Some(vec![without_padding(frame, end)]);
    }
    let length = data - ETHERNET;
    let step = most.checked_sub(length)? & !7;
    if step == 0 {
        return None;
    }
    let mut fragments = Vec::new();
    for begin in (data..end).step_by(step) {
        let to = end.min(begin + step);
        let mut bytes = frame.bytes.get(..data)?.to_vec();
        if begin != data {
            keep_copied_options(&mut bytes[ETHERNET + 20..]);
        }
        bytes.extend(frame.bytes.get(begin..to)?);
        let mut fragment = Frame {
            bytes,
            interface: frame.interface,
        };
        let total = u16::try_from(length + to - begin).ok()?;
        let offset = usize::from(header.fragment_offset) + begin - data;
        let more = to != end || header.more_fragments;
        let place = u16::try_from(offset / 8).ok()?
            | u16::from(more) << 13
            | u16::from(header.dont_fragment) << 14;
        let fixed = fragment.bytes_mut::<8>(ETHERNET)?;
        fixed[2..4].copy_from_slice(&total.to_be_bytes());
        fixed[6..8].copy_from_slice(&place.to_be_bytes());
        seal4(&mut fragment, length)?;
        fragments.push(fragment);
    }
    Some(fragments)
}

/// Makes nothing of the options that only a first fragment has (RFC 791 section 3.1: copied flag).
fn keep_copied_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        if kind == END {
            return;
        }
        let length = match options.get(at + 1) {
            _ if kind == NOTHING => 1,
            Some(length) if *length >= 2 => usize::from(*length),
            _ => return,
        };
        if kind & COPIED == 0
            && let Some(option) = options.get_mut(at..at + length)
        {
            option.fill(NOTHING);
        }
        at += length;
    }
}

fn cut6(frame: &Frame, measure: &Measure<'_>, identification: u32) -> Option<Vec<Frame>> {
    let header = Header6::read(frame).ok()?;
    let end = ETHERNET + header.total as usize;
    if header.total as usize <= measure.most {
        return Some(vec![without_padding(frame, end)]);
    }
    let (named_at, data) = unfragmentable(&frame.bytes)?;
    let length = data + FRAGMENT_HEADER - ETHERNET;
    let step = measure.each.checked_sub(length)? & !7;
    if step == 0 {
        return None;
    }
    let lengths = as_it_came(measure.parts, end.checked_sub(data)?, step).unwrap_or_else(|| {
        (data..end)
            .step_by(step)
            .map(|at| step.min(end - at))
            .collect()
    });
    let mut head = frame.bytes.get(..data)?.to_vec();
    let protocol = std::mem::replace(head.get_mut(named_at)?, FRAGMENT);
    let mut fragments = Vec::new();
    let mut begin = data;
    for held in lengths {
        let to = begin + held;
        let place = u16::try_from(begin - data).ok()? | u16::from(to != end);
        let payload = u16::try_from(length + to - begin - FIXED6).ok()?;
        let mut bytes = head.clone();
        bytes
            .get_mut(ETHERNET + 4..ETHERNET + 6)?
            .copy_from_slice(&payload.to_be_bytes());
        bytes.extend([protocol, 0]);
        bytes.extend(place.to_be_bytes());
        bytes.extend(identification.to_be_bytes());
        bytes.extend(frame.bytes.get(begin..to)?);
        fragments.push(Frame {
            bytes,
            interface: frame.interface,
        });
        begin = to;
    }
    Some(fragments)
}

/// The lengths of the parts that a packet came in, of which the first one grew or shrank with its headers so that all are
/// `whole` bytes. `None`: one is longer than `most`, or in the middle and no multiple of eight.
fn as_it_came(parts: &[u32], whole: usize, most: usize) -> Option<Vec<usize>> {
    let (_, later) = parts.split_first()?;
    let later: Vec<usize> = later.iter().map(|length| *length as usize).collect();
    let first = whole.checked_sub(later.iter().sum())?;
    let lengths = [&[first], &later[..]].concat();
    let (last, others) = lengths.split_last()?;
    let is_like_that = others
        .iter()
        .all(|it| *it > 0 && it % 8 == 0 && *it <= most);
    (is_like_that && *last <= most).then_some(lengths)
}

/// Where the number stands that names what follows the headers which each fragment has, and where that begins (RFC 8200
/// section 4.5): hop-by-hop options, and destination options and routing headers up to the last routing header.
fn unfragmentable(frame: &[u8]) -> Option<(usize, usize)> {
    let (mut named_at, mut at) = (ETHERNET + 6, ETHERNET + FIXED6);
    let mut last = (named_at, at);
    loop {
        let number = *frame.get(named_at)?;
        if !matches!(number, 0 | 43 | 60) {
            return Some(last);
        }
        let length = (usize::from(*frame.get(at + 1)?) + 1) * 8;
        (named_at, at) = (at, at + length);
        if number != 60 {
            last = (named_at, at);
        }
    }
}

fn without_padding(frame: &Frame, end: usize) -> Frame {
    let mut frame = frame.clone();
    frame.bytes.truncate(end);
    frame
}

/// Finishes a checksum that was left to hardware: the field holds the sum of the pseudo header.
#[must_use]
pub fn finish(frame: &mut Frame, begun: Begun) -> Option<()> {
    if begun.place == 0 {
        return Some(());
    }
    let (start, place) = (begun.start as usize, begun.place as usize);
    let length = u32::try_from(frame.bytes.len().checked_sub(start)?).ok()?;
    let sum = match !fold(u64::from(frame.sum(start, length)?)) {
        // UDP takes 0 for no checksum; to TCP both are the same.
        0 => 0xffff,
        sum => sum,
    };
    *frame.bytes_mut::<2>(place)? = sum.to_ne_bytes();
    Some(())
}
