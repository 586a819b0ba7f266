//! Headers of IPv6 as the core reads them: extension headers are followed, contradictions are malformed, nothing panics.

mod naive;

use lvsx_core::host::Frame;
use lvsx_core::wire::{ETHERNET, Head6, Header6, Malformed6, Ports};
use proptest::prelude::*;

/// A frame with a fixed IPv6 header, these extension headers (kind of the first, then bytes), a transport of 20 bytes.
fn frame(first: u8, extensions: &[u8]) -> Frame {
    let mut bytes = vec![0; ETHERNET];
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    let payload = (extensions.len() + 20) as u16;
    bytes.extend([0x60, 0, 0, 0]);
    bytes.extend(payload.to_be_bytes());
    bytes.extend([first, 64]);
    bytes.extend([0xfd; 16]);
    bytes.extend([0x20; 16]);
    bytes.extend(extensions);
    bytes.extend([0; 20]);
    Frame {
        bytes,
        interface: 1,
    }
}

/// An extension header of eight bytes that says what follows it.
fn extension(next: u8) -> [u8; 8] {
    [next, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn a_plain_header_is_read_whole() {
    let header = Header6::read(&frame(6, &[])).expect("well formed");
    assert_eq!((header.protocol, header.hop_limit), (6, 64));
    assert_eq!(header.transport, ETHERNET + 40);
    assert_eq!((header.total, header.payload()), (60, 20));
    assert_eq!(header.source, [0xfdfd_fdfd_fdfd_fdfd; 2]);
    assert_eq!(header.destination, [0x2020_2020_2020_2020; 2]);
    assert!(!header.is_fragment());
}

#[test]
fn extension_headers_lead_to_the_transport() {
    // Hop-by-hop, routing of 16 bytes, destination options, then UDP.
    let mut routing = extension(60).to_vec();
    routing[1] = 1;
    routing.extend([0; 8]);
    let chain = [&extension(43)[..], &routing, &extension(17)].concat();
    let header = Header6::read(&frame(0, &chain)).expect("well formed");
    assert_eq!(header.protocol, 17);
    assert_eq!(header.transport, ETHERNET + 40 + chain.len());
    assert_eq!(header.payload(), 20);
}

#[test]
fn a_fragment_is_known_as_one() {
    let mut first = extension(6);
    first[2..].copy_from_slice(&[0, 1, 0xde, 0xad, 0xbe, 0xef]);
    let header = Header6::read(&frame(44, &first)).expect("well formed");
    assert!(header.is_fragment());
    assert_eq!(header.protocol, 6);
    assert_eq!(header.fragment.identification, 0xdead_beef);
    let atomic = Header6::read(&frame(44, &extension(6))).expect("well formed");
    assert!(atomic.fragment.present && !atomic.is_fragment());
}

#[test]
fn contradictions_are_malformed() {
    let endless: Vec<u8> = (0..9).flat_map(|_| extension(60)).collect();
    assert_eq!(
        Header6::read(&frame(60, &endless)),
        Err(Malformed6),
        "more extension headers than are followed"
    );
    let mut beyond = extension(6);
    beyond[1] = 200;
    assert_eq!(
        Header6::read(&frame(0, &beyond)),
        Err(Malformed6),
        "an extension header longer than the datagram"
    );
    let mut version = frame(6, &[]);
    version.bytes[ETHERNET] = 0x40;
    assert_eq!(Header6::read(&version), Err(Malformed6));
    let mut long = frame(6, &[]);
    long.bytes[ETHERNET + 5] = 200;
    assert_eq!(
        Header6::read(&long),
        Err(Malformed6),
        "a datagram longer than its frame"
    );
}

#[test]
fn no_frame_however_short_does_harm() {
    let whole = frame(0, &[extension(43), extension(60), extension(17)].concat());
    for length in 0..whole.bytes.len() {
        let mut cut = whole.clone();
        cut.bytes.truncate(length);
        assert_eq!(
            Header6::read(&cut),
            Err(Malformed6),
            "{length} bytes of {}",
            whole.bytes.len()
        );
    }
}

#[test]
fn a_first_fragment_has_ports_though_its_datagram_goes_on() {
    let mut packet = frame(17, &[]);
    let udp = [0, 1, 0, 2, 0x05, 0xdc, 0, 0];
    packet.bytes[ETHERNET + 40..ETHERNET + 48].copy_from_slice(&udp);
    assert_eq!(Ports::read(&packet, 17, ETHERNET + 40, 20), None);
    let ports = Ports::read_first(&packet, 17, ETHERNET + 40, 20).expect("ports");
    assert_eq!(
        (u16::from_be(ports.source), u16::from_be(ports.destination)),
        (1, 2)
    );
    assert_eq!(Ports::read_first(&packet, 17, ETHERNET + 40, 7), None);
}

proptest! {
    #[test]
    fn random_chains_are_read_as_by_the_book(
        kinds in prop::collection::vec(prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60), Just(6), Just(59), any::<u8>()], 1..11),
        bodies in prop::collection::vec((0u8..4, any::<[u8; 6]>(), any::<bool>()), 10),
        tos in any::<u8>(), cut in 0usize..40, garbage in any::<bool>()
    ) {
        let mut chain = Vec::new();
        for (at, kind) in kinds.iter().take(kinds.len() - 1).enumerate() {
            let (units, body, aligned) = bodies[at];
            let start = chain.len();
            chain.extend([kinds[at + 1], if *kind == 51 { units * 2 } else { units }]);
            chain.extend(body);
            if *kind == 44 && aligned {
                // A first fragment, so that the chain goes on.
                chain[start + 2] = 0;
                chain[start + 3] &= 7;
            }
            let length = match kind { 44 => 8, 51 => (usize::from(units) * 2 + 2) * 4, _ => (usize::from(units) + 1) * 8 };
            chain.resize(start + length.max(8), 0);
        }
        let mut packet = frame(kinds[0], &chain);
        packet.bytes[ETHERNET] |= tos >> 4;
        packet.bytes[ETHERNET + 1] |= tos << 4;
        if garbage {
            packet.bytes.truncate(packet.bytes.len() - cut);
        }
        compare(&packet, tos)?;
    }

    #[test]
    fn random_bytes_are_read_as_by_the_book(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop_oneof![Just(0u8), Just(60), Just(44), any::<u8>()]) {
        if let Some(head) = bytes.get_mut(ETHERNET..ETHERNET + 8) {
            head[0] = 0x60;
            (head[4], head[5], head[6]) = (0, head[5] & 127, kind);
        }
        let packet = Frame { bytes, interface: 1 };
        let tos = packet.bytes.get(ETHERNET..ETHERNET + 2).map_or(0, |head| head[0] << 4 | head[1] >> 4);
        compare(&packet, tos)?;
    }
}

/// Fails unless the core reads a packet as the model does.
fn compare(packet: &Frame, tos: u8) -> Result<(), TestCaseError> {
    let read = Header6::read(packet);
    let model = packet.bytes.get(ETHERNET..).and_then(naive::read6);
    prop_assert_eq!(read.is_ok(), model.is_some(), "{:?} {:?}", read, model);
    if let (Ok(header), Some((protocol, at, fragment))) = (read, model) {
        prop_assert_eq!(
            (header.protocol, header.transport),
            (protocol, ETHERNET + at)
        );
        let found = header.fragment.present.then_some((
            header.fragment.offset,
            header.fragment.more,
            header.fragment.identification,
        ));
        prop_assert_eq!(found, fragment);
        prop_assert_eq!(header.tos, tos);
        let head = Head6::of(packet).expect("a head");
        prop_assert_eq!(header.source, head.source());
        let fixed = Header6::parse(&head, packet.bytes.len() as u32).expect("well formed");
        prop_assert_eq!(fixed.is_extended(), at > 40);
        let claimed = usize::from(u16::from_be_bytes([
            packet.bytes[ETHERNET + 4],
            packet.bytes[ETHERNET + 5],
        ]));
        prop_assert_eq!(header.payload() as usize, claimed + 40 - at);
    }
    Ok(())
}
