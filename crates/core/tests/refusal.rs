//! ICMP errors that the director makes: compared with messages built by the book.

mod naive;

use lvsx_core::forward::refusal::{self, Refusal};
use lvsx_core::host::Frame;
use lvsx_core::packet::Packet;
use lvsx_core::wire::icmp::{Icmp, Quote4};
use lvsx_core::wire::{ETHERNET, Head4, Header4, Header6};
use naive::*;
use proptest::prelude::*;

fn header4<P: Packet>(packet: &P) -> Header4 {
    let head = Head4::of(packet).expect("a head");
    Header4::parse(&head, packet.len()).expect("well formed")
}

fn refuse<P: Packet>(packet: &mut P, refusal: Refusal, mtu: u32) -> Option<()> {
    if packet.bytes::<1>(ETHERNET).expect("a packet")[0] >> 4 == 4 {
        let header = header4(packet);
        refusal::refuse4(packet, &header, refusal, mtu, header.destination)
    } else {
        let header = Header6::read(packet).expect("well formed");
        refusal::refuse6(packet, &header, refusal, mtu, header.destination)
    }
}

/// The refusal of `quoted` by the book: to its source, from its destination. The identification is what was `found`.
fn expected(quoted: &[u8], kind: u8, code: u8, rest: u32, found: &[u8]) -> Vec<u8> {
    let is_ipv4 = quoted[0] >> 4 == 4;
    let (at, length, most) = if is_ipv4 { (12, 4, 548) } else { (8, 16, 1232) };
    let addresses = (
        quoted[at + length..at + 2 * length].to_vec(),
        quoted[at..at + length].to_vec(),
    );
    let message = message(
        &addresses,
        kind,
        code,
        rest,
        &quoted[..quoted.len().min(most)],
    );
    let id = u32::from_be_bytes([found[0], found[1], found[2], found[3]]) & 0xf_ffff;
    let ip = Ip {
        tos: if is_ipv4 { 0xc0 } else { 0 },
        id: if is_ipv4 {
            u32::from(u16::from_be_bytes([found[4], found[5]]))
        } else {
            id
        },
        ..Ip::new(&addresses, if is_ipv4 { ICMP } else { ICMP6 })
    };
    let mut bytes = [
        &SENDER_MAC[..],
        &DIRECTOR_MAC,
        if is_ipv4 { &[8, 0] } else { &[0x86, 0xdd] },
    ]
    .concat();
    bytes.extend(ip.around(&message));
    bytes
}

prop_compose! {
    /// A client's packet; padding behind it.
    fn packets()(
        is_ipv6 in any::<bool>(), mut source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), is_udp in any::<bool>(),
        ports in any::<(u16, u16)>(), payload in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 490..530), prop::collection::vec(any::<u8>(), 1150..1400)],
        ttl in 2u8.., id in any::<u16>(), df in any::<bool>()
    ) -> Vec<u8> {
        source[0] = source[0] % 100 + 1;
        let length = if is_ipv6 { 16 } else { 4 };
        let ends = (source[..length].to_vec(), destination[..length].to_vec());
        let protocol = if is_udp { UDP } else { TCP };
        let ip = Ip { ttl, id: u32::from(id), fragment: if df { 0x4000 } else { 0 }, ..Ip::new(&ends, protocol) };
        ip.around(&segment(&ends, protocol, ports, &payload))
    }
}

/// The same packet with its time to live lowered.
fn lowered(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        packet[10..12].fill(0);
        let checksum = !sum(&packet[..20]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        packet[7] -= 1;
    }
    packet
}

proptest! {
    #[test]
    fn a_refused_packet_becomes_the_error_of_the_book(
        packet in packets(), padding in 0usize..20, is_begun in any::<bool>(), mtu in 68u32..9000,
        refusal in prop_oneof![Just(Refusal::PortUnreachable), Just(Refusal::TooBig), Just(Refusal::TimeExceeded), Just(Refusal::NoConnection), Just(Refusal::ReassemblyTime)]
    ) {
        let is_ipv4 = packet[0] >> 4 == 4;
        let is_udp = open(&packet).1 == UDP;
        let (kind, code, rest) = match (refusal, is_ipv4) {
            (Refusal::PortUnreachable | Refusal::NoConnection, true) => (3, 3, 0),
            (Refusal::TooBig, true) => (3, 4, mtu),
            (Refusal::TimeExceeded, true) => (11, 0, 0),
            (Refusal::PortUnreachable | Refusal::NoConnection, false) => (1, 4, 0),
            (Refusal::TooBig, false) => (2, 0, mtu),
            (Refusal::TimeExceeded, false) => (3, 0, 0),
            (Refusal::ReassemblyTime, true) => (11, 1, 0),
            (Refusal::ReassemblyTime, false) => (3, 1, 0),
        };
        let quoted = if refusal == Refusal::TooBig { lowered(&packet) } else { packet.clone() };
        let bytes = if is_begun {
            let mut begun = Begun::new(&packet);
            refuse(&mut begun, refusal, mtu).expect("refused");
            begun.finish()
        } else {
            let mut whole = frame(&packet);
            whole.bytes.extend(vec![0xaa; padding]);
            refuse(&mut whole, refusal, mtu).expect("refused");
            whole.bytes
        };
        let mut found = bytes;
        assert_sound(&found[ETHERNET..]);
        let mut wanted = expected(&quoted, kind, code, rest, &found[ETHERNET..]);
        prop_assert_eq!(found.len(), wanted.len());
        let (outer, inner) = if is_ipv4 { (20, 20) } else { (40, 40) };
        let label = if is_ipv4 { 4 } else { 2 };
        prop_assert_ne!(&found[ETHERNET + label..ETHERNET + label + 2], [0, 0]);
        // Checksums that have two forms of zero, and that of a segment cut short, which hardware finished otherwise.
        let quote = ETHERNET + outer + 8;
        let mut blanks = vec![quote + inner + if is_udp { 6 } else { 16 }, ETHERNET + outer + 2];
        if is_ipv4 {
            blanks.extend([ETHERNET + 10, quote + 10]);
            prop_assert_eq!(sum(&found[quote..quote + 20]), 0xffff);
        }
        for at in blanks {
            found[at..at + 2].fill(0);
            wanted[at..at + 2].fill(0);
        }
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn sources_that_name_no_host_and_later_fragments_get_no_answer() {
    for (source, fragment, is_answered) in [
        ([10, 0, 0, 1], 0, true),
        ([10, 0, 0, 1], 0x2000, true),
        ([10, 0, 0, 1], 1, false),
        ([0, 0, 0, 0], 0, false),
        ([127, 0, 0, 1], 0, false),
        ([223, 0, 0, 1], 0, true),
        ([224, 0, 0, 1], 0, false),
        ([255, 255, 255, 255], 0, false),
    ] {
        let ends = (source.to_vec(), vec![10, 0, 0, 100]);
        let ip = Ip {
            fragment,
            ..Ip::new(&ends, UDP)
        };
        let mut packet = frame(&ip.around(&segment(&ends, UDP, (1, 2), &[])));
        let before = packet.clone();
        let done = refuse(&mut packet, Refusal::TooBig, 1400);
        assert_eq!(done.is_some(), is_answered, "{source:?}");
        assert_eq!(packet == before, !is_answered);
    }
    let host = |first: u8, last: u8| {
        let mut address = vec![0; 16];
        (address[0], address[15]) = (first, last);
        address
    };
    for (source, offset, is_answered) in [
        (host(0x20, 1), 0, true),
        (host(0x20, 1), 8, false),
        (host(0, 0), 0, false),
        (host(0, 1), 0, false),
        (host(0, 2), 0, true),
        (host(0xff, 2), 0, false),
    ] {
        let ends = (source, host(0xfd, 1));
        let ip = Ip {
            options: vec![UDP, 0, 0, offset, 0, 0, 0, 1],
            ..Ip::new(&ends, 44)
        };
        let mut packet = frame(&ip.around(&segment(&ends, UDP, (1, 2), &[])));
        let done = refuse(&mut packet, Refusal::PortUnreachable, 0);
        assert_eq!(done.is_some(), is_answered, "{ends:?}");
    }
}

#[test]
fn an_error_about_a_tunnel_packet_becomes_one_about_the_packet_inside() {
    let tunnel = (vec![10, 1, 0, 1], vec![10, 1, 0, 12]);
    let flow = (vec![172, 16, 0, 7], vec![10, 0, 0, 100]);
    for (payload, between, protocol) in [
        (0, vec![], 4),
        (20, vec![0, 0, 8, 0], 47),
        (700, vec![], 4),
        (
            20,
            [&[0x9c, 0x41, 0x17, 0xc0, 0, 0, 0, 0][..], &[0, 4, 0, 0]].concat(),
            17,
        ),
    ] {
        let inner =
            Ip::new(&flow, TCP).around(&segment(&flow, TCP, (40_000, 80), &vec![3; payload]));
        let quoted = Ip::new(&tunnel, protocol).around(&[&between[..], &inner].concat());
        let ends = (tunnel.1.clone(), tunnel.0.clone());
        let error = Ip::new(&ends, ICMP).around(&message(&ends, 3, 4, 1400, &quoted));
        let mut packet: Frame = frame(&error);
        packet.bytes.extend([0; 7]);
        let header = header4(&packet);
        let quote = Quote4::of_error(&packet, &header).expect("a quote");
        let inside = quote.inside(&packet, &header).expect("a packet inside");
        let message = Icmp {
            kind: 3,
            code: 4,
            rest: 1380,
        };
        refusal::convert4(&mut packet, &header, &inside, &message).expect("converted");
        assert_sound(&packet.bytes[ETHERNET..]);
        let wanted = expected(&inner, 3, 4, 1380, &packet.bytes[ETHERNET..]);
        assert_eq!(packet.bytes, wanted);
        assert_eq!(packet.bytes.len(), ETHERNET + 28 + inner.len().min(548));
    }
}
