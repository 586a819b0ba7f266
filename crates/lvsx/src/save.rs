//! `lvsx save`: everything that is configured, as lines for `lvsx apply`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use lvsx_ipvs::{Choice, Client, ClientError};
use lvsx_ipvsadm::Table;

const USAGE: &str = "\
lvsx save [--kernel]: everything that is configured, as lines for `lvsx apply`

What `ipvsadm -S` loses is there too: thresholds, timeouts, masks without persistence, sync
daemons, the order of servers, and in lines that begin with `#lvsx` mark rules and settings.
ipvsadm 1.31 reads the lines too: its ipvsadm-restore skips those that begin with `#`, and
`ipvsadm -R` ends at the first of them, which come last.
";

/// Exit codes: 0 saved, 1 no director answers or it cannot be written, 2 bad usage.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let choice = match arguments {
        [] => Choice::Auto,
        [option] if option == "--kernel" => Choice::Kernel,
        [option] if option == "-h" || option == "--help" => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        _ => {
            complain("usage: lvsx save [--kernel]");
            return ExitCode::from(2);
        }
    };
    match table(choice) {
        Ok(table) => {
            let (text, left_out) = table.lines();
            left_out.iter().for_each(|note| complain(note));
            let mut out = io::stdout().lock();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                // A reader that went away is no failure; a disk that is full is.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    complain(&format!("cannot write: {error}"));
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn table(choice: Choice) -> Result<Table, Box<dyn std::error::Error>> {
    let mut client = Client::connect(choice)?;
    Table::read(&mut client).map_err(|error: ClientError| error.into())
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx save: {text}");
}
