//! Laying out hash tables of lines: buckets are filled from their first slot on, a full one spills into the next, and no
//! key lies further from its first bucket than a look-up goes.

/// Lays `keys` out in `buckets` (a power of two) buckets of `slots` slots, none further than `probes` buckets from the
/// one that `first` says. `None`: it cannot be done with these buckets and this hash.
pub(super) fn lay_out<K: Copy>(
    keys: &[K],
    buckets: u32,
    slots: usize,
    probes: u32,
    first: impl Fn(K) -> u32,
) -> Option<Vec<Vec<K>>> {
    let mut table: Vec<Vec<K>> = (0..buckets).map(|_| Vec::new()).collect();
    for key in keys {
        let start = first(*key);
        let place = (0..probes.min(buckets))
            .map(|probe| (start.wrapping_add(probe) & (buckets - 1)) as usize)
            .find(|place| table[*place].len() < slots)?;
        table[place].push(*key);
    }
    Some(table)
}

/// Buckets for `keys` keys at half load: a power of two, at least 1.
pub(super) fn buckets_for(keys: usize, slots: usize) -> u32 {
    (keys as u32)
        .div_ceil((slots / 2).max(1) as u32)
        .max(1)
        .next_power_of_two()
}
