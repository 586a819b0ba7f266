//! Which option goes with which command, and with which tunnel.

use crate::options::{Subject, Verb};

/// How a command or a tunnel type takes an option it takes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Required,
    Allowed,
    /// At most one of those marked so.
    OneOf,
}

use Need::{Allowed, OneOf, Required};

type Rules = &'static [(Subject, Need)];

const SERVICE_RULES: Rules = &[
    (Subject::Service, Required),
    (Subject::Scheduler, Allowed),
    (Subject::Persistent, Allowed),
    (Subject::Netmask, Allowed),
    (Subject::OnePacket, Allowed),
    (Subject::Engine, Allowed),
    (Subject::SchedulerFlags, Allowed),
];

const SERVER_RULES: Rules = &[
    (Subject::Service, Required),
    (Subject::Server, Required),
    (Subject::Forward, Allowed),
    (Subject::Weight, Allowed),
    (Subject::UpperThreshold, Allowed),
    (Subject::LowerThreshold, Allowed),
    (Subject::TunnelType, Allowed),
    (Subject::TunnelPort, Allowed),
    (Subject::TunnelNoChecksum, Allowed),
    (Subject::TunnelChecksum, Allowed),
    (Subject::TunnelRemoteChecksum, Allowed),
];

const fn rules(verb: Verb) -> Rules {
    match verb {
        Verb::AddService | Verb::EditService => SERVICE_RULES,
        Verb::AddServer | Verb::EditServer => SERVER_RULES,
        Verb::DeleteService => &[(Subject::Service, Required)],
        Verb::DeleteServer => &[(Subject::Service, Required), (Subject::Server, Required)],
        Verb::List => &[
            (Subject::Numeric, Allowed),
            (Subject::Connection, OneOf),
            (Subject::Service, OneOf),
            (Subject::Timeout, OneOf),
            (Subject::Daemon, OneOf),
            (Subject::Stats, Allowed),
            (Subject::Rate, Allowed),
            (Subject::Thresholds, Allowed),
            (Subject::PersistentConn, Allowed),
            (Subject::NoSort, Allowed),
            (Subject::SyncId, Allowed),
            (Subject::Exact, Allowed),
            (Subject::TunnelInfo, Allowed),
            (Subject::Json, Allowed),
        ],
        Verb::Save => &[(Subject::Numeric, Allowed)],
        Verb::Zero => &[(Subject::Service, Allowed)],
        Verb::StartDaemon => &[
            (Subject::Interface, Allowed),
            (Subject::SyncId, Allowed),
            (Subject::Group, Allowed),
            (Subject::Port, Allowed),
            (Subject::Ttl, Allowed),
            (Subject::MaxLength, Allowed),
        ],
        Verb::StopDaemon => &[(Subject::SyncId, Allowed)],
        Verb::Flush | Verb::Restore | Verb::SetTimeouts => &[],
    }
}

/// Options about encapsulation, in the order of their checks.
const TUNNEL_SUBJECTS: &[Subject] = &[
    Subject::TunnelPort,
    Subject::TunnelNoChecksum,
    Subject::TunnelChecksum,
    Subject::TunnelRemoteChecksum,
];

/// The encapsulations of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encapsulation {
    #[default]
    Ipip,
    Gue,
    Gre,
}

impl Encapsulation {
    pub(crate) const ALL: &[Self] = &[Self::Ipip, Self::Gue, Self::Gre];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Gre => "gre",
        }
    }

    const fn rules(self) -> Rules {
        match self {
            Self::Ipip => &[],
            Self::Gue => &[
                (Subject::TunnelPort, Required),
                (Subject::TunnelNoChecksum, OneOf),
                (Subject::TunnelChecksum, OneOf),
                (Subject::TunnelRemoteChecksum, OneOf),
            ],
            Self::Gre => &[
                (Subject::TunnelNoChecksum, OneOf),
                (Subject::TunnelChecksum, OneOf),
            ],
        }
    }
}

/// Checks the options given with a command.
///
/// # Errors
/// The text of the first violation, in the order of [`Subject::ALL`].
pub(crate) fn check(verb: Verb, given: &[Subject]) -> Result<(), String> {
    check_against(
        rules(verb),
        Subject::ALL,
        given,
        &format!("'{}' command", verb.word()),
    )
}

/// Checks the options given with an encapsulation.
///
/// # Errors
/// The text of the first violation.
pub(crate) fn check_tunnel(kind: Encapsulation, given: &[Subject]) -> Result<(), String> {
    let whole = format!("'{}' tunnel type", kind.word());
    check_against(kind.rules(), TUNNEL_SUBJECTS, given, &whole)
}

/// Whether an option about encapsulation was given.
pub(crate) fn speaks_of_tunnels(given: &[Subject]) -> bool {
    given
        .iter()
        .any(|it| *it == Subject::TunnelType || TUNNEL_SUBJECTS.contains(it))
}

/// Whether nothing is violated, which of most lines is found out without going through all subjects.
fn is_fine(rules: Rules, subjects: &[Subject], given: &[Subject]) -> bool {
    let set = |of: &mut dyn Iterator<Item = Subject>| of.fold(0u64, |set, it| set | 1 << it as u8);
    let of_need = |need: Option<Need>| {
        let fitting = rules
            .iter()
            .filter(|(_, of)| need.is_none_or(|need| need == *of));
        set(&mut fitting.map(|(subject, _)| *subject))
    };
    let among = set(&mut subjects.iter().copied());
    let given = set(&mut given.iter().copied()) & among;
    given & !of_need(None) == 0
        && of_need(Some(Required)) & among & !given == 0
        && (given & of_need(Some(OneOf))).count_ones() <= 1
}

fn check_against(
    rules: Rules,
    subjects: &[Subject],
    given: &[Subject],
    whole: &str,
) -> Result<(), String> {
    if is_fine(rules, subjects, given) {
        return Ok(());
    }
    let mut chosen: Option<Subject> = None;
    for subject in subjects {
        let need = rules
            .iter()
            .find(|(of, _)| of == subject)
            .map(|(_, need)| *need);
        let word = subject.word();
        match (given.contains(subject), need) {
            (false, Some(Required)) => {
                return Err(format!(
                    "You need to supply the '{word}' option for the {whole}"
                ));
            }
            (true, None) => return Err(format!("Illegal '{word}' option with the {whole}")),
            (true, Some(OneOf)) => match chosen.replace(*subject) {
                Some(first) => {
                    let first = first.word();
                    return Err(format!(
                        "The option '{word}' conflicts with the '{first}' option in the {whole}"
                    ));
                }
                None => continue,
            },
            _ => {}
        }
    }
    Ok(())
}
