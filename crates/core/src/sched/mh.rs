//! `mh`, Maglev hashing: the client's address decides, with `mh-port` its port, too; a change of the destinations moves few
//! clients to another.
//!
//! Each destination claims slots of a table of prime size in an order of its own, in turns that go by its latest weight that
//! was not 0: quiescing moves no slot. Source: Eisenbud et al., "Maglev", NSDI 2016, section 3.4, for the idea; the hash, its
//! keys and the turns are those of Linux 6.1 on 64-bit machines, observed.

use super::{FALLBACK, HEEDS_PORT, Request, Service};
use crate::env::Tables;

/// Number of slots: the kernel's default, the prime below 2^12.
pub const SLOTS: usize = 4093;
const MODULUS: u32 = SLOTS as u32;
/// Turns a round have at most this many bits: half of the table's.
const TURN_BITS: u32 = 6;

/// Key of a destination's first slot, and of clients' slots.
const OFFSET_KEY: u64 = 2_654_435_761;
/// Key of a destination's step between slots.
const SKIP_KEY: u64 = 2_654_446_892;

/// A destination that claims slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    position: u32,
    skip: u32,
    weight: u32,
}

impl Claimant {
    /// The destination at this folded address and port (host order), with its latest weight that was not 0.
    #[must_use]
    pub fn new(address: u32, port: u16, last_weight: u32) -> Self {
        let key = address.wrapping_add(u32::from(port));
        Self {
            position: hash(OFFSET_KEY, key) % MODULUS,
            skip: hash(SKIP_KEY, key) % (MODULUS - 1) + 1,
            weight: last_weight,
        }
    }

    /// The next slot that is free, in its own order. There is one.
    fn claim(&mut self, slots: &[Option<u16>; SLOTS]) -> usize {
        while slots[self.position as usize].is_some() {
            self.position = (self.position + self.skip) % MODULUS;
        }
        self.position as usize
    }
}

/// Fills the table: the place in the list of each slot's owner; `claimants` are in list order. No slot is owned when no weight
/// is positive.
///
/// Of more than [`SLOTS`] destinations those added last own nothing; the kernel leaves its table as it was before them.
/// Cost: some 40,000 steps and two hashes a destination.
pub fn fill(claimants: &mut [Claimant], slots: &mut [Option<u16>; SLOTS]) {
    slots.fill(None);
    let newest = claimants.len().saturating_sub(SLOTS);
    let claimants = &mut claimants[newest..];
    let Some((divisor, shift)) = turns(claimants) else {
        return;
    };
    let mut free = SLOTS;
    while free > 0 {
        for (place, claimant) in claimants.iter_mut().enumerate() {
            if claimant.weight == 0 {
                continue;
            }
            let turns = ((claimant.weight / divisor) >> shift).max(1) as usize;
            for _ in 0..turns.min(free) {
                let slot = claimant.claim(slots);
                slots[slot] = u16::try_from(newest + place).ok();
                free -= 1;
            }
        }
    }
}

/// What weights are divided by, and the shift to the right that brings the greatest into [`TURN_BITS`]. `None`: all are 0.
fn turns(claimants: &[Claimant]) -> Option<(u32, u32)> {
    let weights = claimants.iter().map(|claimant| claimant.weight);
    let divisor = weights.clone().fold(0, super::wrr::gcd);
    let most = weights.max()?.checked_div(divisor)?;
    Some((
        divisor,
        (32 - most.leading_zeros()).saturating_sub(TURN_BITS),
    ))
}

/// Place of the destination that owns the client's slot or, with `mh-fallback`, that of another slot hashed anew until one
/// is of use. `None`: none is.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &Service, request: &Request) -> Option<u32> {
    let key = request.client_key(service.flags & HEEDS_PORT != 0);
    let slot = slot_of(key);
    let owner = service.slot(tables, slot)?;
    let picked = service.usable(tables, owner);
    if picked.is_some() || service.flags & FALLBACK == 0 {
        return picked;
    }
    let mut found = service.count;
    tables.scan(MODULUS, |step| {
        let salt = slot.wrapping_add(step) % MODULUS;
        let Some(owner) = service.slot(tables, slot_of(key.wrapping_add(salt))) else {
            return false;
        };
        match service.usable(tables, owner) {
            Some(place) => {
                found = place;
                false
            }
            None => true,
        }
    });
    if found == service.count {
        None
    } else {
        Some(found)
    }
}

#[inline(always)]
fn slot_of(key: u32) -> u32 {
    hash(OFFSET_KEY, key) % MODULUS
}

/// SipHash-1-3 over the four bytes of `x`, least first, under a key of twice `key`; the lower half (Aumasson and Bernstein,
/// "SipHash: a fast short-input PRF", 2012).
#[inline(always)]
fn hash(key: u64, x: u32) -> u32 {
    let block = 4 << 56 | u64::from(x);
    let mut v = [
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573,
    ];
    v[3] ^= block;
    round(&mut v);
    v[0] ^= block;
    v[2] ^= 0xff;
    round(&mut v);
    round(&mut v);
    round(&mut v);
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests;
