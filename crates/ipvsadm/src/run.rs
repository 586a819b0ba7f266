//! Runs a command against a director and prints what it says.

use std::io::{BufRead, Write};

use lvsx_ipvs::{Client, Destination, Info, Request, Service, Snapshot};

use crate::failure::Failure;
use crate::line::{self, Command, Format, Topic};
use crate::{connections, help, json, listing, order, restore, save};

/// A director and the three streams of a program.
pub(crate) struct Run<'a, Input, Out, Err> {
    /// What the program is called.
    pub(crate) name: &'a str,
    pub(crate) client: &'a mut Client,
    pub(crate) input: Input,
    pub(crate) out: Out,
    pub(crate) err: Err,
}

/// Changes that were put together and of which so many are refused are put one by one.
const FAULTS: usize = 8;

/// Whether a change adds something. Others stand alone: what goes and comes again in one change has never gone, and keeps its
/// counters.
const fn adds(change: &Request) -> bool {
    matches!(
        change,
        Request::NewService(..) | Request::NewDestination(..)
    )
}

/// What a listing shows.
enum Rows {
    /// All of it, as it was at one moment.
    Whole(Snapshot),
    /// Services, whose destinations are still to be asked for.
    Services(Vec<Service>),
}

impl<Input: BufRead, Out: Write, Err: Write> Run<'_, Input, Out, Err> {
    /// Runs a command line; what goes wrong is printed.
    ///
    /// # Errors
    /// The failure, for its exit code.
    pub(crate) fn line(&mut self, words: &[String]) -> Result<(), Failure> {
        let result = match line::parse(words) {
            Ok(Command::Restore) => self.restore(),
            Ok(command) => self
                .command(&command)
                .map_err(|failure| self.report(failure)),
            Err(failure) => Err(self.report(failure)),
        };
        match self.out.flush() {
            Ok(()) => result,
            Err(error) => Err(self.report(error.into())),
        }
    }

    fn report(&mut self, failure: Failure) -> Failure {
        // The listing so far comes first, as it would have without a buffer.
        let _ = self.out.flush();
        // Nobody is left to be told of an error in telling an error.
        let _ = self.err.write_all(failure.text(self.name).as_bytes());
        failure
    }

    fn command(&mut self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Help => help::help(&mut self.out, self.name)?,
            Command::Version => help::version(&mut self.out)?,
            Command::Change(request) => {
                let called = self.client.call(request);
                called.map_err(|error| Failure::of_request(request, &error))?;
            }
            Command::List(topic, format) => self.list(topic, format)?,
            Command::Save { numeric } => self.save(*numeric)?,
            // The input has one reader: a line of it cannot ask for more of it.
            Command::Restore => return Err(Failure::Hint),
        }
        Ok(())
    }

    fn list(&mut self, topic: &Topic, format: &Format) -> Result<(), Failure> {
        let of = |request| move |error| Failure::of_listing(&request, &error);
        match topic {
            Topic::Services => {
                let info = self.client.info().map_err(of(Request::Info))?;
                let sorted = !format.unsorted;
                if format.json {
                    let rows = self.rows(true, sorted)?;
                    return self.json_services(Some(&info), rows, sorted);
                }
                let Info {
                    version,
                    connection_table_size,
                } = info;
                let [_, major, minor, patch] = version.to_be_bytes();
                writeln!(
                    self.out,
                    "IP Virtual Server version {major}.{minor}.{patch} \
                     (size={connection_table_size})"
                )?;
                let rows = self.rows(format.stats || format.rate, sorted)?;
                listing::title(&mut self.out, format)?;
                self.each(rows, sorted, |run, service, destinations| {
                    let shown = listing::service(&mut run.out, service, destinations, format);
                    Ok(shown?)
                })?;
            }
            Topic::Service(key) => {
                let service = self
                    .client
                    .service(key)
                    .map_err(of(Request::Service(*key)))?;
                let sorted = !format.unsorted;
                let rows = Rows::Services(vec![service]);
                if format.json {
                    return self.json_services(None, rows, sorted);
                }
                listing::title(&mut self.out, format)?;
                self.each(rows, sorted, |run, service, destinations| {
                    let shown = listing::service(&mut run.out, service, destinations, format);
                    Ok(shown?)
                })?;
            }
            Topic::Connections => {
                let text = self.client.proc_text(connections::FILE).map_err(|error| {
                    let file = format!("/proc/net/{}", connections::FILE);
                    match error {
                        lvsx_ipvs::ClientError::Silent => Failure::Refused(error.to_string()),
                        _ => Failure::Listing(format!("cannot open file {file}")),
                    }
                })?;
                let text = String::from_utf8_lossy(&text);
                match format.json {
                    true => json::connections(&mut self.out, &text)?,
                    false => connections::list(&mut self.out, &text, format)?,
                }
            }
            Topic::Timeouts => {
                let timeouts = self.client.timeouts().map_err(of(Request::Timeouts))?;
                match format.json {
                    true => json::timeouts(&mut self.out, &timeouts)?,
                    false => listing::timeouts(&mut self.out, &timeouts)?,
                }
            }
            Topic::Daemons => {
                let daemons = self.client.daemons().map_err(of(Request::Daemons))?;
                match format.json {
                    true => json::daemons(&mut self.out, &daemons)?,
                    false => listing::daemons(&mut self.out, &daemons)?,
                }
            }
        }
        Ok(())
    }

    fn json_services(
        &mut self,
        info: Option<&Info>,
        rows: Rows,
        sorted: bool,
    ) -> Result<(), Failure> {
        let mut listed = Vec::new();
        self.each(rows, sorted, |_, service, destinations| {
            listed.push((service.clone(), destinations.to_vec()));
            Ok(())
        })?;
        let listed = listed.iter().map(|(service, of)| (service, of));
        Ok(json::services(&mut self.out, info, listed)?)
    }

    fn save(&mut self, numeric: bool) -> Result<(), Failure> {
        let rows = self.rows(false, true)?;
        self.each(rows, true, |run, service, destinations| {
            let (out, notes) = (&mut run.out, &mut run.err);
            let saved = save::service(out, notes, service, destinations, numeric);
            Ok(saved?)
        })
    }

    /// What is to be listed, with statistics if they are wanted: at once where the director tells all of it so.
    fn rows(&mut self, statistics: bool, sorted: bool) -> Result<Rows, Failure> {
        let of = |error| Failure::of_listing(&Request::Services, &error);
        if let Some(mut table) = self.client.table(statistics).map_err(of)? {
            if sorted {
                order::sort_services(&mut table.services, |listed| &listed.service.key);
            }
            return Ok(Rows::Whole(table));
        }
        let mut services = self.client.services().map_err(of)?;
        if sorted {
            order::sort_services(&mut services, |service| &service.key);
        }
        Ok(Rows::Services(services))
    }

    /// Shows each service with its destinations, which are asked for one after another if they are not there yet.
    fn each(
        &mut self,
        rows: Rows,
        sorted: bool,
        mut show: impl FnMut(&mut Self, &Service, &[Destination]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match rows {
            Rows::Whole(table) => {
                for (service, mut destinations) in table.rows() {
                    if sorted {
                        order::sort_destinations(&mut destinations);
                    }
                    show(self, &service, &destinations)?;
                }
            }
            Rows::Services(services) => {
                for service in services {
                    let destinations = self.destinations(&service, sorted)?;
                    show(self, &service, &destinations)?;
                }
            }
        }
        Ok(())
    }

    fn destinations(
        &mut self,
        service: &Service,
        sorted: bool,
    ) -> Result<Vec<Destination>, Failure> {
        let request = Request::Destinations(Some(service.key));
        let of = |error| Failure::of_listing(&request, &error);
        let mut destinations = self.client.destinations(&service.key).map_err(of)?;
        if sorted {
            order::sort_destinations(&mut destinations);
        }
        Ok(destinations)
    }

    /// Runs the lines of the input. A refusal does not keep the next lines from being tried, a
    /// wrong command line does; the last line's result is that of the whole.
    ///
    /// What is added by lines one behind the other that have all come goes to lvsd together. What is read, printed and
    /// returned is as if they had gone one by one.
    ///
    /// # Errors
    /// The failure of the last line that was run.
    fn restore(&mut self) -> Result<(), Failure> {
        let mut result = Ok(());
        let mut bytes = Vec::new();
        let mut waiting = Vec::new();
        // Bytes that have come and are not read yet.
        let mut left = 0;
        for number in 1.. {
            bytes.clear();
            if left == 0 {
                // Whoever writes the next line later may wait for these first.
                self.change(&mut waiting, &mut result);
            }
            let read = match self.input.fill_buf() {
                Ok(here) => {
                    left = here.len();
                    self.input.read_until(b'\n', &mut bytes)
                }
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => break,
                Ok(length) => left = left.saturating_sub(length),
                Err(error) => {
                    self.change(&mut waiting, &mut result);
                    return Err(self.report(Failure::Tool(format!("cannot read: {error}"))));
                }
            }
            if is_lost(&bytes) {
                break;
            }
            let mut line = restore::split(&String::from_utf8_lossy(&bytes), number);
            // A zero byte ends a word of C.
            for word in &mut line.words {
                word.truncate(word.find('\0').unwrap_or(word.len()));
            }
            if let Some(note) = line.note {
                self.change(&mut waiting, &mut result);
                let _ = writeln!(self.err, "{}: {note}", self.name);
            }
            if line.words.is_empty() {
                continue;
            }
            let command = line::parse(&line.words);
            if let Ok(Command::Change(request)) = &command
                && adds(request)
                && !self.client.is_kernel()
            {
                waiting.push(request.clone());
                continue;
            }
            self.change(&mut waiting, &mut result);
            // What comes behind help or version is not even read.
            let is_last = matches!(command, Ok(Command::Help | Command::Version));
            result = command
                .and_then(|command| self.command(&command))
                .map_err(|failure| self.report(failure));
            if is_last || result.as_ref().is_err_and(Failure::ends_restore) {
                break;
            }
        }
        self.change(&mut waiting, &mut result);
        result
    }

    /// Makes the changes that wait. They are tried together up to each that is refused, which is put alone then and reported;
    /// where many are refused, or the director takes no changes together, each is put alone.
    fn change(&mut self, waiting: &mut Vec<Request>, result: &mut Result<(), Failure>) {
        let changes = std::mem::take(waiting);
        let mut left = changes.as_slice();
        while let [_, _, ..] = left {
            let Ok(faults) = self.client.apply_lines(left) else {
                break;
            };
            let Some(first) = faults.first() else {
                *result = Ok(());
                return;
            };
            if faults.len() > FAULTS || first.change >= left.len() {
                break;
            }
            let (before, from) = left.split_at(first.change);
            if !before.is_empty()
                && !self
                    .client
                    .apply_lines(before)
                    .is_ok_and(|it| it.is_empty())
            {
                break;
            }
            if let [refused, behind @ ..] = from {
                *result = self.change_one(refused);
                left = behind;
            }
        }
        for request in left {
            *result = self.change_one(request);
        }
    }

    fn change_one(&mut self, request: &Request) -> Result<(), Failure> {
        let called = self.client.call(request);
        let called = called.map_err(|error| Failure::of_request(request, &error));
        called.map(drop).map_err(|failure| self.report(failure))
    }
}

/// Whether ipvsadm forgets this line, which it does with a last one that two blanks end and nothing else.
fn is_lost(line: &[u8]) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    matches!(line, [.., one, other] if is_blank(one) && is_blank(other))
}

#[cfg(test)]
mod tests;
