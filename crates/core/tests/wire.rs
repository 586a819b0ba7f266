//! Headers of IPv6 as the core reads them: extension headers are followed, contradictions are malformed, nothing panics.

use lvsx_core::host::Frame;
use lvsx_core::wire::{ETHERNET, Header6, Malformed6};

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
    assert!(!header.is_fragment);
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
    let header = Header6::read(&frame(44, &extension(6))).expect("well formed");
    assert!(header.is_fragment);
    assert_eq!(header.protocol, 6);
}

#[test]
fn contradictions_are_malformed() {
    let endless: Vec<u8> = (0..6).flat_map(|_| extension(60)).collect();
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
