//! What an agent says: HAProxy's agent-check protocol, and a second line of ours.
//!
//! ```text
//! reply = *( word SEP ) [ "#" text ] EOL      SEP = 1*( SP / TAB / "," )      EOL = CR / LF     words in any order and case
//! word  = 1*DIGIT "%" / "maxconn:" 1*DIGIT / "ready" / "drain" / "maint" / "up" / "down" / "fail" / "stopped"
//! ```
//!
//! Source: HAProxy 2.6, `agent-check` in its configuration manual, and its behaviour. A reply without an end of line counts for
//! nothing, an unknown word only for itself; what is not named does not change; bytes behind the first line are ignored. Who began
//! its question with `lvs1` gets a second line, `lvs1 load=0.41 cpu=0.31 ...`, numbers by name.

/// What the operator of a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// To serve.
    Ready,
    /// To get no new clients.
    Drain,
    /// To be left alone.
    Maint,
}

/// What a server says of its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It does not, and shall be seen as failed.
    Fail,
    /// It does not, because it was stopped.
    Stopped,
}

/// A first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Percent of the configured weight.
    pub percent: Option<u32>,
    /// Connections that it wants at most.
    pub maxconn: Option<u32>,
    /// What its operator says.
    pub admin: Option<Admin>,
    /// What it says of its health.
    pub health: Option<Health>,
    /// The text behind `#`.
    pub reason: Option<String>,
    /// The first word that is none.
    pub unknown: Option<String>,
}

/// Reads a first line. `None`: it has no end, and counts for nothing.
#[must_use]
pub fn parse(answer: &[u8]) -> Option<Reply> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let end = answer.iter().position(is_end)?;
    let line = String::from_utf8_lossy(answer.get(..end)?);
    let (words, reason) = match line.split_once('#') {
        Some((words, reason)) => (words, Some(printable(reason.trim()))),
        None => (&*line, None),
    };
    let mut reply = Reply {
        reason: reason.filter(|reason| !reason.is_empty()),
        ..Reply::default()
    };
    for word in words
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
    {
        reply.take(&word.to_ascii_lowercase());
    }
    Some(reply)
}

impl Reply {
    fn take(&mut self, word: &str) {
        let percent = word.strip_suffix('%').and_then(number);
        let maxconn = word.strip_prefix("maxconn:").and_then(number);
        match word {
            _ if percent.is_some() => self.percent = percent,
            _ if maxconn.is_some() => self.maxconn = maxconn,
            "ready" => self.admin = Some(Admin::Ready),
            "drain" => self.admin = Some(Admin::Drain),
            "maint" => self.admin = Some(Admin::Maint),
            "up" => self.health = Some(Health::Up),
            "down" => self.health = Some(Health::Down),
            "fail" => self.health = Some(Health::Fail),
            "stopped" => self.health = Some(Health::Stopped),
            _ => drop(self.unknown.get_or_insert_with(|| printable(word))),
        }
    }
}

/// Digits and nothing else. What is too large is as large as can be.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// Foreign text, as it may stand in a log.
fn printable(text: &str) -> String {
    let letters = text
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter });
    letters.take(80).collect()
}

/// The load in the second line, 0 to 1.
#[must_use]
pub fn load(answer: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(answer);
    let mut lines = text
        .split(['\r', '\n'])
        .skip(1)
        .filter(|line| !line.is_empty());
    let line = lines.next().filter(|_| text.ends_with(['\r', '\n']))?;
    let fields = line.strip_prefix("lvs1 ")?;
    let load = fields
        .split(' ')
        .find_map(|field| field.strip_prefix("load="))?;
    let load: f64 = load.parse().ok()?;
    (0.0..=1.0).contains(&load).then_some(load)
}

/// What an agent has said so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Percent of the configured weight.
    pub percent: u32,
    /// What its operator says.
    pub admin: Admin,
    /// What it says of its health.
    pub health: Health,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            percent: 100,
            admin: Admin::Ready,
            health: Health::Up,
        }
    }
}

/// The largest weight that percents make of a smaller one (HAProxy's).
const LARGEST: f64 = 256.0;

impl Said {
    /// Takes a reply in: what it does not name stays.
    pub fn take(&mut self, reply: &Reply) {
        self.percent = reply.percent.unwrap_or(self.percent);
        self.admin = reply.admin.unwrap_or(self.admin);
        self.health = reply.health.unwrap_or(self.health);
    }

    /// What a configured weight is multiplied by; 0 for a server that wants no clients.
    #[must_use]
    pub fn multiplier(&self, configured: u32) -> f64 {
        if self.admin != Admin::Ready || self.health != Health::Up {
            return 0.0;
        }
        let configured = f64::from(configured.max(1));
        let wanted = configured * f64::from(self.percent) / 100.0;
        wanted.min(LARGEST.max(configured)) / configured
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Replies one after the other to a server of configured weight 100, and the weight after each, as HAProxy 2.6 makes it.
    const LINES: [(&[u8], f64); 20] = [
        (b"up 75%\n", 75.0),
        (b"300%\n", 256.0),
        (b"50%", 256.0),
        (b"bogus 20%\n", 20.0),
        (b"\n", 20.0),
        (b"100%\r\n", 100.0),
        (b"drain\n", 0.0),
        (b"up\n", 0.0),
        (b"ready\n", 100.0),
        (b"maint\n", 0.0),
        (b"READY 40%\n", 40.0),
        (b"down # disk full\n", 0.0),
        (b"ready\n", 0.0),
        (b"Up\n", 40.0),
        (b"fail\n", 0.0),
        (b"stopped\n", 0.0),
        (b"up,ready,\t80%\n", 80.0),
        (b"maxconn:30\n", 80.0),
        (b"60%\rdown\n", 60.0),
        (b"# 10% down\n", 60.0),
    ];

    #[test]
    fn twenty_replies_are_taken_as_haproxy_takes_them() {
        let mut said = Said::default();
        for (line, weight) in LINES {
            if let Some(reply) = parse(line) {
                said.take(&reply);
            }
            let text = String::from_utf8_lossy(line);
            assert_eq!(
                (100.0 * said.multiplier(100)).round(),
                weight,
                "{text:?}: {said:?}"
            );
        }
    }

    #[test]
    fn reasons_limits_and_unknown_words_are_kept() {
        let reply = parse(b"down maxconn:30 what? # disk\x07full\n").expect("it ends");
        assert_eq!(reply.reason.as_deref(), Some("disk?full"));
        assert_eq!(reply.maxconn, Some(30));
        assert_eq!(reply.unknown.as_deref(), Some("what?"));
        for word in ["%", "-5%", "5 %", "maxconn:", "maxconn:x", "1.5%", "upp"] {
            let reply = parse(format!("{word}\n").as_bytes()).expect("it ends");
            assert!(
                reply.unknown.is_some() && reply.percent.is_none(),
                "{word}: {reply:?}"
            );
        }
    }

    #[test]
    fn the_second_line_has_the_load() {
        assert_eq!(
            load(b"up ready\nlvs1 seq=8 load=0.41 cpu=0.31\n"),
            Some(0.41)
        );
        for answer in [
            &b"up ready\n"[..],
            b"lvs1 load=0.4\n",
            b"up\nlvs1 load=0.41",
            b"up\nlvs1 load=1.5\n",
            b"up\nlvs1 load=NaN\n",
            b"up\nlvs1 load=\n",
            b"up\nlvs2 load=0.5\n",
            b"up\nlvs1 cpu=0.5\n",
        ] {
            assert_eq!(load(answer), None, "{}", String::from_utf8_lossy(answer));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(answer: Vec<u8>) {
            let reply = parse(&answer);
            let ends = answer.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            prop_assert_eq!(reply.is_some(), ends);
            prop_assert!(load(&answer).is_none_or(|load| (0.0..=1.0).contains(&load)));
            let mut said = Said::default();
            reply.iter().for_each(|reply| said.take(reply));
            prop_assert!((0.0..=256.0).contains(&said.multiplier(1)));
        }
    }
}
