//! Statistics, twice in every answer: with 32-bit packets and rates for old clients, and whole.

use crate::attr::{Shape, Table, Writer};
use crate::model::Stats;

const CONNS: u16 = 1;
const INPKTS: u16 = 2;
const OUTPKTS: u16 = 3;
const INBYTES: u16 = 4;
const OUTBYTES: u16 = 5;
const CPS: u16 = 6;
const INPPS: u16 = 7;
const OUTPPS: u16 = 8;
const INBPS: u16 = 9;
const OUTBPS: u16 = 10;

const SHAPES: &[(u16, Shape)] = &[
    (CONNS, Shape::U32),
    (INPKTS, Shape::U32),
    (OUTPKTS, Shape::U32),
    (INBYTES, Shape::U32),
    (OUTBYTES, Shape::U32),
    (CPS, Shape::U32),
    (INPPS, Shape::U32),
    (OUTPPS, Shape::U32),
    (INBPS, Shape::U32),
    (OUTBPS, Shape::U32),
];

/// Both nests are written next to each other: `narrow` the first, `wide` the second.
pub(crate) fn write(writer: &mut Writer<'_>, narrow: u16, wide: u16, stats: &Stats) {
    let values = [
        (CONNS, stats.connections),
        (INPKTS, stats.in_packets),
        (OUTPKTS, stats.out_packets),
        (INBYTES, stats.in_bytes),
        (OUTBYTES, stats.out_bytes),
        (CPS, stats.connection_rate),
        (INPPS, stats.in_packet_rate),
        (OUTPPS, stats.out_packet_rate),
        (INBPS, stats.in_byte_rate),
        (OUTBPS, stats.out_byte_rate),
    ];
    writer.nest(narrow, |nest| {
        for (kind, value) in values {
            match kind {
                INBYTES | OUTBYTES => nest.u64(kind, value),
                // Truncated, as the kernel does; whoever needs all bits reads the other nest.
                _ => nest.u32(kind, value as u32),
            };
        }
    });
    writer.nest(wide, |nest| {
        for (kind, value) in values {
            nest.u64(kind, value);
        }
    });
}

/// Reads the wide nest, else the narrow one; what is missing counts as 0.
pub(crate) fn read(table: &Table<'_>, narrow: u16, wide: u16) -> Stats {
    let Some(nest) = table.bytes(wide).or_else(|| table.bytes(narrow)) else {
        return Stats::default();
    };
    let Ok(table) = Table::parse(nest, SHAPES) else {
        return Stats::default();
    };
    let value = |kind| table.wide(kind).unwrap_or(0);
    Stats {
        connections: value(CONNS),
        in_packets: value(INPKTS),
        out_packets: value(OUTPKTS),
        in_bytes: value(INBYTES),
        out_bytes: value(OUTBYTES),
        connection_rate: value(CPS),
        in_packet_rate: value(INPPS),
        out_packet_rate: value(OUTPPS),
        in_byte_rate: value(INBPS),
        out_byte_rate: value(OUTBPS),
    }
}
