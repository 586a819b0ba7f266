//! Messages recorded from `ipvsadm` 1.31 and the IPVS of Linux 6.1 (little endian).
#![cfg(target_endian = "little")]

mod support {
    pub(crate) mod memory;
}

use lvsx_ipvs::{
    DestinationKey, DestinationSettings, Director, FlagChange, ForwardingMethod, Netmask, Request,
    ServiceFlags, ServiceKey, ServiceSettings, Tunnel, TunnelType, answer, answer_port,
};
use support::memory::MemoryDirector;

/// Type IPVS, flags REQUEST and ACK.
const REQUEST: u16 = 5;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut whole = (16 + payload.len() as u32).to_le_bytes().to_vec();
    whole.extend_from_slice(&kind.to_le_bytes());
    whole.extend_from_slice(&flags.to_le_bytes());
    whole.extend_from_slice(&7u32.to_le_bytes());
    whole.extend_from_slice(&0x1234u32.to_le_bytes());
    whole.extend_from_slice(payload);
    whole
}

fn ipvs(flags: u16, hex: &str) -> Vec<u8> {
    message(0x4950, flags, &bytes(hex))
}

fn head(datagram: &[u8]) -> (u32, u16, u16) {
    let word = |at: usize| u16::from_le_bytes([datagram[at], datagram[at + 1]]);
    (u32::from(word(0)), word(4), word(6))
}

/// `-A -t 10.0.0.2:443 -s wlc -p 360 -M 255.255.255.0`
const ADD: &str = "010100005400018006000100020000000600020006000000140003000a000002000000000000000000000000\
                   0600040001bb000008000600776c63000c00070001000000ffffffff080008006801000008000900ffffff00";

fn https() -> (ServiceKey, ServiceSettings) {
    let key = ServiceKey::Address {
        protocol: 6,
        addr: [10, 0, 0, 2].into(),
        port: 443,
    };
    let settings = ServiceSettings {
        scheduler: Some("wlc".into()),
        engine: None,
        flags: FlagChange::exactly(ServiceFlags::PERSISTENT),
        timeout: 360,
        netmask: Netmask::V4([255, 255, 255, 0].into()),
    };
    (key, settings)
}

#[test]
fn a_service_is_written_as_ipvsadm_writes_it() {
    let (key, settings) = https();
    assert_eq!(
        Request::NewService(key, settings).encode(0x4950, 7)[16..],
        bytes(ADD)
    );
}

#[test]
fn a_service_is_read_as_the_kernel_reads_it_and_acknowledged_in_36_bytes() {
    let mut director = MemoryDirector::new();
    let request = ipvs(REQUEST, ADD);
    let answers = answer(&request, &mut director);
    assert_eq!(answers.len(), 1);
    assert_eq!(head(&answers[0]), (36, 2, 0x100));
    assert_eq!(answers[0][16..20], [0; 4]);
    assert_eq!(answers[0][20..], request[..16]);
    let (key, settings) = https();
    let stored = director.service(&key).unwrap();
    assert_eq!(
        (stored.timeout, stored.netmask),
        (settings.timeout, settings.netmask)
    );
    assert_eq!(
        stored.flags,
        ServiceFlags::PERSISTENT.union(ServiceFlags::HASHED)
    );

    // Once more: the error is followed by the whole request.
    let answers = answer(&request, &mut director);
    assert_eq!(head(&answers[0]), (20 + request.len() as u32, 2, 0));
    assert_eq!(answers[0][16..20], (-17i32).to_le_bytes());
    assert_eq!(answers[0][20..], request);
}

/// `-a -t 10.0.0.1:80 -r 192.168.1.3:80 -i --tun-type gue --tun-port 6080 --tun-csum`
const DEST: &str = "6000028006000b000200000014000100c0a8010300000000000000000000000006000200005000000800030002\
                    000000080004000100000005000d000100000006000e0017c0000006000f0001000000080005000000000008000600\
                    00000000";

#[test]
fn a_destination_is_written_as_ipvsadm_writes_it() {
    let service = ServiceKey::Address {
        protocol: 6,
        addr: [10, 0, 0, 1].into(),
        port: 80,
    };
    let key = DestinationKey {
        addr: [192, 168, 1, 3].into(),
        port: 80,
    };
    let settings = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel {
            kind: TunnelType::Gue,
            port: 6080,
            flags: Tunnel::CHECKSUM,
        },
    };
    let whole = Request::NewDestination(service, key, settings).encode(0x4950, 7);
    assert!(whole.ends_with(&bytes(DEST)));
}

#[test]
fn an_ipv4_server_of_an_ipv6_service_keeps_no_leftover_bytes() {
    let mut director = MemoryDirector::new();
    let addr = "2001:db8::1".parse().unwrap();
    let service = ServiceKey::Address {
        protocol: 6,
        addr,
        port: 80,
    };
    let (_, settings) = https();
    director
        .new_service(
            &service,
            &ServiceSettings {
                netmask: Netmask::V6(128),
                ..settings
            },
        )
        .unwrap();
    let key = DestinationKey {
        addr: [192, 168, 1, 6].into(),
        port: 80,
    };
    let tunnel = DestinationSettings {
        method: ForwardingMethod::Tunnel,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    };
    let mut request = Request::NewDestination(service, key, tunnel).encode(0x4950, 1);
    let addr = request
        .windows(4)
        .position(|bytes| bytes == [192, 168, 1, 6])
        .unwrap();
    request[addr + 15] = 1;
    assert_eq!(head(&answer(&request, &mut director)[0]).0, 36);
    assert_eq!(director.destinations(&service).unwrap()[0].key, key);
}

#[test]
fn the_answer_with_the_timeouts() {
    let answers = answer(&ipvs(REQUEST, "0d010000"), &mut MemoryDirector::new());
    assert_eq!(answers.len(), 2);
    assert_eq!(head(&answers[0]), (44, 0x4950, 0));
    assert_eq!(
        answers[0][16..],
        bytes("0c010000 0800040084030000 0800050078000000 080006002c010000")
    );
    assert_eq!(head(&answers[1]), (36, 2, 0x100));
}

#[test]
fn without_the_ack_flag_there_is_only_the_answer() {
    let answers = answer(&ipvs(1, "0f010000"), &mut MemoryDirector::new());
    assert_eq!(
        answers
            .iter()
            .map(|datagram| head(datagram))
            .collect::<Vec<_>>(),
        [(36, 0x4950, 0)]
    );
    assert_eq!(
        answers[0][16..],
        bytes("0e010000 0800010001020100 0800020000100000")
    );
}

#[test]
fn listed_services_and_destinations_have_the_recorded_lengths() {
    let mut director = MemoryDirector::new();
    let (key, settings) = https();
    let mark = ServiceKey::Mark {
        family: key.family(),
        mark: 5,
    };
    director.new_service(&key, &settings).unwrap();
    director.new_service(&mark, &settings).unwrap();
    let server = DestinationKey {
        addr: [192, 168, 1, 3].into(),
        port: 80,
    };
    let nat = DestinationSettings {
        method: ForwardingMethod::Masquerade,
        weight: 65536,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    };
    director.new_destination(&key, &server, &nat).unwrap();
    let services = answer(&ipvs(0x305, "04010000"), &mut director);
    assert_eq!(services.len(), 2, "a dump is not acknowledged");
    assert_eq!(services[0].len(), 320 + 292);
    assert_eq!(
        (head(&services[0]), head(&services[1])),
        ((320, 0x4950, 2), (20, 3, 2))
    );
    let destinations = Request::Destinations(Some(key)).encode(0x4950, 9);
    assert_eq!(destinations.len(), 68);
    assert_eq!(
        head(&answer(&destinations, &mut director)[0]),
        (356, 0x4950, 2)
    );
    let marked = Request::Destinations(Some(mark)).encode(0x4950, 9);
    assert_eq!(marked.len(), 40);
    assert_eq!(answer(&marked, &mut director).len(), 1);
}

#[test]
fn odd_requests_are_answered_as_the_kernel_does() {
    let mut director = MemoryDirector::new();
    let mut errno = |datagram: Vec<u8>| {
        let answers = answer(&datagram, &mut director);
        assert_eq!(head(&answers[0]).1, 2);
        -i32::from_le_bytes(answers[0][16..20].try_into().unwrap())
    };
    assert_eq!(errno(ipvs(REQUEST, "00010000")), 95, "command 0");
    assert_eq!(errno(ipvs(REQUEST, "0e010000")), 95, "SET_INFO");
    assert_eq!(errno(ipvs(REQUEST, "12010000")), 95, "command 18");
    assert_eq!(errno(ipvs(REQUEST, "08010000")), 95, "GET_DEST, no dump");
    assert_eq!(errno(ipvs(0x305, "0f010000")), 95, "GET_INFO as a dump");
    assert_eq!(errno(ipvs(REQUEST, "01010000")), 22, "no service");
    assert_eq!(
        errno(ipvs(REQUEST, "01010000 04000100")),
        22,
        "an empty service"
    );
    assert_eq!(
        errno(ipvs(REQUEST, "0c010000 0500040001000000")),
        34,
        "a timeout of one byte"
    );
    assert_eq!(errno(message(0x4950, REQUEST, &[])), 22, "no command");
    assert_eq!(
        errno(message(0x4951, REQUEST, &[1; 4])),
        2,
        "another family"
    );
    assert_eq!(
        errno(ipvs(
            REQUEST,
            &ADD.replacen("06000100 0200", "", 1).replacen(
                "0600010002000000",
                "0600010001000000",
                1
            )
        )),
        97,
        "family 1"
    );
    assert_eq!(errno(ipvs(REQUEST, "10010000")), 0, "ZERO of all");
}

#[test]
fn several_messages_in_a_datagram_are_answered_in_order() {
    let mut director = MemoryDirector::new();
    let datagram = [
        ipvs(REQUEST, "0f010000"),
        message(0x4950, 0, &bytes("11010000")),
        ipvs(REQUEST, "11010000"),
        ipvs(0x305, "04010000"),
    ]
    .concat();
    let kinds: Vec<_> = answer(&datagram, &mut director)
        .iter()
        .map(|datagram| head(datagram).1)
        .collect();
    assert_eq!(kinds, [0x4950, 2, 2, 3]);
}

#[test]
fn the_family_lookup_is_answered_in_388_bytes() {
    let lookup = message(16, REQUEST, &bytes("03010000 09000200 49505653 00000000"));
    let answers = answer_port(&lookup, Some(77), &mut MemoryDirector::new());
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [388, 36]);
    assert_eq!(answers[0][12..16], 77u32.to_le_bytes());
    assert_eq!(
        answers[0][16..64],
        bytes(
            "01020000 0900020049505653 00000000 0600010050490000 0800030001000000 \
             0800040000000000 0800050006000000"
        )
    );
    let other = message(16, REQUEST, &bytes("03010000 09000200 4e505653 00000000"));
    let answers = answer(&other, &mut MemoryDirector::new());
    assert_eq!(answers[0][16..20], (-2i32).to_le_bytes());
}
