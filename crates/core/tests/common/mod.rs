//! A small world for tests: services and destinations written into plain memory, packets built byte by byte.
#![allow(dead_code, reason = "each test binary uses its own part")]

use lvsx_core::director::{Verdict, handle};
use lvsx_core::env::{PORTS, Route, state};
use lvsx_core::generation::{
    Concern, DestinationLine, Details, IcmpLimits, ROOT_LINES, RootLine, SERVICE_SLOTS,
    SchedulerKind, ServiceKey, ServiceLine, Settings, TIMEOUT_SCALE, TIMEOUT_UDP, TIMEOUTS, Table,
    filter_bucket, filter_word, live, service_bucket,
};
use lvsx_core::host::{Frame, Memory, World, raw4};
use lvsx_core::sched::wrr;
use lvsx_core::state::tcp;
use lvsx_core::tick::{Tick, TickRate};
use lvsx_platform::Word;

pub(crate) const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub(crate) const VIP: [u8; 4] = [192, 168, 1, 40];
pub(crate) const OWN: [u8; 4] = [192, 168, 1, 49];
pub(crate) const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x49];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x01];
pub(crate) const INTERFACE: u32 = 3;
pub(crate) const RATE: TickRate = TickRate { hz: 250, shift: 4 };

/// A destination to configure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) address: [u8; 4],
    pub(crate) port: u16,
    pub(crate) method: u8,
    pub(crate) weight: u32,
    pub(crate) upper: u32,
    /// It is in the trash: its address stays known, and nothing is scheduled to it.
    pub(crate) is_removed: bool,
}

pub(crate) fn server(last: u8, weight: u32) -> Server {
    Server {
        address: [192, 168, 1, last],
        port: 80,
        method: 0,
        weight,
        upper: 0,
        is_removed: false,
    }
}

/// Two servers of one forwarding method.
pub(crate) fn by(method: u8) -> [Server; 2] {
    [server(46, 1), server(47, 1)].map(|server| Server { method, ..server })
}

/// Whether it is on the director itself.
fn is_local(server: &Server) -> bool {
    server.address == OWN || server.address[0] == 127
}

/// The link-layer address of the host whose address ends in `last`.
pub(crate) fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

pub(crate) fn raw_mac(mac: [u8; 6]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    u64::from_ne_bytes(bytes)
}

/// A world with one service, TCP and UDP port 80 of the VIP, and these destinations in the order of their adding.
pub(crate) fn world(scheduler: SchedulerKind, servers: &[Server]) -> World {
    let mut world = World {
        memory: Memory::new(256, 64, 8, 64),
        now: Tick(1000),
        routes: vec![(
            raw4(CLIENT),
            Route::To {
                interface: INTERFACE,
                address: raw_mac(CLIENT_MAC),
            },
        )],
        routes6: Vec::new(),
        scratch: core::array::from_fn(|_| Word::new(0)),
    };
    let port = &world.memory.ports[(INTERFACE % PORTS) as usize];
    port[live::port::INTERFACE].store(u64::from(INTERFACE) | 1500 << 32);
    port[live::port::ADDRESS].store(raw_mac(DIRECTOR_MAC));
    // Programs are told no route to an address of this host.
    for server in servers.iter().filter(|server| !is_local(server)) {
        let hop = Route::To {
            interface: INTERFACE,
            address: raw_mac(mac(server.address[3])),
        };
        world.routes.push((raw4(server.address), hop));
    }
    configure(&world, scheduler, servers, 1);
    world
}

fn write(world: &World, line: u32, words: [u64; 8]) {
    for (word, value) in world.memory.config[line as usize].iter().zip(words) {
        word.store(value);
    }
}

/// Writes a generation and puts it in force. Destination ids count up in the order of adding; lists are newest first.
pub(crate) fn configure(world: &World, scheduler: SchedulerKind, servers: &[Server], number: u64) {
    let (max_weight, weight_step) = wrr::steps(servers.iter().map(|server| server.weight));
    // Two halves of the arena, by turns.
    let base = if number % 2 == 1 { 8 } else { 128 };
    let details = base + 2;
    let filter = base + ROOT_LINES;
    let (services, available, block) = (filter + 1, filter + 2, filter + 3);
    let head = ServiceLine {
        family: 2,
        protocol: 6,
        port: 80u16.to_be(),
        id: 1,
        mark: 0,
        flags: 0,
        address: [u64::from(raw4(VIP)), 0],
        scheduler,
        destinations: servers.iter().filter(|server| !server.is_removed).count() as u32,
        timeout: 0,
        netmask: u32::MAX,
        max_weight,
        weight_step,
        slot_lines: 0,
    };
    write(world, block, head.encode());
    let mut filter_words = [0; 8];
    filter_words[0] = filter_word(
        raw4(VIP),
        Concern {
            is_virtual: true,
            is_server: false,
            is_local: true,
        },
    );
    for (place, (id, server)) in servers.iter().enumerate().rev().enumerate() {
        let line = DestinationLine {
            id: id as u32,
            weight: server.weight,
            family: 2,
            method: server.method,
            port: server.port.to_be(),
            tunnel_type: 0,
            tunnel_flags: 0,
            tunnel_port: 0,
            address: [u64::from(raw4(server.address)), 0],
            last_weight: server.weight,
            upper: server.upper,
            lower: 0,
            service: 1,
        };
        write(world, block + 1 + place as u32, line.encode());
        let live_line = &world.memory.destinations[id];
        live_line[live::destination::PLACE].store(place as u64);
        live_line[live::destination::THRESHOLDS].store(u64::from(server.upper));
        let tunnel = &world.memory.tunnels[id];
        tunnel[live::tunnel::SHAPE].store(live::tunnel::PLAIN);
        tunnel[live::tunnel::SERVER].store(u64::from(raw4(server.address)));
        tunnel[live::tunnel::SOURCE].store(u64::from(raw4(OWN)));
        if id < 7 {
            filter_words[id + 1] = filter_word(
                raw4(server.address),
                Concern {
                    is_virtual: false,
                    is_server: server.method == 0,
                    is_local: is_local(server),
                },
            );
        }
    }
    if servers.len() < 7 && !servers.iter().any(is_local) {
        let local = Concern {
            is_local: true,
            ..Concern::default()
        };
        filter_words[servers.len() + 1] = filter_word(raw4(OWN), local);
    }
    assert_eq!(filter_bucket(raw4(VIP), 0, 0), 0);
    write(world, filter, filter_words);
    let mut slots = [0; 8];
    for (slot, protocol) in [6, 17].into_iter().enumerate() {
        let key = ServiceKey::ipv4(protocol, raw4(VIP), 80u16.to_be());
        assert_eq!(service_bucket(key, 0, 0), 0);
        assert!(slot < SERVICE_SLOTS);
        slots[slot * 2] = key.word();
        slots[slot * 2 + 1] = u64::from(block);
    }
    write(world, services, slots);
    let bits = servers.iter().enumerate().fold(0u64, |bits, (id, server)| {
        bits | u64::from(!server.is_removed) << id
    });
    write(world, available, [bits, 0, 0, 0, 0, 0, 0, 0]);
    let root = RootLine {
        filter: Table {
            base: filter,
            mask: 0,
        },
        services: Table {
            base: services,
            mask: 0,
        },
        available,
        available_lines: 1,
        settings: Settings::default(),
        seed: 0,
        timeouts: base + 1,
        trash: 0,
        services_count: 1,
        ..RootLine::default()
    };
    let mut timeouts = [0; TIMEOUTS];
    for (ticks, seconds) in timeouts.iter_mut().zip(tcp::TIMEOUTS) {
        *ticks = RATE.ticks(seconds);
    }
    timeouts[TIMEOUT_UDP] = RATE.ticks(tcp::UDP_TIMEOUT);
    timeouts[TIMEOUT_SCALE] = RATE.ticks(1 << 16);
    for (line, words) in root.encode(base, &timeouts).into_iter().enumerate() {
        write(world, base + line as u32, words);
    }
    let limits = Details {
        icmp: IcmpLimits {
            mask: 0,
            ..IcmpLimits::default()
        },
        ..Details::default()
    };
    for (line, words) in (details..).zip(limits.encode()) {
        write(world, line, words);
    }
    let state_line = &world.memory.state[state::READ as usize];
    state_line[state::EPOCH].store(1);
    state_line[state::ROOT].store(number << 32 | u64::from(base));
}

/// Changes the service of generation `number` where it lies.
pub(crate) fn reshape(world: &World, number: u64, change: impl FnOnce(&mut ServiceLine)) {
    let base = if number % 2 == 1 { 8 } else { 128 };
    let block = base + ROOT_LINES + 3;
    let mut service = ServiceLine::decode(&world.memory.config[block as usize]);
    change(&mut service);
    write(world, block, service.encode());
}

/// Changes the settings of generation `number` where it lies.
pub(crate) fn set(world: &World, number: u64, change: impl FnOnce(&mut Settings)) {
    let base = if number % 2 == 1 { 8 } else { 128 };
    let word = &world.memory.config[base][3];
    let mut settings = Settings::decode(word.load());
    change(&mut settings);
    word.store(settings.encode());
}

/// Lists the TCP ends of the first two destinations of generation `number`, as is done while `nat_icmp_send` is on.
pub(crate) fn list_servers(world: &World, number: u64, servers: &[Server]) {
    let base = if number % 2 == 1 { 8 } else { 128 };
    let (services, block) = (base + ROOT_LINES + 1, base + ROOT_LINES + 3);
    let line = &world.memory.config[services as usize];
    for (id, server) in servers.iter().enumerate().take(2) {
        let address = [u64::from(raw4(server.address)), 0];
        let key = ServiceKey::server(0, 2, 6, address, server.port.to_be());
        let place = (servers.len() - 1 - id) as u64;
        line[4 + id * 2].store(key.word());
        line[5 + id * 2].store(u64::from(block) + 1 + place);
    }
}

/// A packet to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    pub(crate) from: ([u8; 4], u16),
    pub(crate) to: ([u8; 4], u16),
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) payload: usize,
    pub(crate) checksum: bool,
    pub(crate) options: usize,
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x11;
pub(crate) const RST: u8 = 0x04;

/// A TCP packet of the client to the VIP.
pub(crate) fn to_vip(port: u16, flags: u8) -> Build {
    Build {
        from: (CLIENT, port),
        to: (VIP, 80),
        protocol: 6,
        flags,
        ttl: 64,
        tos: 0,
        payload: 10,
        checksum: true,
        options: 0,
    }
}

/// What a server answers to a packet that reached it.
pub(crate) fn reply(server: ([u8; 4], u16), port: u16, flags: u8) -> Build {
    Build {
        from: server,
        to: (CLIENT, port),
        ..to_vip(port, flags)
    }
}

/// Ones' complement checksum over bytes, in wire order, computed naively.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum that the transport header of an IPv4 packet should have, and the one it has.
pub(crate) fn transport_checksums(packet: &[u8]) -> (u16, u16) {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let protocol = packet[9];
    let mut segment = packet[header..total].to_vec();
    let at = if protocol == 6 { 16 } else { 6 };
    let found = u16::from_be_bytes([segment[at], segment[at + 1]]);
    segment[at..at + 2].fill(0);
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = [&packet[12..20], &[0, protocol], &length[..]].concat();
    let sum = checksum(&[&pseudo, &segment]);
    (
        if protocol == 17 && sum == 0 {
            0xffff
        } else {
            sum
        },
        found,
    )
}

impl Build {
    pub(crate) fn packet(&self) -> Vec<u8> {
        let header = 20 + self.options;
        let transport = if self.protocol == 6 { 20 } else { 8 };
        let total = header + transport + self.payload;
        let mut ip = vec![0u8; header];
        ip[0] = 0x40 | (header / 4) as u8;
        ip[1] = self.tos;
        ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&[0x12, 0x34]);
        ip[6] = 0x40;
        ip[8] = self.ttl;
        ip[9] = self.protocol;
        ip[12..16].copy_from_slice(&self.from.0);
        ip[16..20].copy_from_slice(&self.to.0);
        ip[20..].fill(1);
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut segment = vec![0u8; transport];
        segment[..2].copy_from_slice(&self.from.1.to_be_bytes());
        segment[2..4].copy_from_slice(&self.to.1.to_be_bytes());
        if self.protocol == 6 {
            segment[12] = 0x50;
            segment[13] = self.flags;
        } else {
            segment[4..6].copy_from_slice(&((transport + self.payload) as u16).to_be_bytes());
        }
        segment.extend((0..self.payload).map(|byte| byte as u8));
        let mut packet = [ip, segment].concat();
        if self.checksum {
            let (sum, _) = transport_checksums(&packet);
            let at = header + if self.protocol == 6 { 16 } else { 6 };
            packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    pub(crate) fn frame(&self) -> Frame {
        let source = if self.from.0 == CLIENT {
            CLIENT_MAC
        } else {
            mac(self.from.0[3])
        };
        let mut bytes = [&DIRECTOR_MAC[..], &source, &[8, 0]].concat();
        bytes.extend(self.packet());
        Frame {
            bytes,
            interface: INTERFACE,
        }
    }

    /// Runs it through the director.
    pub(crate) fn run(&self, world: &World) -> (Verdict, Vec<u8>) {
        let mut frame = self.frame();
        let verdict = handle(&mut frame, world);
        (verdict, frame.bytes)
    }
}

/// Address and port at an offset of a packet: 12 source, 16 destination.
pub(crate) fn address(frame: &[u8], at: usize) -> [u8; 4] {
    frame[14 + at..18 + at].try_into().unwrap()
}

/// A frame with an ICMP error about `quoted`, a packet from its IP header on.
pub(crate) fn icmp_error(
    from: [u8; 4],
    to: [u8; 4],
    kind: u8,
    code: u8,
    rest: u32,
    quoted: &[u8],
) -> Frame {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(quoted);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let carrier = Build {
        from: (from, 0),
        to: (to, 0),
        protocol: 1,
        ..to_vip(0, 0)
    };
    let mut frame = carrier.frame();
    frame.bytes.truncate(14 + 20);
    frame.bytes.extend(message);
    let total = (frame.bytes.len() - 14) as u16;
    frame.bytes[16..18].copy_from_slice(&total.to_be_bytes());
    frame.bytes[24..26].fill(0);
    let sum = checksum(&[&frame.bytes[14..34]]);
    frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Type and code of an ICMP message without IP options.
pub(crate) fn icmp(bytes: &[u8]) -> Option<(u8, u8)> {
    (bytes[23] == 1).then(|| (bytes[34], bytes[35]))
}
