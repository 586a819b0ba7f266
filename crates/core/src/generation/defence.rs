//! The defences against too many connections: `drop_entry`, `drop_packet`, `secure_tcp`, as far as they are in force.
//!
//! The director settles each second, from its modes and the memory available, what is in force, and writes it into one
//! word that packets read with the root word ([`state::DEFENCE`]). Source: observed on Linux 6.1.

use crate::env::{Tables, state};

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Defences {
    /// Connections are dropped at random by the sweep.
    pub drop_entry: bool,
    /// TCP states follow the secure table.
    pub secure_tcp: bool,
    /// Of so many packets that would open a connection one is dropped; 0: none.
    pub drop_rate: u32,
}

impl Defences {
    /// What is in force now.
    #[inline(always)]
    pub fn in_force<T: Tables>(tables: &T) -> Self {
        match tables.state(state::READ) {
            Some(line) => Self::decode(line[state::DEFENCE].peek()),
            None => Self::default(),
        }
    }

    /// As one word.
    #[must_use]
    pub fn encode(self) -> u64 {
        u64::from(self.drop_entry)
            | u64::from(self.secure_tcp) << 1
            | u64::from(self.drop_rate) << 32
    }

    /// From one word.
    #[inline(always)]
    #[must_use]
    pub fn decode(word: u64) -> Self {
        Self {
            drop_entry: word & 1 != 0,
            secure_tcp: word >> 1 & 1 != 0,
            drop_rate: (word >> 32) as u32,
        }
    }

    /// Whether `drop_packet` drops this packet, which found a service and would open a connection. Counts it: the first one
    /// after the defence begins is dropped, then every [`Self::drop_rate`]-th.
    ///
    /// CPUs that count at once may count as one, as in the kernel.
    #[inline(always)]
    pub fn drops<T: Tables>(self, tables: &T) -> bool {
        if self.drop_rate == 0 {
            return false;
        }
        let Some(line) = tables.state(state::DEFENCES) else {
            return false;
        };
        let left = (line[state::DROP_COUNTER].peek() as i64).wrapping_sub(1);
        let drops = left <= 0;
        let next = if drops {
            u64::from(self.drop_rate)
        } else {
            left as u64
        };
        line[state::DROP_COUNTER].poke(next);
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Memory;
    use std::string::String;

    #[test]
    fn the_first_packet_is_dropped_then_every_rate_th() {
        for (rate, want) in [(0, "PPPPPPP"), (1, "DDDDDDD"), (3, "DPPDPPD")] {
            let memory = memory();
            let defences = Defences {
                drop_rate: rate,
                ..Defences::default()
            };
            let seen: String = (0..7)
                .map(|_| if defences.drops(&memory) { 'D' } else { 'P' })
                .collect();
            assert_eq!(seen, want, "rate {rate}");
        }
    }

    #[test]
    fn what_is_published_is_in_force() {
        let memory = memory();
        assert_eq!(Defences::in_force(&memory), Defences::default());
        let defences = Defences {
            drop_entry: true,
            secure_tcp: true,
            drop_rate: 1024,
        };
        memory.state[state::READ as usize][state::DEFENCE].store(defences.encode());
        assert_eq!(Defences::in_force(&memory), defences);
    }

    fn memory() -> Memory {
        Memory::new(1, 1, 1, 1)
    }
}
