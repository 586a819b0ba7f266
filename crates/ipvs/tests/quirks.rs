//! What clients other than `ipvsadm` do to a director, in raw messages: moby/ipvs, cloudflare/ipvs, pyroute2, old ones. All of
//! it the kernel takes (Linux 6.1); `vectors.rs` has what `ipvsadm` sends, and odd requests that are refused.
#![cfg(target_endian = "little")]

mod support {
    pub(crate) mod memory;
}

use lvsx_ipvs::{Director, ForwardingMethod, ServiceKey, answer, answer_port};
use support::memory::MemoryDirector;

const NEW_SERVICE: u8 = 1;
const GET_SERVICE: u8 = 4;
const NEW_DEST: u8 = 5;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
const ZERO: u8 = 16;
/// Flags of a request, with an acknowledgement, and of a dump.
const REQUEST: u16 = 5;
const DUMP: u16 = 0x305;
/// Top-level attributes.
const SERVICE: u16 = 1;
const DEST: u16 = 2;

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + payload.len() as u16).to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// As Go libraries write it: without the bit that says so.
fn nest(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let inside: Vec<u8> = attributes
        .iter()
        .flat_map(|(kind, payload)| attribute(*kind, payload))
        .collect();
    attribute(kind, &inside)
}

fn message(command: u8, version: u8, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = (20 + attributes.len() as u32).to_le_bytes().to_vec();
    bytes.extend(0x4950u16.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend([9, 0, 0, 0, 0, 0, 0, 0, command, version, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The error of an acknowledgement or a refusal.
fn errno(answers: &[Vec<u8>]) -> i32 {
    let last = answers.last().expect("an answer");
    assert_eq!(last[4], 2, "an error or an acknowledgement");
    -i32::from_le_bytes(last[16..20].try_into().expect("four bytes"))
}

const AF: (u16, &[u8]) = (1, &[2, 0]);
const TCP: (u16, &[u8]) = (2, &[6, 0]);
/// Four bytes instead of sixteen.
const ADDRESS: (u16, &[u8]) = (3, &[10, 0, 0, 1]);
const PORT: (u16, &[u8]) = (4, &[0, 80]);
/// What a service is known by, and nothing else.
const KEY: [(u16, &[u8]); 4] = [AF, TCP, ADDRESS, PORT];

fn key() -> ServiceKey {
    ServiceKey::Address {
        protocol: 6,
        addr: [10, 0, 0, 1].into(),
        port: 80,
    }
}

fn service(protocol: u8, port: u16) -> Vec<u8> {
    let (protocol, port) = ([protocol, 0], port.to_be_bytes());
    nest(
        SERVICE,
        &[
            AF,
            (2, &protocol),
            ADDRESS,
            (4, &port),
            (6, b"rr\0"),
            (7, &[0, 0, 0, 0, 255, 255, 255, 255]),
            (8, &[0; 4]),
            (9, &[255; 4]),
        ],
    )
}

/// A destination of `10.0.0.9`, as old clients know it: no family, no tunnel.
fn destination(port: u16, method: u8, weight: u32) -> Vec<u8> {
    let (port, weight) = (port.to_be_bytes(), weight.to_le_bytes());
    nest(
        DEST,
        &[
            (1, &[10, 0, 0, 9]),
            (2, &port),
            (3, &[method, 0, 0, 0]),
            (4, &weight),
            (5, &[0; 4]),
            (6, &[0; 4]),
        ],
    )
}

fn with_service() -> MemoryDirector {
    let mut director = MemoryDirector::new();
    let add = message(NEW_SERVICE, 1, REQUEST, &service(6, 80));
    assert_eq!(errno(&answer(&add, &mut director)), 0);
    director
}

#[test]
fn short_addresses_bare_keys_and_destinations_without_a_family_are_understood() {
    let mut director = with_service();
    assert!(director.service(&key()).is_ok());
    let attributes = [nest(SERVICE, &KEY), destination(80, 0, 1)].concat();
    let add = message(NEW_DEST, 1, REQUEST, &attributes);
    assert_eq!(errno(&answer(&add, &mut director)), 0);
    let listed = director.destinations(&key()).expect("it is there");
    assert_eq!(listed[0].key.addr, std::net::IpAddr::from([10, 0, 0, 9]));
    let attributes = [
        nest(SERVICE, &KEY),
        nest(DEST, &[(1, &[10, 0, 0, 9]), (2, &[0, 80])]),
    ]
    .concat();
    let delete = message(DEL_DEST, 1, REQUEST, &attributes);
    assert_eq!(errno(&answer(&delete, &mut director)), 0);
    assert_eq!(errno(&answer(&delete, &mut director)), 2);
    let zero = message(ZERO, 1, REQUEST, &nest(SERVICE, &KEY));
    assert_eq!(errno(&answer(&zero, &mut director)), 0);
}

/// moby/ipvs puts an empty service into dumps, reads only the first attribute of what comes back, and refuses an answer to
/// another port than its own, which it does not name.
#[test]
fn answers_are_what_moby_reads() {
    let mut director = with_service();
    let dump = message(GET_SERVICE, 1, DUMP, &nest(SERVICE, &[]));
    let answers = answer_port(&dump, Some(4711), &mut director);
    assert_eq!(answers.len(), 2);
    for datagram in &answers {
        assert_eq!(datagram[12..16], 4711u32.to_le_bytes());
    }
    let listed = &answers[0];
    let first = u16::from_le_bytes([listed[20], listed[21]]);
    assert_eq!(listed[22..24], SERVICE.to_le_bytes());
    assert_eq!(
        20 + usize::from(first),
        listed.len(),
        "the first attribute is all"
    );
    for asked in [
        nest(SERVICE, &[]),
        Vec::new(),
        nest(SERVICE, &[AF, TCP, (3, &[10, 9, 9, 9]), PORT]),
    ] {
        let answers = answer(&message(GET_DEST, 1, DUMP, &asked), &mut director);
        assert_eq!(answers.len(), 1, "no error, and no destination");
        assert_eq!((answers[0][4], answers[0].len()), (3, 20));
    }
}

/// An older cloudflare/ipvs wrote the port of a tunnel twice.
#[test]
fn of_a_repeated_attribute_the_last_counts_and_the_version_does_not() {
    let mut director = with_service();
    let with_tunnel = nest(
        DEST,
        &[
            (1, &[10, 0, 0, 9]),
            (2, &[0, 80]),
            (3, &[2, 0, 0, 0]),
            (4, &[1, 0, 0, 0]),
            (5, &[0; 4]),
            (6, &[0; 4]),
            (13, &[1]),
            (14, &6080u16.to_le_bytes()),
            (14, &6080u16.to_be_bytes()),
            (99, b"nobody knows"),
        ],
    );
    let add = message(
        NEW_DEST,
        0,
        REQUEST,
        &[nest(SERVICE, &KEY), with_tunnel].concat(),
    );
    assert_eq!(errno(&answer(&add, &mut director)), 0);
    let listed = director.destinations(&key()).expect("it is there");
    assert_eq!(listed[0].settings.tunnel.port, 6080);
    let info = answer(&message(15, 77, REQUEST, &[]), &mut director);
    assert_eq!((info.len(), info[0].len()), (2, 36));
}

/// No stricter than the kernel by accident: what a director cannot do is for it to refuse, not for its decoder.
#[test]
fn what_the_kernel_lets_through_reaches_the_director() {
    let mut director = with_service();
    for (protocol, port) in [(6, 0), (47, 80), (132, 80)] {
        let add = message(NEW_SERVICE, 1, REQUEST, &service(protocol, port));
        assert_eq!(errno(&answer(&add, &mut director)), 0, "{protocol} {port}");
    }
    for (port, method, weight) in [(81, 3, 65536), (82, 7, 1), (83, 4, 0)] {
        let attributes = [nest(SERVICE, &KEY), destination(port, method, weight)].concat();
        let add = message(NEW_DEST, 1, REQUEST, &attributes);
        assert_eq!(
            errno(&answer(&add, &mut director)),
            0,
            "{port} {method} {weight}"
        );
    }
    let methods: Vec<_> = director
        .destinations(&key())
        .expect("it is there")
        .iter()
        .map(|listed| listed.settings.method)
        .collect();
    assert_eq!(
        methods,
        [
            ForwardingMethod::Bypass,
            ForwardingMethod::Other(7),
            ForwardingMethod::DirectRouting
        ]
    );
    let attributes = [nest(SERVICE, &KEY), destination(84, 3, u32::MAX)].concat();
    let negative = message(NEW_DEST, 1, REQUEST, &attributes);
    assert_eq!(
        errno(&answer(&negative, &mut director)),
        34,
        "a negative weight"
    );
}
