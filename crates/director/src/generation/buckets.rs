//! Laying out hash tables of lines: buckets are filled from their first slot on, a full one spills into the next, and no
//! key lies further from its first bucket than a look-up goes.

/// A table's buckets with their keys.
pub(super) struct Buckets<K> {
    keys: Vec<Option<K>>,
    slots: usize,
}

impl<K: Copy> Buckets<K> {
    /// The keys of each bucket, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = K>> {
        let buckets = self.keys.chunks_exact(self.slots);
        buckets.map(|bucket| bucket.iter().copied().flatten())
    }
}

/// Lays `keys` out in `buckets` (a power of two) buckets of `slots` slots, none further than `probes` buckets from the
/// one that `first` says. `None`: it cannot be done with these buckets and this hash.
pub(super) fn lay_out<K: Copy>(
    keys: &[K],
    buckets: u32,
    slots: usize,
    probes: u32,
    first: impl Fn(K) -> u32,
) -> Option<Buckets<K>> {
    let mut table = vec![None; buckets as usize * slots];
    for key in keys {
        let start = first(*key);
        let place = (0..probes.min(buckets))
            .map(|probe| (start.wrapping_add(probe) & (buckets - 1)) as usize * slots)
            .find_map(|bucket| (bucket..bucket + slots).find(|place| table[*place].is_none()))?;
        table[place] = Some(*key);
    }
    Some(Buckets { keys: table, slots })
}

/// Buckets for `keys` keys at half load: a power of two, at least 1.
pub(super) fn buckets_for(keys: usize, slots: usize) -> u32 {
    (keys as u32)
        .div_ceil((slots / 2).max(1) as u32)
        .max(1)
        .next_power_of_two()
}
