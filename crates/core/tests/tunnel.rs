//! Tunnels: every kind round both families in both families, compared with headers built by the book.

mod naive;

use lvsx_core::forward::tunnel::{self, Inner, Kind, Tunnel};
use lvsx_core::host::Frame;
use lvsx_core::packet::Packet;
use lvsx_core::wire::{ETHERNET, Head4, Header4, Header6, Ports};
use naive::*;
use proptest::prelude::*;

/// Reads an IPv4 or IPv6 packet as the pipeline does.
fn inner<P: Packet>(packet: &P, heeds_df: bool) -> Inner {
    if packet.bytes::<1>(ETHERNET).expect("a packet")[0] >> 4 == 4 {
        let head = Head4::of(packet).expect("a head");
        let header = Header4::parse(&head, packet.len()).expect("well formed");
        let ports = Ports::read(packet, header.protocol, header.transport, header.payload());
        Inner::of4(&header, &ports.expect("ports"), heeds_df)
    } else {
        let header = Header6::read(packet).expect("well formed");
        let ports = Ports::read(packet, header.protocol, header.transport, header.payload());
        Inner::of6(packet, &header, &ports.expect("ports"))
    }
}

fn wrap<P: Packet>(packet: &mut P, heeds_df: bool, tunnel: &Tunnel, outside: &Addresses) {
    let inner = inner(packet, heeds_df);
    let done = if outside.0.len() == 4 {
        tunnel::wrap4(packet, &inner, tunnel, raw4(&outside.0), raw4(&outside.1))
    } else {
        tunnel::wrap6(packet, &inner, tunnel, raw6(&outside.0), raw6(&outside.1))
    };
    assert_eq!(done, Ok(()));
}

/// The tunnel packet by the book; identification and source port are taken from what was `found`.
fn expected(
    inside: &[u8],
    kind: Kind,
    port: u16,
    outside: &Addresses,
    with: &Ip,
    found: &[u8],
) -> Vec<u8> {
    let is_ipv6 = inside[0] >> 4 == 6;
    let inside_protocol = if is_ipv6 { 41 } else { 4 };
    let at = if outside.0.len() == 4 { 20 } else { 40 };
    let (protocol, payload) = match kind {
        Kind::Ipip => (inside_protocol, inside.to_vec()),
        Kind::Gue => {
            let mut udp = found[at..at + 2].to_vec();
            udp.extend(port.to_be_bytes());
            udp.extend(((inside.len() + 12) as u16).to_be_bytes());
            udp.extend(&found[at + 6..at + 8]);
            udp.extend([0, inside_protocol, 0, 0]);
            (17, [&udp[..], inside].concat())
        }
        Kind::Gre => {
            let ether = if is_ipv6 { [0x86, 0xdd] } else { [8, 0] };
            let flags = &found[at..at + 2];
            let mut gre = [flags, &ether].concat();
            if flags[0] & 0x80 != 0 {
                gre.extend(&found[at + 4..at + 6]);
                gre.extend([0, 0]);
            }
            (47, [&gre[..], inside].concat())
        }
    };
    let header = Ip {
        addresses: outside.clone(),
        protocol,
        ..with.clone()
    };
    header.around(&payload)
}

prop_compose! {
    fn addresses()(is_ipv6 in any::<bool>(), source in any::<[u8; 16]>(), destination in any::<[u8; 16]>()) -> Addresses {
        let length = if is_ipv6 { 16 } else { 4 };
        (source[..length].to_vec(), destination[..length].to_vec())
    }
}

proptest! {
    #[test]
    fn a_packet_is_carried_whole_under_headers_by_the_book(
        inside in addresses(), outside in addresses(), kind in prop_oneof![Just(Kind::Ipip), Just(Kind::Gue), Just(Kind::Gre)],
        has_checksum in any::<bool>(), port in any::<u16>(), is_udp in any::<bool>(), ports in any::<(u16, u16)>(),
        payload in prop::collection::vec(any::<u8>(), 0..1300), tos in any::<u8>(), ttl in 2u8.., id in any::<u16>(),
        df in any::<bool>(), heeds_df in any::<bool>(), is_begun in any::<bool>()
    ) {
        let protocol = if is_udp { UDP } else { TCP };
        let is_ipv4 = inside.0.len() == 4;
        let ip = Ip {
            tos,
            ttl,
            id: u32::from(id),
            fragment: if df { 0x4000 } else { 0 },
            ..Ip::new(&inside, protocol)
        };
        let packet = ip.around(&segment(&inside, protocol, ports, &payload));
        let lowered = Ip { ttl: ttl - 1, ..ip }.around(&segment(&inside, protocol, ports, &payload));
        let tunnel = Tunnel { kind, has_checksum, port: port.to_be() };
        let bytes = if is_begun {
            let mut begun = Begun::new(&packet);
            wrap(&mut begun, heeds_df, &tunnel, &outside);
            begun.finish()
        } else {
            let mut whole = frame(&packet);
            wrap(&mut whole, heeds_df, &tunnel, &outside);
            whole.bytes
        };
        let found = &bytes[ETHERNET..];
        prop_assert_eq!(&bytes[..12], &frame(&packet).bytes[..12]);
        prop_assert_eq!(&bytes[12..14], if outside.0.len() == 4 { [8, 0] } else { [0x86, 0xdd] });
        assert_sound_up_to_zero(found, lowered.len());
        let at = if outside.0.len() == 4 { 20 } else { 40 };
        if kind == Kind::Gue {
            let source = u16::from_be_bytes([found[at], found[at + 1]]);
            prop_assert!((32_768..61_000).contains(&source));
            prop_assert_eq!(found[at + 6..at + 8] != [0, 0], has_checksum);
        }
        if kind == Kind::Gre {
            prop_assert_eq!(&found[at..at + 2], if has_checksum { [0x80, 0] } else { [0, 0] });
        }
        let carries_df = is_ipv4 && df && heeds_df;
        let id = u16::from_be_bytes([found[4], found[5]]);
        if outside.0.len() == 4 {
            prop_assert_eq!(id == 0, carries_df);
        }
        let with = Ip {
            tos: if tos & 3 == 3 { tos - 1 } else { tos },
            ttl: ttl - 1,
            id: if outside.0.len() == 4 { u32::from(id) } else { 0 },
            fragment: if carries_df { 0x4000 } else { 0 },
            ..Ip::new(&outside, 0)
        };
        let mut wanted = expected(&lowered, kind, port, &outside, &with, found);
        let mut found = found.to_vec();
        if is_begun {
            // A finished checksum may be the other zero.
            let at = found.len() - payload.len() - if is_udp { 2 } else { 4 };
            found[at..at + 2].fill(0);
            wanted[at..at + 2].fill(0);
        }
        // Header checksums are judged above; 0x0000 and 0xffff are one sum.
        if outside.0.len() == 4 {
            found[10..12].fill(0);
            wanted[10..12].fill(0);
        }
        if is_ipv4 {
            let at = found.len() - lowered.len() + 10;
            found[at..at + 2].fill(0);
            wanted[at..at + 2].fill(0);
        }
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn the_short_way_of_ip_in_ip_is_the_long_way(
        ends in any::<([u8; 4], [u8; 4], [u8; 4], [u8; 4])>(), tos in any::<u8>(), ttl in 2u8.., df in any::<bool>(), payload in 0usize..100
    ) {
        let inside = (ends.0.to_vec(), ends.1.to_vec());
        let outside = (ends.2.to_vec(), ends.3.to_vec());
        let ip = Ip { tos, ttl, fragment: if df { 0x4000 } else { 0 }, ..Ip::new(&inside, UDP) };
        let packet = frame(&ip.around(&segment(&inside, UDP, (0, 0), &vec![1; payload])));
        let (mut short, mut long) = (packet.clone(), packet);
        let header = Header4::parse(&Head4::of(&short).expect("a head"), short.len()).expect("well formed");
        tunnel::to_server(&mut short, &Inner::of4(&header, &Ports::default(), true), raw4(&outside.0), raw4(&outside.1)).expect("wrapped");
        wrap(&mut long, true, &Tunnel::from_numbers(0, 0, 0).expect("ipip"), &outside);
        prop_assert_eq!(short, long);
    }
}

/// As [`assert_sound`] of the packet and of the `inside` bytes at its end, with 0x0000 and 0xffff as one sum in what hardware
/// finished.
fn assert_sound_up_to_zero(packet: &[u8], inside: usize) {
    let mut packet = packet.to_vec();
    let at = packet.len() - inside;
    normalise(&mut packet[at..]);
    assert_sound(&packet[at..]);
    assert_sound(&packet);
}

fn normalise(packet: &mut [u8]) {
    let (addresses, protocol, payload) = open(packet);
    let (field, _) = checksum_place(protocol).expect("known");
    let wanted = checksum(&addresses, protocol, payload);
    let at = packet.len() - payload.len() + field;
    let found = u16::from_be_bytes([packet[at], packet[at + 1]]);
    if found != wanted && found == !wanted && (found == 0 || wanted == 0) {
        packet[at..at + 2].copy_from_slice(&wanted.to_be_bytes());
    }
}

/// A frame that says it is a super-frame.
struct Aggregate(Frame);

impl Packet for Aggregate {
    const RESOLVES: bool = true;

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.0.bytes(offset)
    }
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.0.bytes_mut(offset)
    }
    fn reveal(&mut self, _length: u32) {}
    fn len(&self) -> u32 {
        self.0.len()
    }
    fn is_aggregate(&self) -> bool {
        true
    }
    fn interface(&self) -> u32 {
        1
    }
    fn push(&mut self, length: u32, room: lvsx_core::packet::Room) -> bool {
        self.0.push(length, room)
    }
    fn pop(&mut self, _length: u32) -> bool {
        false
    }
    fn cut(&mut self, _length: u32) -> bool {
        false
    }
    fn adjust_checksum(&mut self, _: usize, _: u32, _: u32, _: bool) -> Option<()> {
        None
    }
    fn is_partial(&mut self, _offset: usize) -> bool {
        true
    }
    fn shift_sum(&mut self, _change: u32) {}
    fn sum(&self, _offset: usize, _length: u32) -> Option<u32> {
        None
    }
}

#[test]
fn a_super_frame_has_no_outer_checksum() {
    let inside = (vec![172, 16, 0, 7], vec![10, 0, 0, 100]);
    let outside = (vec![10, 1, 0, 1], vec![10, 1, 0, 12]);
    let packet = Ip::new(&inside, TCP).around(&segment(&inside, TCP, (1, 2), &[7; 900]));
    for (kind, length) in [(1, 12), (2, 4)] {
        let tunnel = Tunnel::from_numbers(kind, 1, 6080u16.to_be()).expect("a tunnel");
        let mut aggregate = Aggregate(frame(&packet));
        wrap(&mut aggregate, true, &tunnel, &outside);
        assert_eq!(tunnel.length(true), length);
        assert_eq!(
            aggregate.0.bytes.len(),
            ETHERNET + packet.len() + 20 + length as usize
        );
        let header = &aggregate.0.bytes[ETHERNET + 20..];
        match kind {
            1 => assert_eq!(header[6..12], [0, 0, 0, 4, 0, 0]),
            _ => assert_eq!(header[..4], [0, 0, 8, 0]),
        }
    }
}

#[test]
fn a_tunnel_is_read_from_the_numbers_of_ipvs() {
    let lengths =
        |kind, flags| Tunnel::from_numbers(kind, flags, 0).map(|tunnel| tunnel.length(false));
    assert_eq!(lengths(0, 1), Some(0));
    assert_eq!(lengths(1, 0), Some(12));
    assert_eq!(lengths(1, 2), Some(12));
    assert_eq!(lengths(2, 0), Some(4));
    assert_eq!(lengths(2, 1), Some(8));
    assert_eq!(lengths(3, 0), None);
}

#[test]
fn packets_of_a_flow_have_one_gue_port_and_identifications_of_their_own() {
    let inside = (vec![172, 16, 0, 7], vec![10, 0, 0, 100]);
    let outside = (vec![10, 1, 0, 1], vec![10, 1, 0, 12]);
    let tunnel = Tunnel::from_numbers(1, 0, 6080u16.to_be()).expect("gue");
    let mut seen = std::collections::HashSet::new();
    let mut sources = std::collections::HashSet::new();
    for id in 0..1000 {
        let ip = Ip {
            id,
            ..Ip::new(&inside, TCP)
        };
        let mut packet = frame(&ip.around(&segment(&inside, TCP, (1, 2), &[])));
        wrap(&mut packet, true, &tunnel, &outside);
        seen.insert(packet.bytes[ETHERNET + 4..ETHERNET + 6].to_vec());
        sources.insert(packet.bytes[ETHERNET + 20..ETHERNET + 22].to_vec());
    }
    assert_eq!((seen.len(), sources.len()), (1000, 1));
}
