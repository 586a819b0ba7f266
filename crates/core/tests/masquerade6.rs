//! Masquerading and direct routing of IPv6: compared with packets built anew.

mod naive;

use lvsx_core::forward::Age;
use lvsx_core::forward::{direct, masquerade, masquerade6};
use lvsx_core::wire::{ETHERNET, Head4, Header4, Header6, Ports};
use naive::*;
use proptest::prelude::*;

/// Extension headers, none of them a fragment's: the number of the first, and their bytes; `transport` follows.
fn extensions(kinds: &[u8], transport: u8) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let next = kinds.get(at + 1).copied().unwrap_or(transport);
        // AH of 16 bytes, which is 4 units of 4 bytes less 2; the others of 8.
        let length = if *kind == 51 { 16 } else { 8 };
        let mut header = vec![0; length];
        header[0] = next;
        header[1] = if *kind == 51 { 2 } else { 0 };
        bytes.extend(header);
    }
    (kinds.first().copied().unwrap_or(transport), bytes)
}

prop_compose! {
    fn addresses6()(source in any::<[u8; 16]>(), destination in any::<[u8; 16]>()) -> Addresses {
        (source.to_vec(), destination.to_vec())
    }
}

proptest! {
    #[test]
    fn a_readdressed_packet_is_the_packet_built_for_the_new_end(
        addresses in addresses6(), new in any::<[u8; 16]>(), ports in any::<(u16, u16)>(), port in any::<u16>(),
        is_udp in any::<bool>(), payload in prop::collection::vec(any::<u8>(), 0..60), ttl in 2u8..,
        kinds in prop::collection::vec(prop_oneof![Just(0u8), Just(43), Just(60), Just(51)], 0..4),
        to_client in any::<bool>(), keep_port in any::<bool>(), without in any::<bool>()
    ) {
        let protocol = if is_udp { UDP } else { TCP };
        let build = |addresses: &Addresses, ports, ttl| {
            let (first, options) = extensions(&kinds, protocol);
            let ip = Ip { ttl, tos: 0xb8, options, ..Ip::new(addresses, first) };
            ip.around(&segment(addresses, protocol, ports, &payload))
        };
        let mut packet = frame(&build(&addresses, ports, ttl));
        let header = Header6::read(&packet).expect("well formed");
        if without && is_udp {
            packet.bytes[header.transport + 6..header.transport + 8].fill(0);
        }
        let read = Ports::read(&packet, protocol, header.transport, header.payload()).expect("a header");
        prop_assert_eq!((u16::from_be(read.source), u16::from_be(read.destination)), ports);
        let (mut wanted, mut wanted_ports) = (addresses.clone(), ports);
        let change = if to_client {
            wanted.0 = new.to_vec();
            wanted_ports.0 = if keep_port { ports.0 } else { port };
            masquerade6::Readdress6::to_client(&header, &read, (raw6(&new), wanted_ports.0.to_be()))
        } else {
            wanted.1 = new.to_vec();
            wanted_ports.1 = if keep_port { ports.1 } else { port };
            masquerade6::Readdress6::to_server(&header, &read, (raw6(&new), wanted_ports.1.to_be()))
        };
        masquerade6::readdress(&mut packet, &header, &change, Age::Older).expect("readdressed");
        let expected = frame(&build(&wanted, wanted_ports, ttl - 1));
        // The one's-complement zero has two forms; the sums must agree, and all other bytes.
        assert_sound_or_zero(&packet.bytes[ETHERNET..], protocol);
        let at = header.transport + checksum_place(protocol).expect("known").0;
        let without_checksum = |bytes: &[u8]| [&bytes[..at], &bytes[at + 2..]].concat();
        prop_assert_eq!(without_checksum(&packet.bytes), without_checksum(&expected.bytes));
    }

    #[test]
    fn later_fragments_change_in_the_address_alone(addresses in addresses6(), new in any::<[u8; 16]>(), ttl in 2u8..) {
        let fragment = [UDP, 0, 0x01, 0x09, 1, 2, 3, 4];
        let build = |addresses: &Addresses, ttl| {
            let ip = Ip { ttl, options: fragment.to_vec(), ..Ip::new(addresses, 44) };
            frame(&ip.around(&[7; 33]))
        };
        let mut packet = build(&addresses, ttl);
        let header = Header6::read(&packet).expect("well formed");
        prop_assert_eq!((header.fragment.offset, header.fragment.more), (0x108, true));
        prop_assert_eq!((header.fragment.identification, header.protocol), (0x0102_0304, UDP));
        let change = masquerade6::Readdress6::to_server(&header, &Ports::default(), (raw6(&new), 0));
        masquerade6::readdress_later(&mut packet, &change).expect("readdressed");
        prop_assert_eq!(packet, build(&(addresses.0, new.to_vec()), ttl - 1));
    }

    #[test]
    fn later_ipv4_fragments_change_in_the_address_alone(
        addresses in any::<([u8; 4], [u8; 4])>(), new in any::<[u8; 4]>(), ttl in 2u8..
    ) {
        let build = |destination: &[u8; 4], ttl| {
            let ip = Ip { ttl, fragment: 0x2021, ..Ip::new(&(addresses.0.to_vec(), destination.to_vec()), UDP) };
            frame(&ip.around(&[7; 33]))
        };
        let mut packet = build(&addresses.1, ttl);
        let header = Header4::parse(&Head4::of(&packet).expect("a head"), 14 + 53).expect("well formed");
        prop_assert!(header.is_fragment && header.more_fragments);
        prop_assert_eq!((header.fragment_offset, header.identification), (0x108, 0x1234));
        let change = masquerade::Readdress::to_server(&header, &Ports::default(), (raw4(&new), 0));
        masquerade::readdress_later(&mut packet, &change).expect("readdressed");
        open(&packet.bytes[ETHERNET..]);
        let mut expected = build(&new, ttl - 1);
        // 0x0000 and 0xffff are one sum.
        expected.bytes[24..26].copy_from_slice(&packet.bytes[24..26]);
        prop_assert_eq!(packet, expected);
    }

    #[test]
    fn direct_routing_changes_the_age_alone(addresses in addresses6(), ttl in 2u8..) {
        let build = |ttl| frame(&Ip { ttl, ..Ip::new(&addresses, UDP) }.around(&[1; 20]));
        let mut packet = build(ttl);
        direct::to_server6(&mut packet).expect("a header");
        prop_assert_eq!(packet, build(ttl - 1));
    }
}

fn assert_sound_or_zero(packet: &[u8], protocol: u8) {
    let (addresses, _, payload) = open(packet);
    let (at, _) = checksum_place(protocol).expect("known");
    let found = u16::from_be_bytes([payload[at], payload[at + 1]]);
    let wanted = checksum(&addresses, protocol, payload);
    let same =
        found == wanted || protocol == TCP && found == !wanted && (found == 0 || wanted == 0);
    assert!(same, "{found:04x} for {wanted:04x}");
}

#[test]
fn the_first_fragment_of_a_datagram_without_checksum_keeps_none() {
    let addresses = (vec![0xfd; 16], vec![0x20; 16]);
    let mut datagram = segment(&addresses, UDP, (1, 2), &[3; 100]);
    datagram[6..8].fill(0);
    let ip = Ip {
        options: vec![UDP, 0, 0, 1, 0, 0, 0, 9],
        ..Ip::new(&addresses, 44)
    };
    let mut packet = frame(&ip.around(&datagram[..64]));
    let header = Header6::read(&packet).expect("well formed");
    // The UDP length tells of more than the fragment holds, so that its ports are read at their place.
    let ports = Ports {
        source: 1u16.to_be(),
        destination: 2u16.to_be(),
        ..Ports::default()
    };
    let change = masquerade6::Readdress6::to_server(&header, &ports, ([5; 2], 80u16.to_be()));
    masquerade6::readdress(&mut packet, &header, &change, Age::Older).expect("readdressed");
    assert_eq!(
        packet.bytes[header.transport..][..8],
        [0, 1, 0, 80, 0, 108, 0, 0]
    );
}
