//! What was probably meant: the nearest of the words that there are.

/// Names of the kernel's schedulers, and that of none.
const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq", "ovf", "fo", "twos",
    "none",
];

/// The scheduler that was probably meant; `None` also for one that there is.
pub(crate) fn scheduler(name: &str) -> Option<&'static str> {
    let is_known = SCHEDULERS.contains(&name);
    nearest(name, SCHEDULERS.iter().copied()).filter(|_| !is_known)
}

/// The nearest to `word`, if it is so near that it may be a slip of the hand: one slip for each three letters.
pub(crate) fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |other: &&str| distance(word, other);
    let length = word.chars().count();
    let allowed = (length.max(2) / 3).max(1);
    // Each letter that one has more is a slip.
    let is_near = |other: &&str| other.chars().count().abs_diff(length) <= allowed;
    let found = among.into_iter().filter(is_near).min_by_key(slips)?;
    (slips(&found) <= allowed && found != word).then_some(found)
}

/// Letters to put in, leave out, change, or swap with their neighbours.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            let is_swap = i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b;
            if is_swap {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

/// An address as it was meant, where letters stand for the digits they look like, or a comma for a point.
pub(crate) fn digits(word: &str) -> Option<String> {
    let meant: String = word
        .chars()
        .map(|char| match char {
            'o' | 'O' => '0',
            'l' | 'I' => '1',
            ',' => '.',
            ';' => ':',
            other => other,
        })
        .collect();
    let is_address =
        meant.parse::<std::net::SocketAddr>().is_ok() || meant.parse::<std::net::IpAddr>().is_ok();
    (is_address && meant != word).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_seen_through() {
        let options = ["netmask", "numeric", "persistent", "scheduler"];
        assert_eq!(nearest("netmsk", options), Some("netmask"));
        assert_eq!(nearest("shceduler", options), Some("scheduler"));
        assert_eq!(nearest("presistent", options), Some("persistent"));
        assert_eq!(nearest("weight", options), None);
        assert_eq!(nearest("numeric", options), None, "that is no slip");
        assert_eq!(scheduler("wllc"), Some("wlc"));
        assert_eq!([scheduler("wlc"), scheduler("mine")], [None; 2]);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn slips_are_counted() {
        for (one, other, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("netmsk", "netmask", 1),
            ("\u{e9}t\u{e9}", "ete", 2),
        ] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
            assert_eq!(distance(other, one), slips, "{other} {one}");
        }
    }

    #[test]
    fn letters_that_look_like_digits_are_seen_through() {
        assert_eq!(
            digits("192.168.1.4O:80").as_deref(),
            Some("192.168.1.40:80")
        );
        assert_eq!(digits("l0.0,0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(digits("10.0.0.1:80"), None);
        assert_eq!(digits("www.example.com:80"), None);
    }
}
