//! The text of checks and services, before it is known to be whole.

use super::check::{self, At, Body, Datagram, Kind, Page, Script, Tls};
use super::name::{parse_destination, parse_service};
use super::service::{self, Agent, Load, OnFailure};
use super::time::Time;
use crate::pool::Rules;
use crate::standing::Patience;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The authorities that Debian trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The shortest interval; more checks a second are no checks any more.
const SHORTEST: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Type {
    Tcp,
    Http,
    Https,
    Ping,
    Udp,
    Script,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Start {
    Up,
    Down,
}

/// `[check.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    r#type: Type,
    port: Option<u16>,
    at: Option<At>,
    interval: Option<Time>,
    timeout: Option<Time>,
    rise: Option<NonZeroU32>,
    fall: Option<NonZeroU32>,
    start: Option<Start>,
    path: Option<String>,
    host: Option<String>,
    status: Option<Vec<String>>,
    regex: Option<String>,
    digest: Option<String>,
    name: Option<String>,
    verify: Option<bool>,
    authorities: Option<PathBuf>,
    send: Option<String>,
    expect: Option<String>,
    script: Option<PathBuf>,
    arguments: Option<Vec<String>>,
}

impl Check {
    /// The check that it describes.
    pub(super) fn whole(self, name: &str) -> Result<check::Check, String> {
        self.has_nothing_foreign()?;
        let interval = self.interval.map_or(Duration::from_secs(2), |time| time.0);
        let timeout = self.timeout.map_or(Duration::from_secs(1), |time| time.0);
        if interval < SHORTEST || timeout < SHORTEST {
            return Err("interval and timeout are at least 10ms".to_owned());
        }
        let times = |wanted: Option<NonZeroU32>, usual| wanted.unwrap_or(usual);
        let two = NonZeroU32::MIN.saturating_add(1);
        Ok(check::Check {
            name: name.to_owned(),
            port: self.port,
            at: self.at.unwrap_or_default(),
            interval,
            timeout,
            patience: Patience {
                rise: times(self.rise, two),
                fall: times(self.fall, two.saturating_add(1)),
            },
            starts_up: self.start != Some(Start::Down),
            kind: self.kind()?,
        })
    }

    /// What only other types have.
    fn has_nothing_foreign(&self) -> Result<(), String> {
        use Type::{Http, Https, Script, Tcp, Udp};
        let fields: [(&str, bool, &[Type]); 12] = [
            ("at", self.at.is_some(), &[Tcp, Http, Https, Udp]),
            ("path", self.path.is_some(), &[Http, Https]),
            ("host", self.host.is_some(), &[Http, Https]),
            ("status", self.status.is_some(), &[Http, Https]),
            ("regex", self.regex.is_some(), &[Http, Https]),
            ("digest", self.digest.is_some(), &[Http, Https]),
            ("name", self.name.is_some(), &[Https]),
            ("verify", self.verify.is_some(), &[Https]),
            ("authorities", self.authorities.is_some(), &[Https]),
            ("send", self.send.is_some(), &[Udp]),
            ("expect", self.expect.is_some(), &[Udp]),
            ("script", self.script.is_some(), &[Script]),
        ];
        let foreign = fields
            .iter()
            .find(|(_, is_there, types)| *is_there && !types.contains(&self.r#type));
        let what = foreign.map(|(field, _, types)| {
            let types: Vec<_> = types
                .iter()
                .map(|kind| format!("{kind:?}").to_lowercase())
                .collect();
            format!(
                "`{field}` is for checks of type {}; leave it out or change the type",
                types.join(" and ")
            )
        });
        match what {
            Some(what) => Err(what),
            None if self.arguments.is_some() && self.r#type != Script => Err(
                "`arguments` is for checks of type script; leave it out or change the type"
                    .to_owned(),
            ),
            None => Ok(()),
        }
    }

    fn kind(self) -> Result<Kind, String> {
        match self.r#type {
            Type::Tcp => Ok(Kind::Tcp),
            Type::Ping => Ok(Kind::Ping),
            Type::Http => self.page().map(Kind::Http),
            Type::Https => {
                let tls = Tls {
                    name: self.name.clone().or_else(|| self.host.clone()),
                    verify: self.verify.unwrap_or(true),
                    authorities: self
                        .authorities
                        .clone()
                        .unwrap_or_else(|| AUTHORITIES.into()),
                };
                Ok(Kind::Https(self.page()?, tls))
            }
            Type::Udp => Ok(Kind::Udp(Datagram {
                send: hex("send", self.send.as_deref().unwrap_or_default())?,
                expect: self
                    .expect
                    .as_deref()
                    .map(|text| hex("expect", text))
                    .transpose()?,
            })),
            Type::Script => {
                let path = self
                    .script
                    .ok_or("`script` is missing: the path of the program")?;
                if !path.is_absolute() {
                    return Err(format!(
                        "script = \"{}\": write the whole path, from / on",
                        path.display()
                    ));
                }
                Ok(Kind::Script(Script {
                    path,
                    arguments: self.arguments.unwrap_or_default(),
                }))
            }
        }
    }

    fn page(self) -> Result<Page, String> {
        let path = self.path.unwrap_or_else(|| "/".to_owned());
        let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !is_clean(&path) {
            return Err(format!(
                "path = \"{path}\": it begins with / and has no blanks; write them as %20"
            ));
        }
        if let Some(host) = self
            .host
            .as_deref()
            .filter(|host| host.is_empty() || !is_clean(host))
        {
            return Err(format!("host = \"{host}\" is no host's name"));
        }
        let status = self.status.unwrap_or_else(|| vec!["200-299".to_owned()]);
        let body =
            match (self.regex, self.digest) {
                (None, None) => Body::Any,
                (Some(expression), None) => Body::Matches(
                    Regex::new(&expression)
                        .map_err(|error| format!("regex = \"{expression}\": {error}"))?,
                ),
                (None, Some(digest)) => {
                    let bytes = hex("digest", &digest)?;
                    Body::Digest(bytes.try_into().map_err(
                        |_| "digest: write the SHA-256 of the body, 64 hexadecimal digits",
                    )?)
                }
                (Some(_), Some(_)) => return Err("either `regex` or `digest`, not both".to_owned()),
            };
        Ok(Page {
            path,
            host: self.host,
            status: status
                .iter()
                .map(|text| range(text))
                .collect::<Result<_, _>>()?,
            body,
        })
    }
}

/// Reads `200` or `200-299`.
fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|code| (100..=599).contains(code))
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!(
            "status \"{text}\": write \"200\" or \"200-299\", from 100 to 599"
        )),
    }
}

fn hex(field: &str, text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    bytes.collect::<Option<_>>().ok_or_else(|| {
        format!(
            "{field} = \"{text}\": write bytes as pairs of hexadecimal digits, as in \"68656c6c6f\""
        )
    })
}

/// `[[service]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) service: String,
    check: Option<String>,
    quorum: Option<u32>,
    sorry: Option<String>,
    #[serde(default)]
    on_failure: OnFailure,
    slow_start: Option<Time>,
    panic: Option<u32>,
    panic_window: Option<Time>,
    #[serde(default)]
    load: Load,
    agent_port: Option<u16>,
    agent_interval: Option<Time>,
    agent_timeout: Option<Time>,
    load_period: Option<Time>,
}

impl Service {
    /// The service that it describes.
    pub(super) fn whole(
        self,
        checks: &BTreeMap<String, Arc<check::Check>>,
    ) -> Result<service::Service, String> {
        let check = self.check.map(|name| {
            checks.get(&name).cloned().ok_or_else(|| {
                let known: Vec<_> = checks.keys().map(String::as_str).collect();
                match known.is_empty() {
                    true => format!("check = \"{name}\": there is none; write a [check.{name}]"),
                    false => format!(
                        "check = \"{name}\": there is none; there are {}",
                        known.join(", ")
                    ),
                }
            })
        });
        let sorry = self
            .sorry
            .map(|text| parse_destination(&text))
            .transpose()?;
        let panic = self.panic.unwrap_or(if sorry.is_some() { 100 } else { 50 });
        if panic > 100 {
            return Err(format!("panic = {panic}: percent, from 0 to 100 (never)"));
        }
        let time = |wanted: Option<Time>, usual| wanted.map_or(usual, |time| time.0);
        let second = Duration::from_secs(1);
        let agent = Agent {
            port: self.agent_port.unwrap_or(crate::agent::PORT),
            interval: time(self.agent_interval, 2 * second),
            timeout: time(self.agent_timeout, second / 2),
            period: time(self.load_period, 5 * second),
        };
        for (field, found) in [
            ("agent_interval", agent.interval),
            ("agent_timeout", agent.timeout),
            ("load_period", agent.period),
        ] {
            if found < SHORTEST {
                return Err(format!("{field}: at least 10ms"));
            }
        }
        Ok(service::Service {
            key: parse_service(&self.service)?,
            check: check.transpose()?,
            rules: Rules {
                quorum: self.quorum.unwrap_or(1),
                sorry,
                slow_start: time(self.slow_start, Duration::ZERO),
                panic,
                panic_window: time(self.panic_window, 10 * second),
                fine: self.load == Load::On,
            },
            on_failure: self.on_failure,
            load: self.load,
            agent,
        })
    }
}
