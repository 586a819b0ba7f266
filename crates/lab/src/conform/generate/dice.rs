//! Chance that is the same under the same seed, on every machine and in every version.

/// A pseudo-random sequence (xorshift64*, seeded over FNV-1a and splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a name and a seed.
    #[must_use]
    pub fn new(name: &str, seed: u64) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in name.bytes().chain(seed.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((hash ^ hash >> 31) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from `low` up to, not including, `high`, which is larger.
    pub fn number(&mut self, low: u32, high: u32) -> u32 {
        low + ((self.next() >> 32) % u64::from(high - low)) as u32
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.number(0, 100) < percent
    }

    /// One of these.
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.number(0, of.len() as u32) as usize].clone()
    }

    /// `count` different ones of these, in any order.
    pub fn some<T: Clone>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut left = of.to_vec();
        let mut chosen = Vec::new();
        while chosen.len() < count && !left.is_empty() {
            chosen.push(left.swap_remove(self.number(0, left.len() as u32) as usize));
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_and_all_numbers_come() {
        let (mut one, mut two) = (Dice::new("nat", 1), Dice::new("nat", 1));
        let first: Vec<u32> = (0..1000).map(|_| one.number(3, 9)).collect();
        let second: Vec<u32> = (0..1000).map(|_| two.number(3, 9)).collect();
        assert_eq!(first, second);
        for number in 3..9 {
            let times = first.iter().filter(|found| **found == number).count();
            assert!((100..240).contains(&times), "{number}: {times} times");
        }
        let mut some = one.some(&[1, 2, 3, 4], 9);
        some.sort_unstable();
        assert_eq!(some, [1, 2, 3, 4]);
    }
}
