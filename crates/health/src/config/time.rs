//! Times as people write them.

use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// A time in the text of a configuration: a number and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// Longest time that is accepted: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `250ms`, `2s`, `1.5s`, `2m` or `1h`.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is no time: write a number and ms, s, m or h, as in \"2s\" or \"250ms\"")
    };
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic());
    let (number, unit) = text.split_at(unit.ok_or_else(wrong)?);
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number * scale) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) => Err(format!("`{text}` is longer than a day")),
        Err(_) => Err(wrong()),
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("2s", 2000),
            ("1.5 s", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["2", "", "s", "-1s", "2 weeks", "NaNs", "1e30s", "25h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
