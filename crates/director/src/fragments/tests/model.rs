//! A datagram as a row of bytes that are there or not: what any sequence of fragments makes of it.

use super::*;

/// A datagram that is not complete.
#[derive(Default)]
struct Model {
    present: Vec<bool>,
    end: Option<usize>,
    parts: u64,
}

/// A fragment as the model sees it: place, length, whether more follow.
type Part = (usize, usize, bool);

impl Model {
    /// What becomes of the fragment: `None` for whole, else as an arrival. The model is empty again where that ends it.
    fn take(&mut self, (begin, length, more): Part, is_ipv6: bool) -> Option<Arrival> {
        let mut end = begin + length;
        let mut is_broken = false;
        if more && end % 8 != 0 {
            is_broken = is_ipv6;
            end -= end % 8;
        }
        let known = self.end.unwrap_or(usize::MAX);
        let last = self
            .present
            .iter()
            .rposition(|it| *it)
            .map_or(0, |at| at + 1);
        is_broken |= end <= begin || end > 65_535 || end > known;
        is_broken |= !more && (end < last || self.end.is_some_and(|known| known != end));
        if is_broken {
            return Some(self.give_up(Event::DropFragmentBroken));
        }
        self.present.resize(self.present.len().max(end), false);
        let there = self.present[begin..end].iter().filter(|it| **it).count();
        if there == end - begin {
            return Some(Arrival::GivenUp(Event::DropFragmentOverlap, 1));
        }
        if there > 0 {
            return Some(self.give_up(Event::DropFragmentOverlap));
        }
        self.present[begin..end].fill(true);
        self.parts += 1;
        if !more {
            self.end = Some(end);
        }
        let is_whole = self.end == Some(self.present.len()) && self.present.iter().all(|it| *it);
        if is_whole {
            *self = Self::default();
            return None;
        }
        Some(Arrival::Kept)
    }

    fn give_up(&mut self, why: Event) -> Arrival {
        let parts = std::mem::take(self).parts;
        Arrival::GivenUp(why, parts + 1)
    }
}

fn fragment4((begin, length, more): Part) -> Frame {
    let mut frame = frame4(7, &[], &data(length));
    let place = (begin / 8) as u16 | u16::from(more) << 13;
    frame.bytes[20..22].copy_from_slice(&place.to_be_bytes());
    frame
}

fn fragment6((begin, length, more): Part) -> Frame {
    let mut header = vec![17, 0];
    header.extend((begin as u16 | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0, 7]);
    header.extend(data(length));
    let mut frame = frame6(&header);
    frame.bytes[ETHERNET + FIXED6] = FRAGMENT;
    frame
}

proptest! {
    /// Any fragments of one name, overlapping, repeated, contradicting each other, at the end of the world.
    #[test]
    fn fragments_do_what_the_model_says(
        parts in proptest::collection::vec(
            (
                prop_oneof![8 => 0usize..12, 1 => 8180usize..8192],
                prop_oneof![8 => (1usize..5).prop_map(|units| units * 8), 2 => 0usize..40],
                prop::bool::weighted(0.7),
            ),
            1..60,
        ),
        is_ipv6 in any::<bool>(),
    ) {
        let (mut reassembly, now) = (Reassembly::default(), Instant::now());
        let mut model = Model::default();
        for (unit, length, more) in parts {
            let part = (unit * 8, length, more);
            if unit == 0 && !more {
                // A whole packet.
                continue;
            }
            let frame = if is_ipv6 { fragment6(part) } else { fragment4(part) };
            let bytes = frame.bytes.len();
            let (expected, arrival) = (model.take(part, is_ipv6), reassembly.take(frame, now));
            match (expected, arrival) {
                (None, Arrival::Whole(whole)) => {
                    prop_assert!(whole.frame.len() >= 34);
                    prop_assert_eq!(reassembly.bytes(), 0);
                }
                // A datagram may end beyond what a packet can be long.
                (None, Arrival::GivenUp(Event::DropFragmentBroken, _)) => {
                    prop_assert!(unit > 8000 || bytes > 60_000);
                }
                (Some(expected), arrival) => prop_assert_eq!(expected, arrival),
                (None, arrival) => prop_assert!(false, "{:?} for whole", arrival),
            }
            prop_assert!(model.parts > 0 || reassembly.bytes() == 0);
        }
    }
}

#[test]
fn what_the_model_takes_for_whole_can_be_read() {
    let (mut reassembly, now) = (Reassembly::default(), Instant::now());
    assert_eq!(
        reassembly.take(fragment6((8, 9, false)), now),
        Arrival::Kept
    );
    let Arrival::Whole(whole) = reassembly.take(fragment6((0, 8, true)), now) else {
        panic!("not whole");
    };
    let header = Header6::read(&whole.frame).expect("a whole packet");
    assert_eq!((header.protocol, header.fragment.present), (17, false));
    assert_eq!(header.payload(), 17);
    assert_eq!(kind(&fragment4((8, 9, false)).bytes), Some(IPV4));
}
