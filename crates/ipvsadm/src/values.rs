//! Values of options, read as the C library reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lvsx_ipvs::ServiceFlags;

use crate::names;

/// What the C library passes over before a number.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

/// A decimal number as `strtol` takes it, with blanks and a sign before it but nothing behind.
pub(crate) fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let text = text.trim_start_matches(BLANKS);
    text.parse().ok().filter(|number| range.contains(number))
}

/// The number that a text begins with as `atoi` takes it: 0 without one, the low 32 bits of one that is too large.
pub(crate) fn leading_number(text: &str) -> i32 {
    let text = text.trim_start_matches(BLANKS);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit);
    let number = digits.fold(0i64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    let number = if text.starts_with('-') {
        -number
    } else {
        number
    };
    number as i32
}

/// An IPv4 address as `inet_aton` takes it: one to four numbers, decimal, octal or hexadecimal,
/// the last of which fills the bytes that are left. What stands behind a blank does not count.
pub(crate) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(|byte: char| byte.is_ascii_whitespace()).next()?;
    let parts: Vec<u64> = text.split('.').map(part).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let free = 32 - 8 * leading.len() as u32;
    if last >> free != 0 {
        return None;
    }
    let high = leading.iter().fold(0, |sum, part| sum << 8 | part);
    let whole = high << free | last;
    Some(Ipv4Addr::from(whole as u32))
}

fn part(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let all_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|_| all_digits)
}

/// An address and perhaps a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
}

/// `host[:port]`, `[IPv6]:port`, or a bare IPv6 address. A word of digits alone is no host.
pub(crate) fn endpoint(text: &str, protocol: u16) -> Option<Endpoint> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, mut port) = match text.strip_prefix('[') {
        None => (text, None),
        Some(bracketed) => {
            let (host, behind) = bracketed.split_once(']')?;
            (host, Some(behind.strip_prefix(':')?))
        }
    };
    let addr = if let Ok(addr) = host.parse::<Ipv6Addr>() {
        IpAddr::V6(addr)
    } else {
        // What stood behind brackets around anything else is forgotten, as ipvsadm does.
        let (host, behind) = match host.rsplit_once(':') {
            Some((host, behind)) => (host, Some(behind)),
            None => (host, None),
        };
        port = behind;
        IpAddr::V4(ipv4(host).or_else(|| names::host_address(host))?)
    };
    let port = match port {
        None => None,
        Some(text) => Some(match number(text, 0..=65535) {
            Some(port) => port as u16,
            None => names::service_port(text, protocol)?,
        }),
    };
    Some(Endpoint { addr, port })
}

/// Why flags of a scheduler are refused: the text.
type FlagError = String;

/// Flags by their names, which depend on the scheduler; empty ones are passed over.
pub(crate) fn scheduler_flags(scheduler: &str, text: &str) -> Result<ServiceFlags, FlagError> {
    let mut flags = ServiceFlags::default();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let (flag, of) = match name {
            "flag-1" => (ServiceFlags::SCHEDULER_1, None),
            "flag-2" => (ServiceFlags::SCHEDULER_2, None),
            "flag-3" => (ServiceFlags::SCHEDULER_3, None),
            "sh-fallback" => (ServiceFlags::SCHEDULER_1, Some("sh")),
            "sh-port" => (ServiceFlags::SCHEDULER_2, Some("sh")),
            "mh-fallback" => (ServiceFlags::SCHEDULER_1, Some("mh")),
            "mh-port" => (ServiceFlags::SCHEDULER_2, Some("mh")),
            _ => return Err(format!("invalid scheduler flag `{name}'")),
        };
        if of.is_some_and(|of| of != scheduler) {
            return Err(format!("incompatible scheduler flag `{name}'"));
        }
        flags = flags.union(flag);
    }
    Ok(flags)
}

/// The names of a scheduler's flags, separated by commas; empty without any.
pub(crate) fn scheduler_flag_names(scheduler: Option<&str>, flags: ServiceFlags) -> String {
    let names: &[(ServiceFlags, &str)] = match scheduler {
        Some("sh") => &[
            (ServiceFlags::SCHEDULER_1, "sh-fallback"),
            (ServiceFlags::SCHEDULER_2, "sh-port"),
        ],
        Some("mh") => &[
            (ServiceFlags::SCHEDULER_1, "mh-fallback"),
            (ServiceFlags::SCHEDULER_2, "mh-port"),
        ],
        _ => &[
            (ServiceFlags::SCHEDULER_1, "flag-1"),
            (ServiceFlags::SCHEDULER_2, "flag-2"),
            (ServiceFlags::SCHEDULER_3, "flag-3"),
        ],
    };
    let set = names
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_as_strtol_takes_them() {
        assert_eq!(number(" +5", 0..=9), Some(5));
        assert_eq!(number("010", 0..=99), Some(10));
        for text in ["", " ", "5x", "0x5", "5 ", "+-5", "99999999999999999999"] {
            assert_eq!(number(text, i64::MIN..=i64::MAX), None, "{text:?}");
        }
    }

    #[test]
    fn leading_numbers_as_atoi_takes_them() {
        let cases = [
            ("64", 64),
            (" +1", 1),
            ("-5x", -5),
            ("", 0),
            ("x", 0),
            ("4294967297", 1),
            ("+-1", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(leading_number(text), expected, "{text:?}");
        }
        assert_eq!(leading_number("99999999999999999999"), i64::MAX as i32);
    }

    #[test]
    fn ipv4_as_inet_aton_takes_it() {
        let parsed = |text| ipv4(text).map(|addr| addr.to_string());
        assert_eq!(parsed("10.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(parsed("0x0a000001").as_deref(), Some("10.0.0.1"));
        assert_eq!(parsed("010.0.0.1 junk").as_deref(), Some("8.0.0.1"));
        assert_eq!(parsed("1234").as_deref(), Some("0.0.4.210"));
        for text in [
            "",
            "1.2.3.256",
            "256.1",
            "1.2.3.4.5",
            "08.1.1.1",
            "1..2",
            "+1.2.3.4",
            "0x",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn endpoints() {
        let parsed = |text| endpoint(text, 6).map(|found| (found.addr.to_string(), found.port));
        assert_eq!(parsed("10.0.0.1:80"), Some(("10.0.0.1".into(), Some(80))));
        assert_eq!(parsed("[::1]:80"), Some(("::1".into(), Some(80))));
        assert_eq!(parsed("2001:db8::1"), Some(("2001:db8::1".into(), None)));
        assert_eq!(parsed("[10.0.0.1]:80"), Some(("10.0.0.1".into(), None)));
        for text in [
            "1234",
            "[::1]",
            "[::1",
            "[::1]80",
            "10.0.0.1:",
            "10.0.0.1:65536",
            ":80",
            "",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_none(text: String) {
            let _ = number(&text, 0..=9);
            let _ = ipv4(&text);
            let _ = scheduler_flags("sh", &text);
        }

        #[test]
        fn every_address_reads_back(addr: Ipv4Addr, wide: Ipv6Addr, port: u16) {
            prop_assert_eq!(ipv4(&addr.to_string()), Some(addr));
            let text = names::endpoint(wide.into(), port, 6, true);
            prop_assert_eq!(endpoint(&text, 6), Some(Endpoint { addr: wide.into(), port: Some(port) }));
        }
    }
}
