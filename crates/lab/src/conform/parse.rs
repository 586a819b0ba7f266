//! Reads a scenario's text.
//!
//! A line is a step, a flow, the site, or (two spaces, then a sign) something that belongs to the step above: `<` a line of
//! standard input; `|`, `!`, `=` what the kernel answered: a line or a frame that came out, a line of standard error, an exit code
//! other than 0. Lines that begin with `#` are comments.

use std::net::{IpAddr, SocketAddr};
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use super::play::Answers;
use super::scenario::{
    Checksum, Content, FLAGS, Flow, Fragments, IcmpError, Protocol, Scenario, Side, Site, Step,
};

/// What is wrong, and in which line of the text (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

type Outcome<T> = Result<T, String>;

/// A scenario and the answers recorded in its text, a list a step; `None` if there are none at all.
///
/// # Errors
/// The first line that is not understood.
pub fn parse(text: &str) -> Result<(Scenario, Option<Answers>), ParseError> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        reader.line(line).map_err(|what| ParseError {
            line: number + 1,
            what,
        })?;
    }
    let is_recorded = reader.answers.iter().any(|lines| !lines.is_empty());
    Ok((reader.scenario, is_recorded.then_some(reader.answers)))
}

#[derive(Default)]
struct Reader {
    scenario: Scenario,
    answers: Vec<Vec<String>>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Outcome<()> {
        if let Some(belonging) = line.strip_prefix("  ") {
            return self.belonging(belonging);
        }
        if let Some(comment) = line.strip_prefix('#') {
            if self.scenario.steps.is_empty() {
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                self.scenario.about.push(comment.to_owned());
            }
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let step = match words.next() {
            None => return Ok(()),
            Some("site") => {
                self.scenario.site = site(words)?;
                return Ok(());
            }
            Some("flow") => return self.flow(words),
            Some("$") => command(line)?,
            Some("sysctl") => sysctl(words)?,
            Some("mark") => mark(words)?,
            Some("wait") => wait(words)?,
            Some(name) => self.packet(name, words)?,
        };
        self.scenario.steps.push(step);
        self.answers.push(Vec::new());
        Ok(())
    }

    fn belonging(&mut self, line: &str) -> Outcome<()> {
        let nothing = || {
            "a line that begins with spaces belongs to a step, and there is none above".to_owned()
        };
        let step = self.scenario.steps.last_mut().ok_or_else(nothing)?;
        match line.get(..1) {
            Some("<") => match step {
                Step::Command { input, .. } => {
                    input.push(line.get(2..).unwrap_or_default().to_owned());
                    Ok(())
                }
                _ => Err("only a command has a standard input (`  < ...`)".to_owned()),
            },
            Some("|" | "!" | "=") => {
                let answers = self.answers.last_mut().ok_or_else(nothing)?;
                answers.push(line.trim_end().to_owned());
                Ok(())
            }
            _ => Err(format!(
                "'{line}': a line below a step begins with <, |, ! or ="
            )),
        }
    }

    fn flow(&mut self, mut words: SplitWhitespace<'_>) -> Outcome<()> {
        const FORM: &str = "a flow is `flow NAME tcp|udp|echo|protocol/N CLIENT > VIRTUAL`, ends as 10.0.0.1:80, [fd00::1]:80, or without port for echo and others";
        let name = words.next().ok_or(FORM)?;
        if self.scenario.flows.iter().any(|flow| flow.name == name) {
            return Err(format!("there is a flow {name} already"));
        }
        let protocol = protocol(words.next().ok_or(FORM)?)?;
        let end = |word: Option<&str>| -> Outcome<SocketAddr> {
            let word = word.ok_or(FORM)?;
            let end = if protocol.has_ports() {
                word.parse().ok()
            } else {
                word.parse()
                    .ok()
                    .map(|address: IpAddr| SocketAddr::new(address, 0))
            };
            end.ok_or_else(|| format!("'{word}' is no end of a flow: {FORM}"))
        };
        let client = end(words.next())?;
        if words.next() != Some(">") {
            return Err(FORM.to_owned());
        }
        let virtual_end = end(words.next())?;
        if client.is_ipv4() != virtual_end.is_ipv4() {
            return Err("both ends of a flow are of one family".to_owned());
        }
        self.scenario.flows.push(Flow {
            name: name.to_owned(),
            protocol,
            client,
            virtual_end,
        });
        nothing_more(words)
    }

    fn packet(&self, name: &str, mut words: SplitWhitespace<'_>) -> Outcome<Step> {
        let flow = self
            .scenario
            .flows
            .iter()
            .position(|flow| flow.name == name);
        let flow = flow.ok_or_else(|| {
            format!("'{name}' is neither a step ($, site, flow, sysctl, mark, wait) nor a flow named above")
        })?;
        let from = match words.next() {
            Some(">") => Side::Client,
            Some("<") => Side::Server,
            _ => {
                return Err(format!(
                    "`{name} > ...` is sent by the client, `{name} < ...` by its server"
                ));
            }
        };
        Ok(Step::Packet {
            flow,
            from,
            content: content(words)?,
        })
    }
}

fn content(mut words: SplitWhitespace<'_>) -> Outcome<Content> {
    let mut content = Content::default();
    while let Some(word) = words.next() {
        if let Some(bit) = FLAGS.iter().position(|flag| *flag == word) {
            content.flags |= 1 << bit;
            continue;
        }
        match word {
            "none" => {}
            "df" => content.df = true,
            "data" => content.data = number(word, words.next())?,
            "ttl" => content.ttl = number(word, words.next())?,
            "tos" => content.tos = number(word, words.next())?,
            "checksum" => {
                content.checksum = match words.next() {
                    Some("bad") => Checksum::Bad,
                    Some("none") => Checksum::None,
                    _ => return Err("checksum: bad or none".to_owned()),
                }
            }
            "fragments" => {
                let size: usize = number(word, words.next())?;
                if size == 0 || !size.is_multiple_of(8) {
                    return Err(format!("fragments {size}: a multiple of 8"));
                }
                content.fragments = Some(Fragments {
                    size,
                    reversed: false,
                    only: Vec::new(),
                });
            }
            "reversed" => cut(&mut content)?.reversed = true,
            "only" => {
                let list = words.next().ok_or("only: numbers of fragments, as 0,2")?;
                let only: Outcome<Vec<usize>> = list
                    .split(',')
                    .map(|item| number(word, Some(item)))
                    .collect();
                cut(&mut content)?.only = only?;
            }
            "icmp" => {
                let (kind, code) = words
                    .next()
                    .and_then(|word| word.split_once('/'))
                    .ok_or("icmp: type and code, as 3/4")?;
                content.icmp = Some(IcmpError {
                    kind: number(word, Some(kind))?,
                    code: number(word, Some(code))?,
                    mtu: 0,
                    quote: 28,
                    from: None,
                    outer: false,
                });
            }
            "mtu" => error(&mut content)?.mtu = number(word, words.next())?,
            "quote" => error(&mut content)?.quote = number(word, words.next())?,
            "outer" => error(&mut content)?.outer = true,
            "from" => error(&mut content)?.from = Some(number(word, words.next())?),
            other => {
                return Err(format!(
                    "'{other}' says nothing about a packet: TCP flags ({}), data, ttl, tos, df, checksum, fragments, reversed, only, icmp, mtu, quote, outer, from",
                    FLAGS.join(" ")
                ));
            }
        }
    }
    Ok(content)
}

fn cut(content: &mut Content) -> Outcome<&mut Fragments> {
    content
        .fragments
        .as_mut()
        .ok_or_else(|| "`fragments SIZE` comes first".to_owned())
}

fn error(content: &mut Content) -> Outcome<&mut IcmpError> {
    content
        .icmp
        .as_mut()
        .ok_or_else(|| "`icmp TYPE/CODE` comes first".to_owned())
}

fn site(mut words: SplitWhitespace<'_>) -> Outcome<Site> {
    let mut site = Site::default();
    while let Some(word) = words.next() {
        match word {
            "one-armed" => site.two_armed = false,
            "two-armed" => site.two_armed = true,
            "mtu" => {
                let link = match words.next() {
                    Some("d0") => 0,
                    Some("d1") => 1,
                    _ => return Err("mtu: a link (d0, d1) and bytes".to_owned()),
                };
                site.mtu.push((link, number(word, words.next())?));
            }
            "local" => site
                .local
                .push(words.next().ok_or("local: a prefix")?.to_owned()),
            other => {
                return Err(format!(
                    "site: '{other}' is none of one-armed, two-armed, mtu, local"
                ));
            }
        }
    }
    Ok(site)
}

fn command(line: &str) -> Outcome<Step> {
    let words = split(line.trim_start_matches('$'))?;
    match words.split_first() {
        Some((program, words)) if program == "ipvsadm" => Ok(Step::Command {
            words: words.to_vec(),
            input: Vec::new(),
        }),
        Some((program, [path])) if program == "cat" => match path.strip_prefix("/proc/net/") {
            Some(name) if name.starts_with("ip_vs") => Ok(Step::Read {
                name: name.to_owned(),
            }),
            _ => Err("the only files are /proc/net/ip_vs...".to_owned()),
        },
        _ => Err("the only commands are `$ ipvsadm ...` and `$ cat /proc/net/ip_vs...`".to_owned()),
    }
}

/// Words apart at spaces, but not within single quotes.
fn split(line: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    if line.matches('\'').count() % 2 == 1 {
        return Err("a quote has no end".to_owned());
    }
    Ok(words)
}

fn sysctl(mut words: SplitWhitespace<'_>) -> Outcome<Step> {
    let (name, value) = words
        .next()
        .and_then(|word| word.split_once('='))
        .ok_or("a setting is `sysctl NAME=VALUE`")?;
    nothing_more(words)?;
    Ok(Step::Sysctl {
        name: name.to_owned(),
        value: number(name, Some(value))?,
    })
}

fn mark(mut words: SplitWhitespace<'_>) -> Outcome<Step> {
    const FORM: &str = "a mark is `mark NUMBER tcp|udp ADDRESS[/BITS] port PORT`";
    let mark = number("mark", words.next())?;
    let protocol = protocol(words.next().ok_or(FORM)?)?;
    let to = words.next().ok_or(FORM)?.to_owned();
    if words.next() != Some("port") {
        return Err(FORM.to_owned());
    }
    let port = number("port", words.next())?;
    nothing_more(words)?;
    Ok(Step::Mark {
        mark,
        protocol,
        to,
        port,
    })
}

fn wait(mut words: SplitWhitespace<'_>) -> Outcome<Step> {
    let seconds = words.next().and_then(|word| word.strip_suffix('s'));
    let seconds: f64 = number("wait", seconds)?;
    nothing_more(words)?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| format!("wait: {error}"))?;
    Ok(Step::Wait(time))
}

fn protocol(word: &str) -> Outcome<Protocol> {
    match word {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "echo" => Ok(Protocol::Echo),
        _ => match word.strip_prefix("protocol/") {
            Some(value) => Ok(Protocol::Other(number("protocol", Some(value))?)),
            None => Err(format!("'{word}' is none of tcp, udp, echo, protocol/N")),
        },
    }
}

/// A value behind a word; `0x` introduces hexadecimal.
fn number<T: FromStr>(what: &str, word: Option<&str>) -> Outcome<T> {
    let word = word.ok_or_else(|| format!("{what}: a value is missing"))?;
    let decimal = word
        .strip_prefix("0x")
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .map(|value| value.to_string());
    let text = decimal.as_deref().unwrap_or(word);
    text.parse()
        .map_err(|_| format!("{what}: '{word}' is no such value"))
}

fn nothing_more(mut words: SplitWhitespace<'_>) -> Outcome<()> {
    words
        .next()
        .map_or(Ok(()), |word| Err(format!("'{word}' is one word too many")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Everything that a text can say.
site two-armed mtu d1 1400 local 10.9.0.0/16
mark 7 tcp 10.9.0.0/16 port 80
sysctl sloppy_tcp=1
$ ipvsadm -A -t 10.0.0.100:80 -s ''
  ! Memory allocation problem
  = 255
$ ipvsadm -R
  < -A -t 10.0.0.100:80 -s rr
flow k1 tcp 172.16.5.1:40000 > 10.0.0.100:80
k1 > syn ttl 2 tos 0x10 df checksum bad
  | d1>r1 172.16.5.1:40000 > 10.1.0.11:80 tcp syn ttl 1
k1 < syn ack data 10
wait 2.5s
flow u udp [2001:db8::1]:5 > [fd00::100]:53
u > data 0 checksum none fragments 400 reversed only 0,2
k1 < icmp 3/4 mtu 1400 quote 48 outer from 192.0.2.9
flow e echo 172.16.5.1 > 10.0.0.100
e > data 32
flow p protocol/46 172.16.5.1 > 10.0.0.100
p > data 12
";

    #[test]
    fn a_text_is_read_and_written_alike() {
        let (scenario, answers) = parse(TEXT).unwrap();
        assert_eq!(scenario.text(answers.as_deref()), TEXT);
        let (again, none) = parse(&scenario.to_string()).unwrap();
        assert_eq!((again, none), (scenario, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, word) in [
            ("site three-armed", 1, "three-armed"),
            ("site one-armed\nk1 > syn", 2, "k1"),
            ("  | nothing", 1, "none above"),
            ("wait 3", 1, "missing"),
            ("wait -1s", 1, "wait"),
            ("flow k1 tcp 10.0.0.1 > 10.0.0.2:80", 1, "10.0.0.1"),
            ("flow k1 tcp 10.0.0.1:1 > [fd00::1]:80", 1, "one family"),
            (
                "flow k1 udp 1.2.3.4:1 > 1.2.3.5:2\nk1 = data 1",
                2,
                "client",
            ),
            ("flow k1 udp 1.2.3.4:1 > 1.2.3.5:2\nk1 > date 1", 2, "date"),
            ("flow k1 udp 1.2.3.4:1 > 1.2.3.5:2\nk1 > data", 2, "missing"),
            (
                "flow k1 udp 1.2.3.4:1 > 1.2.3.5:2\nk1 > fragments 9",
                2,
                "multiple",
            ),
            ("flow k1 udp 1.2.3.4:1 > 1.2.3.5:2\nk1 > mtu 9", 2, "icmp"),
            ("$ reboot", 1, "ipvsadm"),
            ("$ ipvsadm 'x", 1, "quote"),
            ("sysctl sloppy_tcp", 1, "NAME=VALUE"),
            ("mark 1 tcp 10.0.0.1", 1, "port"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.what.contains(word), "{text}: {error}");
        }
    }
}
