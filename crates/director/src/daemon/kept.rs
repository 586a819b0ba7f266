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
    Applying, Destination, Director, FlagChange, MarkEdit, Request, Service, ServiceSettings,
    changes,
};
use std::fs;
use std::io;
use std::slice;

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
        match folder.write(NAME, encoded(&requests(control))) {
            Ok(()) => self.generation = generation,
            Err(error) => tracing::warn!("{}: {error}", folder.file(NAME).display()),
        }
    }
}

fn encoded(requests: &[Request]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in requests {
        request.encode_behind(&mut bytes, FAMILY_ID, 0);
    }
    bytes
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

/// Has a new director begin with what the file says, in one step.
///
/// # Errors
/// Nothing of it is in force: the file is broken, or this director refuses what the one before had granted. Each of that, as
/// a line of its own.
pub(super) fn begin_with(kept: &[u8], control: &mut Control) -> Result<(), String> {
    let mut requests = Vec::new();
    for (number, change) in (1..).zip(changes(kept)) {
        let broken = |errno| format!("  request {number} of the file is broken: {errno}\n");
        requests.push(change.map_err(broken)?);
    }
    let faults = control.apply(&requests, Applying::Table);
    if faults.is_empty() {
        return Ok(());
    }
    let named = faults.iter().map(|fault| {
        let request = requests.get(fault.change).map(slice::from_ref);
        let line = lvsx_ipvsadm::lines(request.unwrap_or_default());
        format!("  {}: {}\n", line.trim_end(), fault.refused.why)
    });
    Err(named.collect())
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
    control.each_service(false, &mut |service, destinations| {
        requests.push(new_service(service));
        // The newest is listed first.
        let of_service = destinations.iter().rev();
        requests.extend(of_service.map(|destination| new_destination(service, destination)));
    });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::director;
    use lvsx_ipvsadm::Rules;

    const CONFIGURED: &str = "\
--set 901 121 301
-A -t 192.0.2.1:80 -s wrr -M 255.255.255.0
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 3 -x 1000 -y 900
-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 0
-A -u 192.0.2.1:53 -s sh -b sh-port -o
-a -u 192.0.2.1:53 -r 10.0.0.1:53 -i --tun-type gue --tun-port 6080 --tun-csum
-A -f 7 -6 -s mh -p 300 -M 64
#lvsx mark add mark 7 family ipv6 protocol tcp ports 80
#lvsx sysctl nat_icmp_send = 1
";

    fn configured(lines: &str) -> Control {
        let mut control = director();
        let faults = control.apply(
            &Rules::read("lines", lines.as_bytes()).requests(),
            Applying::Table,
        );
        assert_eq!(faults, []);
        control
    }

    #[test]
    fn what_is_kept_is_begun_with_in_one_step() {
        let before = configured(CONFIGURED);
        let mut control = director();
        let generation = control.generation();
        begin_with(&encoded(&requests(&before)), &mut control).expect("granted before");
        assert_eq!(control.table(), before.table());
        assert_eq!(control.generation(), generation + 1);
    }

    #[test]
    fn with_anything_refused_nothing_is_begun_with_and_all_of_it_is_named() {
        let mut control = director();
        let empty = control.table();
        let mut kept = requests(&configured(CONFIGURED));
        for line in [
            "-a -t 192.0.2.1:80 -r 224.0.0.1:80 -m -w 1",
            "-A -t 192.0.2.1:443 -s wllc",
        ] {
            kept.extend(Rules::read("wrong", line.as_bytes()).requests().pop());
        }
        let refused = begin_with(&encoded(&kept), &mut control).expect_err("two lines are wrong");
        let named: Vec<_> = refused.lines().collect();
        assert_eq!(named.len(), 2, "{refused}");
        for (line, begin) in named.iter().zip([
            "  -a -t 192.0.2.1:80 -r 224.0.0.1:80 -m -w 1: ",
            "  -A -t 192.0.2.1:443 -s wllc: ",
        ]) {
            assert!(
                line.len() > begin.len() && line.starts_with(begin),
                "{line}"
            );
        }
        assert_eq!(control.table(), empty);

        let cut = encoded(&kept[..3]);
        let broken =
            begin_with(&cut[..cut.len() - 1], &mut control).expect_err("a byte is missing");
        assert!(
            broken.contains("request 3 of the file is broken"),
            "{broken}"
        );
        assert_eq!(control.table(), empty);
    }
}
