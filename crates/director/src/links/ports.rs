//! Interfaces as the data plane knows them: a line each, at its index modulo the table or at one of the next places.

use super::facts::{Facts, Interface, InterfaceKind};
use crate::tables::Tables;
use lvsx_core::env::{PORT_PROBES, PORTS};
use lvsx_core::generation::live::port::{HOLDS_BACK, LOOPBACK};
use lvsx_platform::Line;
use std::collections::BTreeMap;

/// Makes the ports those of `facts`: a known interface keeps its place, a gone one leaves it. Whether anything changed, so
/// that next hops must be looked up again.
pub fn update(tables: &Tables, facts: &Facts) -> bool {
    let mut is_changed = false;
    let wanted: BTreeMap<u32, &Interface> = facts
        .interfaces
        .iter()
        .filter(|(_, it)| it.kind != InterfaceKind::Other)
        .map(|(index, it)| (*index, it))
        .collect();
    for line in tables.ports.iter() {
        let index = line[0].peek() as u32;
        if index != 0 && !wanted.contains_key(&index) {
            line.iter().for_each(|word| word.store(0));
            is_changed = true;
        }
    }
    for (index, interface) in wanted {
        match place(tables, index) {
            Some(line) => is_changed |= write(line, index, interface),
            None => tracing::warn!(
                "{}: no place among the {PORTS} interfaces that the data plane knows; packets cannot leave by it",
                interface.name
            ),
        }
    }
    is_changed
}

/// The number of interface `index`, if it has a place.
#[must_use]
pub fn number(tables: &Tables, index: u32) -> Option<u32> {
    let numbers = (0..PORT_PROBES).map(|probe| index.wrapping_add(probe) % PORTS);
    numbers
        .into_iter()
        .find(|number| tables.ports[*number as usize][0].peek() as u32 == index)
}

/// The line of interface `index`, or a free one for it.
fn place(tables: &Tables, index: u32) -> Option<&Line> {
    let places = || {
        (0..PORT_PROBES).map(|probe| &tables.ports[(index.wrapping_add(probe) % PORTS) as usize])
    };
    let is_index = |line: &&Line, wanted: u32| line[0].peek() as u32 == wanted;
    places()
        .find(|line| is_index(line, index))
        .or_else(|| places().find(|line| is_index(line, 0)))
}

/// Whether the line said something else before.
fn write(line: &Line, index: u32, interface: &Interface) -> bool {
    let flags = match interface.kind {
        InterfaceKind::Loopback => LOOPBACK,
        InterfaceKind::Veth => HOLDS_BACK,
        _ => 0,
    };
    let words = [
        u64::from(index) | u64::from(interface.mtu) << 32,
        interface.address,
        flags,
    ];
    if line
        .iter()
        .zip(words)
        .all(|(word, value)| word.peek() == value)
    {
        return false;
    }
    // The first word says that the line is in use, so it comes last.
    for (word, value) in line.iter().zip(words).rev() {
        word.store(value);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Capacity;

    fn facts(indices: &[u32]) -> Facts {
        let interface = |index: u32| Interface {
            name: format!("eth{index}"),
            address: u64::from(index),
            mtu: 1500,
            kind: InterfaceKind::Ethernet,
            is_up: true,
            master: 0,
            has_xdp: false,
        };
        Facts {
            interfaces: indices
                .iter()
                .map(|index| (*index, interface(*index)))
                .collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn interfaces_find_their_places_and_leave_them() {
        let tables = Tables::plain(Capacity {
            config: 2,
            ..Capacity::rated(8, 0, 1)
        });
        let at = |number: usize| tables.ports[number][0].peek() as u32;
        assert!(update(&tables, &facts(&[2, 258, 514])));
        assert_eq!([at(2), at(3), at(4)], [2, 258, 514]);
        assert!(!update(&tables, &facts(&[2, 258, 514])));
        assert!(update(&tables, &facts(&[258])));
        assert_eq!([at(2), at(3), at(4)], [0, 258, 0]);
    }

    #[test]
    fn a_changed_mtu_is_told() {
        let tables = Tables::plain(Capacity {
            config: 2,
            ..Capacity::rated(8, 0, 1)
        });
        let mut facts = facts(&[9]);
        update(&tables, &facts);
        facts.interfaces.get_mut(&9).expect("it is there").mtu = 9000;
        assert!(update(&tables, &facts));
        assert_eq!(tables.ports[9][0].peek() >> 32, 9000);
    }
}
