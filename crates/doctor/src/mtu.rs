//! The longest packet that really passes, found by echo requests that must not be fragmented.

use std::net::IpAddr;
use std::time::Duration;

use crate::Result;
use crate::segment::{Segment, failed};
use crate::wire::{Mac, Said, frame};

/// How long an echo is awaited; asked twice.
const TIME: Duration = Duration::from_millis(120);
/// What every host must take: RFC 791, RFC 8200.
fn least(to: IpAddr) -> usize {
    if to.is_ipv6() { 1280 } else { 576 }
}

/// Where packets to a machine of up to `full` bytes are lost without a word: the longest that pass.
/// `None` where all pass, or where the machine answers no echo at all.
///
/// # Errors
/// When packets cannot be sent or heard.
pub(crate) fn limit(segment: &Segment, to: IpAddr, mac: Mac, full: usize) -> Result<Option<usize>> {
    let passes = |length| passes(segment, to, mac, length);
    let least = least(to);
    if full <= least || passes(full)? || !passes(least)? {
        return Ok(None);
    }
    let (mut short, mut long) = (least, full);
    while long - short > 1 {
        let middle = (short + long) / 2;
        if passes(middle)? {
            short = middle;
        } else {
            long = middle;
        }
    }
    Ok(Some(short))
}

fn passes(segment: &Segment, to: IpAddr, mac: Mac, length: usize) -> Result<bool> {
    let Some(own) = segment.own_towards(to) else {
        return Ok(false);
    };
    let wire = &segment.wire;
    let number = length as u16;
    let Some(packet) = frame::echo(own, to, number, length) else {
        return Ok(false);
    };
    let question = frame::ip_frame(wire.card.mac, mac, &packet);
    for _ in 0..2 {
        wire.send(&question).map_err(failed(&wire.card))?;
        let answered = wire.hear(TIME, |heard| heard.said == Said::Echo(to, own, number));
        if answered.map_err(failed(&wire.card))? {
            return Ok(true);
        }
    }
    Ok(false)
}
