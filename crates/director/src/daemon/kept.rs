//! The configuration in a file, in a form that no layout of the tables changes: the requests that make it, as clients would
//! send them. A director that finds tables of another layout cannot read them, but this it can.
//!
//! Written behind the changes, every two seconds at most and when the director ends. So a director that was killed may
//! leave the one of two seconds before; one of its own layout does not need the file.

use super::folder::Folder;
use crate::control::Control;
use anyhow::{Context, Result};
use lvsx_ipvs::consts::FAMILY_ID;
use lvsx_ipvs::{
    Destination, Director, FlagChange, MarkEdit, Request, Service, ServiceSettings, answer,
};
use std::fs;
use std::io;

/// The file, in the namespace's folder.
const NAME: &str = "kept";
/// Rules for marks in one request: their lines must fit into it.
const MARKS: usize = 256;

/// The file, and what stands in it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The generation it was written for.
    generation: Option<u32>,
}

impl Kept {
    /// Writes the file if the configuration is another by now.
    pub(super) fn keep(&mut self, control: &Control, folder: &Folder) {
        let generation = Some(control.generation());
        if self.generation == generation {
            return;
        }
        let requests = requests(control).into_iter();
        let bytes: Vec<u8> = requests
            .flat_map(|request| request.encode(FAMILY_ID, 0))
            .collect();
        match folder.write(NAME, &bytes) {
            Ok(()) => self.generation = generation,
            Err(error) => tracing::warn!("{}: {error}", folder.file(NAME).display()),
        }
    }
}

/// The file that a director before left, if it left one.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(folder: &Folder) -> Result<Option<Vec<u8>>> {
    let path = folder.file(NAME);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Has a new director do what the file says. How many requests it refused, which an older one had granted.
#[must_use]
pub(super) fn replay(kept: &[u8], control: &mut Control) -> usize {
    /// Where an answer has its error, if it is one of an error's type and length.
    const ERROR: std::ops::Range<usize> = 16..20;
    let answers = answer(kept, control);
    let refused = |answer: &&Vec<u8>| answer.get(ERROR).is_some_and(|error| error != [0; 4]);
    answers.iter().filter(refused).count()
}

/// What makes the configuration, in an order in which it can be done.
fn requests(control: &Control) -> Vec<Request> {
    let mut requests = Vec::new();
    for line in control.settings().lines() {
        if let Some((name, value)) = line.split_once(" = ") {
            requests.push(Request::SetSetting(name.to_owned(), value.to_owned()));
        }
    }
    requests.push(Request::SetTimeouts(control.timeouts()));
    for rules in control.marks().chunks(MARKS) {
        let lines = rules
            .iter()
            .map(|rule| format!("{}\n", MarkEdit::Add(rule.clone())));
        requests.push(Request::EditMarks(lines.collect()));
    }
    for service in control.services() {
        let destinations = control.destinations(&service.key).unwrap_or_default();
        requests.push(new_service(&service));
        // The newest is listed first.
        let of_service = destinations.iter().rev();
        requests.extend(of_service.map(|destination| new_destination(&service, destination)));
    }
    requests
}

fn new_service(service: &Service) -> Request {
    let settings = ServiceSettings {
        scheduler: service.scheduler.clone(),
        engine: service.engine.clone(),
        flags: FlagChange::exactly(service.flags),
        timeout: service.timeout,
        netmask: service.netmask,
    };
    Request::NewService(service.key, settings)
}

fn new_destination(service: &Service, destination: &Destination) -> Request {
    Request::NewDestination(service.key, destination.key, destination.settings)
}
