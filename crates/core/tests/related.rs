//! ICMP errors: what they quote, and what becomes of those about masqueraded connections.

mod naive;

use lvsx_core::forward::Age;
use lvsx_core::forward::related::{self, Relation4, Relation6};
use lvsx_core::host::Frame;
use lvsx_core::wire::icmp::{self, Icmp, Quote4, Quote6};
use lvsx_core::wire::{ETHERNET, Head4, Header4, Header6};
use naive::*;
use proptest::prelude::*;

fn header4(packet: &Frame) -> Header4 {
    let head = Head4::of(packet).expect("a head");
    Header4::parse(&head, packet.bytes.len() as u32).expect("well formed")
}

/// A quoted packet of a flow, cut to `room` bytes behind its header.
fn quoted(
    addresses: &Addresses,
    ip_protocol: u8,
    options: &[u8],
    protocol: u8,
    ports: (u16, u16),
    room: usize,
) -> Vec<u8> {
    let ip = Ip {
        ttl: 60,
        options: options.to_vec(),
        ..Ip::new(addresses, ip_protocol)
    };
    let mut whole = segment(addresses, protocol, ports, &[0x5a; 64]);
    // One that no address and port would give, to show that nobody touches it.
    let (at, _) = checksum_place(protocol).expect("known");
    whole[at..at + 2].copy_from_slice(&[0xab, 0xcd]);
    let packet = ip.around(&whole);
    let header = packet.len() - whole.len();
    packet[..header + room].to_vec()
}

fn error(addresses: &Addresses, kind: u8, code: u8, rest: u32, ttl: u8, quote: &[u8]) -> Frame {
    let protocol = if addresses.0.len() == 4 { ICMP } else { ICMP6 };
    let ip = Ip {
        ttl,
        ..Ip::new(addresses, protocol)
    };
    frame(&ip.around(&message(addresses, kind, code, rest, quote)))
}

proptest! {
    #[test]
    fn an_ipv4_error_reads_as_if_there_were_no_director(
        client in any::<[u8; 4]>(), router in any::<[u8; 4]>(), virt in any::<[u8; 4]>(), server in any::<[u8; 4]>(),
        ports in any::<(u16, u16, u16)>(), is_udp in any::<bool>(), kind in prop_oneof![Just(3u8), Just(4), Just(11)],
        code in 0u8..5, rest in any::<u32>(), ttl in 2u8.., options in 0usize..3, room in 4usize..40, to_client in any::<bool>()
    ) {
        let (client_port, virtual_port, server_port) = ports;
        let protocol = if is_udp { UDP } else { TCP };
        let options = vec![1; options * 4];
        // From the server's side it quotes client to server; from the client's side virtual end to client.
        let build = |to_client: bool, end: &[u8; 4], port: u16, outer: &[u8; 4], ttl| {
            let quoted = if to_client {
                quoted(&(client.to_vec(), end.to_vec()), protocol, &options, protocol, (client_port, port), room)
            } else {
                quoted(&(end.to_vec(), client.to_vec()), protocol, &options, protocol, (port, client_port), room)
            };
            let addresses = if to_client { (outer.to_vec(), client.to_vec()) } else { (router.to_vec(), outer.to_vec()) };
            error(&addresses, kind, code, rest, ttl, &quoted)
        };
        let (mut packet, expected) = if to_client {
            (build(true, &server, server_port, &router, ttl), build(true, &virt, virtual_port, &virt, ttl - 1))
        } else {
            (build(false, &virt, virtual_port, &virt, ttl), build(false, &server, server_port, &server, ttl - 1))
        };
        let header = header4(&packet);
        let read = Icmp::read(&packet, header.transport, header.payload()).expect("a header");
        prop_assert_eq!((read.kind, read.code, read.rest), (kind, code, rest));
        prop_assert!(read.is_error4());
        prop_assert_eq!(icmp::is_sound4(&packet, &header), Some(true));
        let quote = Quote4::of_error(&packet, &header).expect("a quote");
        prop_assert_eq!(quote.protocol, protocol);
        let change = if to_client {
            prop_assert_eq!((quote.source, quote.source_port), (raw4(&client), client_port.to_be()));
            prop_assert_eq!((quote.destination, quote.destination_port), (raw4(&server), server_port.to_be()));
            Relation4::to_client(&header, &quote, (raw4(&virt), virtual_port.to_be()))
        } else {
            prop_assert_eq!((quote.source, quote.source_port), (raw4(&virt), virtual_port.to_be()));
            prop_assert_eq!((quote.destination, quote.destination_port), (raw4(&client), client_port.to_be()));
            Relation4::to_server(&header, &quote, (raw4(&server), server_port.to_be()))
        };
        related::relate(&mut packet, &header, &change, Age::Older).expect("rewritten");
        prop_assert_eq!(icmp::is_sound4(&packet, &header4(&packet)), Some(true));
        prop_assert_eq!(sum(&packet.bytes[quote.at..quote.transport]), 0xffff);
        prop_assert_eq!(sum(&packet.bytes[ETHERNET..ETHERNET + 20]), 0xffff);
        blank_checksums_and_compare(&packet, &expected, &[ETHERNET + 10, quote.at + 10, header.transport + 2])?;
    }

    #[test]
    fn an_ipv6_error_reads_as_if_there_were_no_director(
        client in any::<[u8; 16]>(), router in any::<[u8; 16]>(), virt in any::<[u8; 16]>(), server in any::<[u8; 16]>(),
        ports in any::<(u16, u16, u16)>(), is_udp in any::<bool>(), kind in 1u8..5, code in 0u8..5, rest in any::<u32>(),
        ttl in 2u8.., extended in any::<bool>(), room in 4usize..40, to_client in any::<bool>()
    ) {
        let (client_port, virtual_port, server_port) = ports;
        let protocol = if is_udp { UDP } else { TCP };
        // Destination options, or a first fragment.
        let (first, options) = if extended { (60, vec![44, 0, 1, 4, 0, 0, 0, 0, protocol, 0, 0, 1, 0, 0, 0, 9]) } else { (protocol, vec![]) };
        let build = |to_client: bool, end: &[u8; 16], port: u16, outer: &[u8; 16], ttl| {
            let quoted = if to_client {
                quoted(&(client.to_vec(), end.to_vec()), first, &options, protocol, (client_port, port), room)
            } else {
                quoted(&(end.to_vec(), client.to_vec()), first, &options, protocol, (port, client_port), room)
            };
            let addresses = if to_client { (outer.to_vec(), client.to_vec()) } else { (router.to_vec(), outer.to_vec()) };
            error(&addresses, kind, code, rest, ttl, &quoted)
        };
        let (mut packet, expected) = if to_client {
            (build(true, &server, server_port, &router, ttl), build(true, &virt, virtual_port, &virt, ttl - 1))
        } else {
            (build(false, &virt, virtual_port, &virt, ttl), build(false, &server, server_port, &server, ttl - 1))
        };
        let header = Header6::read(&packet).expect("well formed");
        let read = Icmp::read(&packet, header.transport, header.payload()).expect("a header");
        prop_assert_eq!((read.kind, read.code, read.rest, read.is_error6()), (kind, code, rest, true));
        prop_assert_eq!(icmp::is_sound6(&packet, &header), Some(true));
        let quote = Quote6::of_error(&packet, &header).expect("a quote");
        prop_assert_eq!(quote.protocol, protocol);
        let change = if to_client {
            prop_assert_eq!((quote.source, quote.source_port), (raw6(&client), client_port.to_be()));
            prop_assert_eq!((quote.destination, quote.destination_port), (raw6(&server), server_port.to_be()));
            Relation6::to_client(&header, &quote, (raw6(&virt), virtual_port.to_be()))
        } else {
            Relation6::to_server(&header, &quote, (raw6(&server), server_port.to_be()))
        };
        related::relate6(&mut packet, &header, &change, Age::Older).expect("rewritten");
        let header = Header6::read(&packet).expect("well formed");
        prop_assert_eq!(icmp::is_sound6(&packet, &header), Some(true));
        blank_checksums_and_compare(&packet, &expected, &[header.transport + 2])?;
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60)], total in 20u8..) {
        let mut bytes = bytes;
        if bytes.len() > ETHERNET + 40 {
            bytes[ETHERNET] = version;
            if version == 0x60 {
                (bytes[ETHERNET + 4], bytes[ETHERNET + 5]) = (0, total & 127);
            } else {
                (bytes[ETHERNET + 2], bytes[ETHERNET + 3]) = (0, total);
            }
        }
        let mut packet = Frame { bytes, interface: 1 };
        let header = Head4::of(&packet).and_then(|head| Header4::parse(&head, packet.bytes.len() as u32).ok());
        if let Some(header) = header
            && let Some(quote) = Quote4::of_error(&packet, &header)
        {
            prop_assert!(quote.transport + 4 <= ETHERNET + usize::from(header.total));
            if let Some(inner) = quote.inside(&packet, &header) {
                prop_assert!(inner.transport + 4 <= ETHERNET + usize::from(header.total));
            }
            let change = Relation4::to_client(&header, &quote, (1, 2));
            prop_assert_eq!(related::relate(&mut packet, &header, &change, Age::Older), Some(()));
        }
        if let Ok(header) = Header6::read(&packet)
            && let Some(quote) = Quote6::of_error(&packet, &header)
        {
            prop_assert!(quote.transport + 4 <= ETHERNET + header.total as usize);
            let change = Relation6::to_client(&header, &quote, ([1; 2], 2));
            prop_assert_eq!(related::relate6(&mut packet, &header, &change, Age::Older), Some(()));
        }
    }
}

/// Compares frames but for checksums, which the caller has summed up: 0x0000 and 0xffff are one sum.
fn blank_checksums_and_compare(
    found: &Frame,
    wanted: &Frame,
    checksums: &[usize],
) -> Result<(), TestCaseError> {
    let (mut found, mut wanted) = (found.clone(), wanted.clone());
    for at in checksums {
        found.bytes[*at..*at + 2].fill(0);
        wanted.bytes[*at..*at + 2].fill(0);
    }
    prop_assert_eq!(found, wanted);
    Ok(())
}

#[test]
fn which_messages_are_errors() {
    let of = |kind| Icmp {
        kind,
        code: 0,
        rest: 0,
    };
    let errors4: Vec<u8> = (0..=255).filter(|kind| of(*kind).is_error4()).collect();
    assert_eq!(errors4, [3, 4, 11]);
    assert!((0..128).all(|kind| of(kind).is_error6()));
    assert!((128..=255).all(|kind| !of(kind).is_error6()));
}

#[test]
fn a_quote_too_short_or_of_a_later_fragment_is_none() {
    let ends = (vec![10, 0, 0, 1], vec![10, 0, 0, 2]);
    let whole = quoted(&ends, TCP, &[], TCP, (1, 2), 20);
    for length in 0..24 {
        let mut packet = error(&ends, 3, 3, 0, 64, &whole[..length]);
        // Padding of a short frame is no quote.
        packet.bytes.resize(100, 0);
        assert_eq!(
            Quote4::of_error(&packet, &header4(&packet)),
            None,
            "{length}"
        );
    }
    let packet = error(&ends, 3, 3, 0, 64, &whole[..24]);
    assert!(Quote4::of_error(&packet, &header4(&packet)).is_some());
    let later = Ip {
        fragment: 1,
        ..Ip::new(&ends, TCP)
    };
    let packet = error(&ends, 3, 3, 0, 64, &later.around(&[0; 20]));
    assert_eq!(Quote4::of_error(&packet, &header4(&packet)), None);

    let ends = (vec![0xfd; 16], vec![0x20; 16]);
    let whole = quoted(&ends, TCP, &[], TCP, (1, 2), 20);
    for length in 0..44 {
        let mut packet = error(&ends, 1, 4, 0, 64, &whole[..length]);
        packet.bytes.resize(160, 0);
        let header = Header6::read(&packet).expect("well formed");
        assert_eq!(Quote6::of_error(&packet, &header), None, "{length}");
    }
    let later = Ip {
        options: vec![TCP, 0, 0, 8, 0, 0, 0, 1],
        ..Ip::new(&ends, 44)
    };
    let packet = error(&ends, 1, 4, 0, 64, &later.around(&[0; 20]));
    let header = Header6::read(&packet).expect("well formed");
    assert_eq!(Quote6::of_error(&packet, &header), None);
}

#[test]
fn the_packet_inside_a_quoted_tunnel_packet_is_found() {
    let tunnel = (vec![10, 1, 0, 1], vec![10, 1, 0, 12]);
    let flow = (vec![172, 16, 0, 7], vec![10, 0, 0, 100]);
    let inner = quoted(&flow, TCP, &[], TCP, (40_000, 80), 8);
    let gre = |flags: u16, kind: u16, more: usize| {
        [
            &flags.to_be_bytes()[..],
            &kind.to_be_bytes(),
            &vec![0; more],
        ]
        .concat()
    };
    let gue = |first: [u8; 4], more: usize| {
        let udp = [
            &40_001u16.to_be_bytes()[..],
            &6080u16.to_be_bytes(),
            &[0; 4],
        ]
        .concat();
        [&udp[..], &first, &vec![0; more]].concat()
    };
    let cases = [
        (4, vec![], true),
        (41, vec![], false),
        (47, gre(0, 0x0800, 0), true),
        (47, gre(0x8000, 0x0800, 4), true),
        (47, gre(0x2000, 0x0800, 4), false),
        (47, gre(0, 0x86dd, 0), false),
        (47, gre(1, 0x0800, 0), false),
        (17, gue([0, 4, 0, 0], 0), true),
        (17, gue([2, 4, 0, 1], 8), true),
        (17, gue([0x20, 4, 0, 0], 0), false),
        (17, gue([0x40, 4, 0, 0], 0), false),
        (17, gue([0, 41, 0, 0], 0), false),
        (6, vec![], false),
    ];
    for (protocol, between, is_found) in cases {
        let outer = Ip::new(&tunnel, protocol).around(&[&between[..], &inner].concat());
        let packet = error(&(tunnel.1.clone(), tunnel.0.clone()), 3, 1, 0, 64, &outer);
        let header = header4(&packet);
        let quote = Quote4::of_error(&packet, &header).expect("a quote");
        assert_eq!(quote.destination, raw4(&tunnel.1));
        if protocol == 17 {
            assert_eq!(quote.destination_port, 6080u16.to_be());
        }
        let inside = quote.inside(&packet, &header);
        assert_eq!(inside.is_some(), is_found, "{protocol} {between:?}");
        if let Some(inside) = inside {
            assert_eq!(
                (inside.source, inside.destination),
                (raw4(&flow.0), raw4(&flow.1))
            );
            assert_eq!(u16::from_be(inside.source_port), 40_000);
            assert_eq!(u16::from_be(inside.destination_port), 80);
            assert_eq!(inside.protocol, TCP);
        }
    }
}

#[test]
fn a_wrong_checksum_is_seen() {
    let ends = (vec![10, 0, 0, 1], vec![10, 0, 0, 2]);
    let mut packet = error(&ends, 3, 3, 0, 64, &quoted(&ends, UDP, &[], UDP, (1, 2), 9));
    packet.bytes[ETHERNET + 30] ^= 1;
    assert_eq!(icmp::is_sound4(&packet, &header4(&packet)), Some(false));
    let ends = (vec![0xfd; 16], vec![0x20; 16]);
    let mut packet = error(&ends, 1, 4, 0, 64, &quoted(&ends, UDP, &[], UDP, (1, 2), 9));
    packet.bytes[ETHERNET + 20] ^= 1;
    let header = Header6::read(&packet).expect("well formed");
    assert_eq!(icmp::is_sound6(&packet, &header), Some(false));
}
