//! A file of command lines read as a whole: the changes that it asks for, and all that is wrong with it.
//!
//! A line is what stands behind `ipvsadm`, or a whole command line; empty lines and what follows a `#` are passed over. Lines
//! of our own begin with `#lvsx`, so that `ipvsadm-restore` 1.31 skips them: `#lvsx mark EDIT` changes mark rules (as
//! [`lvsx_ipvs::mark::edits`] reads them), `#lvsx sysctl NAME = VALUE` a setting.

use lvsx_ipvs::{Errno, Request, ServiceKey, SyncDaemon};
use std::fmt;

use crate::failure::Failure;
use crate::line::{self, Command};
use crate::options::TABLE;
use crate::restore::{self, Line};
use crate::scan::Scan;
use crate::table::is_as_wanted;
use crate::whole::Wish;
use crate::{failure, suggest, words};

/// A file of command lines.
#[derive(Debug, Default)]
pub struct Rules {
    /// What it is called in messages.
    name: String,
    pub(crate) changes: Vec<Placed>,
    /// Command lines that only print, in their order.
    pub(crate) listings: Vec<Vec<String>>,
    pub(crate) complaints: Vec<Complaint>,
    /// Characters that were read as others, by line.
    pub(crate) notes: Vec<String>,
    /// Lines of our own are comments.
    skips_ours: bool,
    /// Lines that add services and could not be read.
    unread: Vec<String>,
}

/// A change, and the line it stands in.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) request: Request,
    number: usize,
    text: String,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    file: String,
    line: usize,
    column: usize,
    text: String,
    why: String,
    meant: Option<String>,
    /// The exit code that the line alone would have had.
    pub(crate) code: u8,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, column, ..
        } = self;
        write!(f, "{file}:{line}:{column}: {}", self.why)?;
        if let Some(meant) = &self.meant {
            write!(f, "; is `{meant}' meant?")?;
        }
        write!(f, "\n    {}", self.text)
    }
}

impl Rules {
    /// Reads a file of this name.
    #[must_use]
    pub fn read(name: &str, bytes: &[u8]) -> Self {
        let rules = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        rules.of(bytes)
    }

    /// Reads one for `ipvsadm-restore`, to which lines of our own are comments.
    pub(crate) fn read_plain(name: &str, bytes: &[u8]) -> Self {
        let rules = Self {
            name: name.to_owned(),
            skips_ours: true,
            ..Self::default()
        };
        rules.of(bytes)
    }

    fn of(mut self, bytes: &[u8]) -> Self {
        let rules = &mut self;
        let name = rules.name.clone();
        let text = rules.decoded(bytes);
        if text.contains("\r\n") {
            let line = 1 + text
                .split('\n')
                .position(|line| line.ends_with('\r'))
                .unwrap_or_default();
            let note = format!("{name}: line {line}: lines end with CR and LF, read as with LF");
            rules.notes.push(note);
        }
        for (number, line) in (1..).zip(text.split('\n')) {
            rules.line(line.trim_end_matches('\r'), number);
        }
        self
    }

    /// The changes: a table that is cleared, then line by line.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let changes = self.changes.iter().map(|placed| placed.request.clone());
        std::iter::once(Request::Flush).chain(changes).collect()
    }

    /// Where a change stands in the file: `FILE:LINE: `. `None` for one that only follows from it.
    pub(crate) fn place(&self, change: &Request) -> Option<String> {
        let placed = self.changes.iter().find(|it| it.request == *change)?;
        Some(format!("{}:{}: ", self.name, placed.number))
    }

    /// Leaves out what starts a sync daemon that runs so already.
    pub(crate) fn without_running(&mut self, running: &[SyncDaemon]) {
        self.changes.retain(|placed| match &placed.request {
            Request::NewDaemon(wanted) => !running.iter().any(|it| is_as_wanted(it, wanted)),
            _ => true,
        });
    }

    /// Whether something is wrong with it, whatever a director says.
    #[must_use]
    pub fn is_wrong(&self, wish: Wish) -> bool {
        !self.complaints.is_empty() || wish.is_strict && !self.notes.is_empty()
    }

    /// The text, which may come in 16 bits.
    fn decoded(&mut self, bytes: &[u8]) -> String {
        let wide = |rest: &[u8], of: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = rest
                .chunks_exact(2)
                .map(|pair| of([pair[0], pair[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        };
        let text = match bytes {
            [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
            _ => return String::from_utf8_lossy(bytes).into_owned(),
        };
        self.notes.push(format!(
            "{}: line 1: the file is UTF-16, read as UTF-8",
            self.name
        ));
        text
    }

    fn line(&mut self, text: &str, number: usize) {
        let mut line = restore::split(text, number);
        if let Some(note) = line.note.take() {
            self.notes.push(format!("{}: {note}", self.name));
        }
        let is_ours = line.words.first().is_some_and(|word| word == words::OURS);
        if is_ours && !self.skips_ours {
            return self.directive(&line, text, number);
        }
        let comment = line.words.iter().position(|word| word.starts_with('#'));
        let end = comment.unwrap_or(line.words.len());
        line.words.truncate(end);
        line.columns.truncate(end);
        if line
            .words
            .first()
            .is_some_and(|word| word.ends_with("/ipvsadm"))
        {
            line.words.remove(0);
            line.columns.remove(0);
        }
        if line.words.is_empty() {
            return;
        }
        match line::parse(&line.words) {
            Ok(Command::Change(request)) => self.changes.push(Placed {
                request,
                number,
                text: text.to_owned(),
            }),
            Ok(Command::Restore) => {
                let why = "a file cannot ask for another one to be read".to_owned();
                let failure = Failure::Misuse(why);
                self.complain(&line, text, number, 0, &failure, None);
            }
            Ok(_) => self.listings.push(line.words),
            Err(failure) => {
                let adds = ["-A", "--add-service"];
                if adds.iter().any(|it| line.words[0].starts_with(it)) {
                    self.unread.push(line.words.join(" "));
                }
                let place = culprit(&line.words, &failure);
                let meant = meant(&line.words[place], &failure);
                self.complain(&line, text, number, place, &failure, meant);
            }
        }
    }

    fn complain(
        &mut self,
        line: &Line,
        text: &str,
        number: usize,
        place: usize,
        failure: &Failure,
        meant: Option<String>,
    ) {
        let why = match failure {
            Failure::Hint => format!("`{}' is no command of ipvsadm", line.words[place]),
            other => other.text("ipvsadm").trim().to_owned(),
        };
        self.complaints.push(Complaint {
            file: self.name.clone(),
            line: number,
            column: line.columns.get(place).copied().unwrap_or(1),
            text: text.to_owned(),
            why,
            meant,
            code: failure.code(),
        });
    }

    /// A line of our own.
    fn directive(&mut self, line: &Line, text: &str, number: usize) {
        let rest = &line.words[1..];
        let request = match rest.split_first() {
            Some((word, edit)) if word == "mark" => {
                let edit = edit.join(" ");
                match lvsx_ipvs::mark::edits(&edit) {
                    Ok(edits) if edits.len() == 1 => Ok(Request::EditMarks(edit)),
                    Ok(_) => Err("a change of the mark rules is missing".to_owned()),
                    Err(why) => Err(why.trim_start_matches("line 1: ").to_owned()),
                }
            }
            Some((word, setting)) if word == "sysctl" => setting_of(&setting.join(" ")),
            _ => Err(format!("behind `{}' stands mark or sysctl", words::OURS)),
        };
        match request {
            Ok(request) => self.changes.push(Placed {
                request,
                number,
                text: text.to_owned(),
            }),
            Err(why) => {
                let place = 1.min(rest.len());
                let kinds = ["mark", "sysctl"];
                let word = line.words.get(place).map_or("", |word| word);
                let meant = suggest::nearest(word, kinds).map(str::to_owned);
                self.complain(line, text, number, place, &Failure::Misuse(why), meant);
            }
        }
    }

    /// Complains of a change that a director refused.
    pub(crate) fn refused(&mut self, change: usize, errno: Errno, why: &str) {
        let Some(Placed {
            request,
            number,
            text,
        }) = self.changes.get(change)
        else {
            self.complaints.push(Complaint {
                file: self.name.clone(),
                line: 0,
                column: 0,
                text: String::new(),
                why: why.to_owned(),
                meant: None,
                code: Failure::Refused(String::new()).code(),
            });
            return;
        };
        let about_service = service_of(request);
        let line = restore::split(text, *number);
        if errno == Errno::ESRCH {
            let (_, name) = value(&line, "service");
            if self
                .unread
                .iter()
                .any(|line| line.split(' ').any(|word| word == name))
            {
                // Its service is in a line that could not be read.
                return;
            }
        }
        let (option, meant) = match (request, errno) {
            (
                Request::NewService(_, settings) | Request::SetService(_, settings),
                Errno::ENOENT,
            ) => {
                let name = settings.scheduler.as_deref().unwrap_or_default();
                ("scheduler", suggest::scheduler(name).map(str::to_owned))
            }
            (_, Errno::ESRCH) => ("service", self.nearest_service(about_service)),
            (
                Request::NewDestination(..)
                | Request::SetDestination(..)
                | Request::DeleteDestination(..),
                _,
            ) => ("real-server", None),
            _ => ("service", None),
        };
        let kernels = failure::refusal(request, errno);
        let why = match why == errno.to_string() || why.is_empty() {
            true => kernels,
            false => why.to_owned(),
        };
        self.complaints.push(Complaint {
            file: self.name.clone(),
            line: *number,
            column: value(&line, option).0,
            text: text.clone(),
            why,
            meant,
            code: Failure::Refused(String::new()).code(),
        });
    }

    /// The service of the file whose name is nearest to one that is not there.
    fn nearest_service(&self, missing: Option<ServiceKey>) -> Option<String> {
        let name = |key: &ServiceKey| crate::save::service_option(key, true);
        let missing = name(&missing?)?;
        let added = self
            .changes
            .iter()
            .filter_map(|placed| match &placed.request {
                Request::NewService(key, _) => name(key),
                _ => None,
            });
        let added: Vec<String> = added.collect();
        suggest::nearest(&missing, added.iter().map(String::as_str)).map(str::to_owned)
    }

    /// All complaints, by line.
    pub(crate) fn sorted(&mut self) -> &[Complaint] {
        self.complaints
            .sort_by_key(|complaint| (complaint.line, complaint.column));
        &self.complaints
    }
}

/// The service that a change needs.
fn service_of(request: &Request) -> Option<ServiceKey> {
    match request {
        Request::NewDestination(key, ..)
        | Request::SetDestination(key, ..)
        | Request::DeleteDestination(key, _)
        | Request::SetService(key, _)
        | Request::DeleteService(key)
        | Request::Zero(Some(key)) => Some(*key),
        _ => None,
    }
}

/// `NAME = VALUE`, as a change of a setting.
fn setting_of(text: &str) -> Result<Request, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a setting is written as `NAME = VALUE'")?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!("`{name}' is no name of a setting"));
    }
    Ok(Request::SetSetting(name.to_owned(), value.to_owned()))
}

/// The word for which a line fails: the last of the shortest beginning of it that fails in the same way; the command where
/// something is missing.
fn culprit(words: &[String], failure: &Failure) -> usize {
    if failure.text("ipvsadm").starts_with("You need to supply") {
        return 0;
    }
    let fails_so = |end: &usize| line::parse(&words[..*end]).as_ref() == Err(failure);
    (1..=words.len()).find(fails_so).unwrap_or(1) - 1
}

/// What was probably meant by the word for which a line failed.
fn meant(word: &str, failure: &Failure) -> Option<String> {
    let bare = word.trim_start_matches('-');
    let bare = bare.split('=').next().unwrap_or(bare);
    let text = failure.text("ipvsadm");
    let of = |among: &[&'static str]| suggest::nearest(word, among.iter().copied());
    if text.contains("tunnel type specified") {
        return of(&["ipip", "gue", "gre"]).map(str::to_owned);
    }
    if text.contains("scheduler flag") {
        let flags = ["sh-fallback", "sh-port", "mh-fallback", "mh-port"];
        return of(&flags).map(str::to_owned);
    }
    if text.contains("daemon") {
        return of(&["master", "backup"]).map(str::to_owned);
    }
    if text.contains("address") {
        return suggest::digits(word);
    }
    let is_option = word.starts_with('-') || text.contains("unexpected argument");
    if !is_option && !matches!(failure, Failure::Hint) {
        return None;
    }
    let names = TABLE.iter().map(|entry| entry.long);
    // `-netmask`, or `netmask`, lacks its dashes only.
    let exact = names.clone().find(|name| *name == bare && bare.len() > 1);
    let found = exact.or_else(|| suggest::nearest(bare, names).filter(|_| bare.len() > 2));
    found.map(|name| format!("--{name}"))
}

/// The column and the value of the first option about this; of the command, and nothing, where there is none.
fn value<'a>(line: &'a Line, about: &str) -> (usize, &'a str) {
    let first = line.columns.first().copied().unwrap_or(1);
    let mut scan = Scan::new(&line.words);
    while let Some(Ok(found)) = scan.option() {
        let subject = found.entry.meaning.subject();
        let (Some(subject), Some(value)) = (subject, found.value) else {
            continue;
        };
        if !subject.word().starts_with(about) {
            continue;
        }
        let begins_in = |word: &String| word.as_bytes().as_ptr_range().contains(&value.as_ptr());
        return match line.words.iter().position(begins_in) {
            Some(place) => {
                let before = line.words[place].len() - value.len();
                (line.columns[place] + before, value)
            }
            None => (first, value),
        };
    }
    (first, "")
}

#[cfg(test)]
mod tests;
