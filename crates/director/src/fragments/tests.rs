//! Cutting and putting together against each other and against a naive model; whole ways through the director.

mod model;
mod ways;

use super::cut::{cut, finish};
use super::piece::{FRAGMENT, kind};
use super::reassembly::{Arrival, OVERHEAD, PARTS, ROOM, Reassembly};
use super::*;
use lvsx_core::packet::Packet;
use lvsx_core::wire::checksum::fold;
use lvsx_core::wire::{FIXED6, Header6, IPV4};
use proptest::prelude::*;

/// Bytes that differ from each other.
fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

/// A frame of IPv4 with so many bytes behind its header, which has these options.
fn frame4(identification: u16, options: &[u8], payload: &[u8]) -> Frame {
    let length = 20 + options.len();
    let total = (length + payload.len()) as u16;
    let mut bytes = vec![2; 12];
    bytes.extend([8, 0, 0x40 | (length / 4) as u8, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend(identification.to_be_bytes());
    bytes.extend([0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1]);
    bytes.extend(options);
    bytes.extend(payload);
    let mut frame = Frame {
        bytes,
        interface: 3,
    };
    super::reassembly::seal4(&mut frame, length).expect("a header");
    frame
}

/// A frame of IPv6, with an extension header that each fragment has.
fn frame6(payload: &[u8]) -> Frame {
    let mut bytes = vec![2; 12];
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 64]);
    bytes.extend([0xfd; 32]);
    bytes.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend(payload);
    Frame {
        bytes,
        interface: 3,
    }
}

fn is_sound4(frame: &Frame) -> bool {
    let length = u32::from(frame.bytes[ETHERNET] & 0xf) * 4;
    frame.sum(ETHERNET, length).map(u64::from).map(fold) == Some(0xffff)
}

proptest! {
    /// What is cut is what is put together, in any order, parts repeated.
    #[test]
    fn cut_and_put_together_is_as_before(
        payload in 1usize..6000,
        most in 68u32..2000,
        is_ipv6 in any::<bool>(),
        order in any::<u64>(),
    ) {
        let whole = if is_ipv6 { frame6(&data(payload)) } else { frame4(7, &[], &data(payload)) };
        let cut = cut(&whole, &Measure::of(most), 0x1234_5678).expect("there is room");
        for fragment in &cut {
            prop_assert!(fragment.len() <= most + ETHERNET as u32);
            prop_assert!(is_ipv6 || is_sound4(fragment));
        }
        if cut.len() == 1 {
            prop_assert_eq!(&cut[0], &whole);
            return Ok(());
        }
        let mut shuffled: Vec<&Frame> = cut.iter().collect();
        let mut seed = order;
        for at in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            shuffled.swap(at, (seed >> 33) as usize % (at + 1));
        }
        let (mut reassembly, now) = (Reassembly::default(), Instant::now());
        let (last, others) = shuffled.split_last().expect("two or more");
        for fragment in others {
            prop_assert_eq!(reassembly.take((*fragment).clone(), now), Arrival::Kept);
            let again = reassembly.take((*fragment).clone(), now);
            prop_assert_eq!(again, Arrival::GivenUp(Event::DropFragmentOverlap, 1));
        }
        let Arrival::Whole(joined) = reassembly.take((*last).clone(), now) else {
            return Err(TestCaseError::fail("not whole"));
        };
        prop_assert_eq!(&joined.frame, &whole);
        prop_assert_eq!(&joined.fragments, &cut);
        let longest = cut.iter().map(|it| it.len() - ETHERNET as u32).max();
        prop_assert_eq!(Some(joined.longest), longest);
        prop_assert_eq!(reassembly.bytes(), 0);
    }

    /// Nothing in a frame makes it panic, or keeps more than it says.
    #[test]
    fn any_bytes_are_taken(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        is_ipv6 in any::<bool>(),
        most in 0u32..200,
        start in 0u32..200,
        place in 0u32..200,
    ) {
        if bytes.len() > 15 {
            let [kind, version] = if is_ipv6 { [0x86, 0x60] } else { [8, 0x45] };
            bytes[12] = kind;
            bytes[13] = if is_ipv6 { 0xdd } else { 0 };
            bytes[14] = version;
        }
        if bytes.len() > 20 {
            let total = bytes.len() as u16 - if is_ipv6 { 54.min(bytes.len() as u16) } else { 14 };
            let at = if is_ipv6 { 18 } else { 16 };
            bytes[at..at + 2].copy_from_slice(&total.to_be_bytes());
            if is_ipv6 {
                bytes[20] = FRAGMENT;
            }
        }
        let mut frame = Frame { bytes, interface: 1 };
        let _ = cut(&frame, &Measure::of(most), 1);
        let mut reassembly = Reassembly::default();
        let _ = reassembly.take(frame.clone(), Instant::now());
        prop_assert!(reassembly.bytes() <= frame.bytes.len() + OVERHEAD);
        let _ = finish(&mut frame, Begun { start, place });
    }
}

#[test]
fn only_a_first_fragment_has_all_options() {
    // Loose source route (copied), record route (not copied), end.
    let options = [0x83, 3, 4, 7, 4, 4, 0, 0];
    let whole = frame4(7, &options, &data(100));
    let cut = cut(&whole, &Measure::of(76), 0).expect("there is room");
    let kept: Vec<&[u8]> = cut.iter().map(|it| &it.bytes[34..42]).collect();
    let later = [0x83, 3, 4, 1, 1, 1, 1, 0];
    assert_eq!(kept, [&options, &later, &later]);
    assert!(cut.iter().all(is_sound4));
}

#[test]
fn a_fragment_is_cut_further_and_keeps_its_place() {
    let mut middle = frame4(7, &[], &data(64));
    middle.bytes[20..22].copy_from_slice(&[0x60, 10]);
    let cut = cut(&middle, &Measure::of(60), 0).expect("there is room");
    let places: Vec<&[u8]> = cut.iter().map(|it| &it.bytes[20..22]).collect();
    assert_eq!(places, [[0x60, 10], [0x60, 15]]);
}

#[test]
fn ipv6_leaves_as_it_came_where_that_fits() {
    let whole = frame6(&data(1000));
    let lengths = |mtu, parts: &[u32]| {
        let cut = cut(&whole, &Measure::like(mtu, 500, parts), 1).expect("there is room");
        let headers = 14 + 40 + 8 + 8;
        cut.iter().map(|it| it.len() - headers).collect::<Vec<_>>()
    };
    assert_eq!(lengths(1500, &[400, 600]), [400, 600]);
    // The first one has the headers that were put in front.
    assert_eq!(lengths(1500, &[400, 560]), [440, 560]);
    assert_eq!(
        lengths(1500, &[400, 300, 260]),
        [1000],
        "torn in the middle"
    );
    assert_eq!(lengths(500, &[400, 600]), [440, 440, 120]);
}

#[test]
fn one_fragment_of_ipv6_is_a_whole_datagram_and_goes_back_as_one_fragment() {
    let whole = frame6(&data(100));
    let measure = Measure::like(1500, 170, &[100]);
    assert_eq!(cut(&whole, &measure, 7), Some(vec![whole.clone()]));
    let back = cut(&whole, &measure.never_whole(), 7).expect("there is room");
    let [atomic] = back.as_slice() else {
        panic!("{} frames", back.len());
    };
    assert_eq!(atomic.len(), whole.len() + 8);
    let Arrival::Whole(joined) = Reassembly::default().take(atomic.clone(), Instant::now()) else {
        panic!("not whole");
    };
    assert_eq!(joined.frame, whole);
    // What came in more goes back in more anyway.
    let parts = [400, 600];
    let measure = Measure::like(1500, 500, &parts);
    let lengths = |measure| cut(&frame6(&data(1000)), &measure, 7).map(|it| it.len());
    assert_eq!(lengths(measure), lengths(measure.never_whole()));
}

#[test]
fn where_eight_bytes_have_no_room_nothing_is_cut() {
    assert_eq!(cut(&frame4(7, &[], &data(100)), &Measure::of(27), 0), None);
    assert_eq!(cut(&frame6(&data(100)), &Measure::of(63), 0), None);
    assert!(cut(&frame6(&data(100)), &Measure::of(64), 0).is_some());
}

#[test]
fn a_begun_checksum_is_finished() {
    let mut frame = frame4(7, &[], &data(33));
    // The sum of a pseudo header.
    frame.bytes[40..42].copy_from_slice(&[0x12, 0x34]);
    let begun = Begun {
        start: 34,
        place: 40,
    };
    let before = frame.sum(34, 33).expect("in the frame");
    finish(&mut frame, begun).expect("in the frame");
    let written = u16::from_ne_bytes([frame.bytes[40], frame.bytes[41]]);
    assert_eq!(written, !fold(before.into()));
    let whole = frame.clone();
    finish(&mut frame, Begun::default()).expect("nothing to do");
    assert_eq!(frame, whole);
    let beyond = Begun {
        start: 90,
        place: 96,
    };
    assert_eq!(finish(&mut frame, beyond), None);
}

/// The fragments of one datagram of 40 bytes, in three.
fn three(identification: u16) -> Vec<Frame> {
    cut(&frame4(identification, &[], &data(40)), &Measure::of(36), 0).expect("there is room")
}

#[test]
fn what_is_never_completed_is_given_up_in_time() {
    let (mut reassembly, begin) = (Reassembly::default(), Instant::now());
    let six = cut(&frame6(&data(40)), &Measure::of(64), 9).expect("there is room");
    reassembly.take(three(1)[0].clone(), begin);
    reassembly.take(six[0].clone(), begin);
    let later = begin + Duration::from_secs(29);
    reassembly.take(three(2)[0].clone(), later);
    reassembly.take(three(2)[1].clone(), later);
    assert_eq!(reassembly.expire(later).fragments, 0);
    assert_eq!(
        reassembly.expire(begin + Duration::from_secs(30)).fragments,
        1
    );
    assert_eq!(
        reassembly.expire(begin + Duration::from_secs(59)).fragments,
        2
    );
    assert_eq!(
        reassembly.expire(begin + Duration::from_secs(60)).fragments,
        1
    );
    assert_eq!(reassembly.bytes(), 0);
    // A name is free again, and a new datagram has all its time.
    let again = begin + Duration::from_secs(61);
    assert_eq!(reassembly.take(three(1)[1].clone(), again), Arrival::Kept);
    assert_eq!(
        reassembly.expire(again + Duration::from_secs(29)).fragments,
        0
    );
}

#[test]
fn tiny_fragments_cost_bounded_memory() {
    let (mut reassembly, now) = (Reassembly::default(), Instant::now());
    let mut refused = 0;
    for identification in 0..u16::MAX {
        let arrival = reassembly.take(three(identification)[0].clone(), now);
        refused += u64::from(arrival == Arrival::GivenUp(Event::DropFragmentRoom, 1));
        assert!(reassembly.bytes() <= ROOM);
    }
    let kept = ROOM / (OVERHEAD + three(0)[0].bytes.len());
    assert_eq!(refused, u64::from(u16::MAX) - kept as u64);
    assert_eq!(
        reassembly.expire(now + Duration::from_secs(30)).fragments,
        kept as u64
    );
    assert_eq!(reassembly.bytes(), 0);
}

#[test]
fn a_datagram_has_a_thousand_parts_at_most() {
    let (mut reassembly, now) = (Reassembly::default(), Instant::now());
    let whole = frame4(7, &[], &data(8 * (PARTS + 2)));
    let cut = cut(&whole, &Measure::of(28), 0).expect("there is room");
    for fragment in &cut[..PARTS] {
        assert_eq!(reassembly.take(fragment.clone(), now), Arrival::Kept);
    }
    let all = PARTS as u64 + 1;
    let given_up = Arrival::GivenUp(Event::DropFragmentRoom, all);
    assert_eq!(reassembly.take(cut[PARTS].clone(), now), given_up);
    assert_eq!(reassembly.bytes(), 0);
}

#[test]
fn congestion_met_by_a_part_is_told_and_a_mixture_is_refused() {
    let joined = |ecn: [u8; 3]| {
        let (mut reassembly, now) = (Reassembly::default(), Instant::now());
        let fragments = three(1).into_iter().zip(ecn).map(|(mut fragment, ecn)| {
            fragment.bytes[15] |= ecn;
            fragment
        });
        match fragments.map(|it| reassembly.take(it, now)).last() {
            Some(Arrival::Whole(whole)) => {
                assert!(is_sound4(&whole.frame));
                Some(whole.frame.bytes[15] & 3)
            }
            _ => None,
        }
    };
    assert_eq!(joined([0, 0, 0]), Some(0));
    assert_eq!(joined([2, 2, 2]), Some(2));
    assert_eq!(joined([1, 2, 1]), Some(1));
    assert_eq!(joined([2, 3, 2]), Some(3));
    assert_eq!(joined([3, 3, 3]), Some(3));
    assert_eq!(joined([0, 0, 3]), None);
    assert_eq!(joined([0, 2, 0]), None);
}

#[test]
fn the_longest_fragment_decides_on_df() {
    let joined = |df: [bool; 2]| {
        let (mut reassembly, now) = (Reassembly::default(), Instant::now());
        let cut = cut(&frame4(1, &[], &data(40)), &Measure::of(44), 0).expect("there is room");
        let fragments = cut.into_iter().zip(df).map(|(mut fragment, df)| {
            fragment.bytes[20] |= u8::from(df) << 6;
            fragment
        });
        match fragments.map(|it| reassembly.take(it, now)).last() {
            Some(Arrival::Whole(whole)) => whole.frame.bytes[20],
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(joined([true, true]), 0x40);
    assert_eq!(joined([true, false]), 0x40);
    assert_eq!(joined([false, true]), 0);
}

#[test]
fn records_are_read() {
    let mut record: Vec<u8> = [1u32, 4, 3, 34 << 16 | 40]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    record.extend([9, 8, 7, 0, 0, 0]);
    let frame = Frame {
        bytes: vec![9, 8, 7],
        interface: 4,
    };
    let begun = Begun {
        start: 34,
        place: 40,
    };
    assert_eq!(Taken::of(&record), Some(Taken::Long(frame.clone(), begun)));
    record[0] = 0;
    assert_eq!(Taken::of(&record), Some(Taken::Fragment(frame.clone())));
    record[0] = 2;
    assert_eq!(Taken::of(&record), Some(Taken::Own(frame)));
    record[0] = 3;
    assert_eq!(Taken::of(&record), None);
    assert_eq!(Taken::of(&record[..15]), None);
    assert_eq!(Taken::of(&record[..18]), None);
}
