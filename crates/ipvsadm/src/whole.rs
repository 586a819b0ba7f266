//! A file applied as a whole: all of it in one step, or nothing with everything that is wrong.

use lvsx_ipvs::{Client, ClientError, Errno, Fault, Request};

use crate::failure::Failure;
use crate::file::Rules;
use crate::table::{self, Table};
use crate::{suggest, words};

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Characters that had to be read as others are errors.
    pub is_strict: bool,
    /// Nothing is changed.
    pub is_trial: bool,
}

/// Why a file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// Lines are wrong: all complaints, and the exit code that the first line would have had alone.
    #[error("{complaints}nothing is changed")]
    Wrong {
        /// One after another, each with its line.
        complaints: String,
        /// The exit code.
        code: u8,
    },
    /// The director did not answer as it should.
    #[error("{0}")]
    Director(#[from] ClientError),
    /// A change failed, of those that were made one by one; what came behind it was not tried.
    #[error(
        "{line}\n    {why}\nnot atomic here: {done} of {all} changes were made before it and are in force, it and those behind \
         it are not; `lvsx diff' shows what is left"
    )]
    Halfway {
        /// The line that failed, behind its place in the file if it stands there.
        line: String,
        /// Why.
        why: String,
        /// Changes that were made.
        done: usize,
        /// Changes that were to be made.
        all: usize,
    },
    /// Lines were refused, of those that were tried one by one.
    #[error(
        "not atomic here: {refused} of {all} lines were refused, the first of them {line}; the others are in force"
    )]
    Partly {
        /// Lines that were refused.
        refused: usize,
        /// Lines that were tried.
        all: usize,
        /// The first that was refused, behind its place in the file.
        line: String,
    },
}

/// Makes the table what `rules` say, as `lvsx apply`: what they do not name goes; timeouts, daemons, marks and settings stay
/// where they say nothing about them. With [`Wish::is_trial`] the changes that would be made, without order of servers.
///
/// # Errors
/// See [`Undone`].
pub fn apply(client: &mut Client, rules: &mut Rules, wish: Wish) -> Result<Vec<Request>, Undone> {
    let is_trial = wish.is_trial || rules.is_wrong(wish);
    if !client.is_kernel() && !is_trial {
        rules.without_running(&client.daemons()?);
        let faults = client.apply(&rules.requests(), false)?;
        return check(rules, faults, wish).map(|()| Vec::new());
    }
    let present = Table::read(client)?;
    rules.without_running(present.daemons());
    let changes = rules.requests();
    let mut wanted = present.clone();
    let mut faults = faults(&mut wanted, &changes);
    if !client.is_kernel() {
        faults = client.apply(&changes, true)?;
    }
    check(rules, faults, wish)?;
    let difference = present.difference(&wanted);
    if is_trial {
        return Ok(difference);
    }
    for (done, change) in difference.iter().enumerate() {
        if let Err(why) = one_by_one(client, change) {
            let line = words::line(change).unwrap_or_default();
            return Err(Undone::Halfway {
                line: rules.place(change).unwrap_or_default() + &line,
                why,
                done,
                all: difference.len(),
            });
        }
    }
    Ok(Vec::new())
}

/// Loads `rules` into a table that is cleared, as `ipvsadm-restore` of ipvsadm does: a line that is refused, which `tell` is
/// told, does not keep the next ones from being tried.
///
/// # Errors
/// [`Undone::Partly`].
pub(crate) fn line_by_line(
    client: &mut Client,
    rules: &Rules,
    mut tell: impl FnMut(&str),
) -> Result<(), Undone> {
    let changes = rules.requests();
    let (mut refused, mut first) = (0, None);
    for change in &changes {
        if let Err(why) = one_by_one(client, change) {
            tell(&why);
            refused += 1;
            first = first.or(Some(change));
        }
    }
    let Some(first) = first else {
        return Ok(());
    };
    let place = rules.place(first).unwrap_or_default();
    Err(Undone::Partly {
        refused,
        all: changes.len(),
        line: place + &words::line(first).unwrap_or_else(|| "-C".to_owned()),
    })
}

/// Loads `rules` in one step into a table that is cleared, as `ipvsadm-restore` does in many.
///
/// # Errors
/// See [`Undone`].
pub(crate) fn restore(client: &mut Client, rules: &mut Rules, wish: Wish) -> Result<(), Undone> {
    let faults = client.apply(&rules.requests(), rules.is_wrong(wish))?;
    check(rules, faults, wish)
}

/// Checks `rules` as far as that goes without a director that could.
///
/// # Errors
/// See [`Undone`].
pub(crate) fn check_ahead(
    client: &mut Client,
    rules: &mut Rules,
    wish: Wish,
) -> Result<(), Undone> {
    let mut table = Table::default();
    for daemon in client.daemons()? {
        let running = table.take(&Request::NewDaemon(daemon));
        debug_assert!(running.is_ok(), "one of a role");
    }
    let faults = faults(&mut table, &rules.requests());
    check(rules, faults, wish)
}

/// What is wrong with changes, as far as a table can tell.
fn faults(table: &mut Table, changes: &[Request]) -> Vec<Fault> {
    let taken = changes.iter().enumerate();
    let faults = taken.filter_map(|(change, request)| {
        let refused = match table.take(request) {
            Err(refused) => refused,
            Ok(()) if is_slip(request) => Errno::ENOENT.into(),
            Ok(()) => return None,
        };
        Some(Fault { change, refused })
    });
    faults.collect()
}

/// Whether a scheduler is none that anybody knows, and next to one: kernels may know others.
fn is_slip(request: &Request) -> bool {
    let (Request::NewService(_, settings) | Request::SetService(_, settings)) = request else {
        return false;
    };
    let name = settings.scheduler.as_deref().unwrap_or("none");
    suggest::scheduler(name).is_some()
}

/// Nothing is wrong with a file, for which a director answered these faults to [`Rules::requests`].
///
/// # Errors
/// [`Undone::Wrong`].
pub fn check(rules: &mut Rules, faults: Vec<Fault>, wish: Wish) -> Result<(), Undone> {
    for fault in faults {
        // The first change is the clearing, which no line asked for.
        let change = fault.change.checked_sub(1).unwrap_or(usize::MAX);
        rules.refused(change, fault.refused.errno, &fault.refused.why);
    }
    let mut complaints = String::new();
    if wish.is_strict {
        for note in &rules.notes {
            complaints.push_str(note);
            complaints.push('\n');
        }
    }
    let code = match rules.sorted().first() {
        Some(first) => first.code,
        None => Failure::Tool(String::new()).code(),
    };
    for complaint in rules.sorted() {
        complaints.push_str(&format!("{complaint}\n"));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Undone::Wrong { complaints, code })
}

/// A change of the kernel's IPVS.
pub(crate) fn one_by_one(client: &mut Client, change: &Request) -> Result<(), String> {
    match change {
        Request::SetSetting(name, value) => {
            table::set_kernel_setting(name, value).map_err(|refused| refused.why)
        }
        // Marks are netfilter's there.
        Request::EditMarks(_) => Ok(()),
        _ => match client.call(change) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::of_request(change, &error)
                .text("ipvsadm")
                .trim()
                .to_owned()),
        },
    }
}

/// The changes as lines, as far as there are lines for them.
#[must_use]
pub fn lines(changes: &[Request]) -> String {
    let lines = changes.iter().filter_map(words::line);
    lines.map(|line| line + "\n").collect()
}

/// Says what was read as something else, a note each.
pub fn tell_notes(rules: &Rules, tell: impl FnMut(&str)) {
    rules.notes.iter().map(String::as_str).for_each(tell);
}

/// Whether a director is too old to change a table in one step.
pub(crate) fn is_unknown(error: &Undone) -> bool {
    matches!(
        error,
        Undone::Director(ClientError::Refused(Errno::EOPNOTSUPP))
    )
}

#[cfg(test)]
mod tests;
