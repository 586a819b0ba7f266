//! `lvsx apply FILE`, `lvsx diff FILE`, `lvsx rollback`: the table becomes what a file says, in one step.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use lvsx_ipvs::transport::BEFORE_NAME;
use lvsx_ipvs::{Choice, Client};
use lvsx_ipvsadm::{Rules, Undone, Wish, apply, lines, tell_notes};

const USAGE: &str = "\
lvsx apply, diff, rollback: the table of the director becomes what a file says

  lvsx apply FILE      in one step: no packet sees an in-between; services and servers that
                       stay keep connections and counters; a file with anything wrong changes
                       nothing and every wrong line is named
  lvsx diff FILE       the lines that would make of the table what the file says
  lvsx rollback        back to the table before the last `lvsx apply`, `lvsx rollback` or
                       `ipvsadm-restore` that changed it

  --dry-run            shows the difference and what is wrong, changes nothing
  --strict             characters of print, which are read as what they stand for, are errors
  --kernel             asks the kernel's IPVS, also where lvsd runs

FILE holds command lines of ipvsadm, with or without `ipvsadm` in front, and lines of
`lvsx save`; `-` is the input. What it does not name goes; timeouts, mark rules and settings
that it does not speak of stay. The kernel's IPVS takes changes one by one.

Exit codes: 0 done, 1 refused, 2 bad usage or no director; of diff 0 no difference, 1 some.
";

/// What is asked for.
struct Order {
    file: Option<String>,
    wish: Wish,
    choice: Choice,
}

/// `word`: apply, diff or rollback.
pub(crate) fn main(word: &str, arguments: &[OsString]) -> ExitCode {
    let order = match parse(word, arguments) {
        Ok(Some(order)) => order,
        Ok(None) => {
            print(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(why) => return fail(word, &format!("{why}; `lvsx {word} --help` says more"), 2),
    };
    match run(word, &order) {
        Ok(changes) => {
            let is_different = !changes.is_empty();
            if order.wish.is_trial {
                print(&changes);
            }
            ExitCode::from(u8::from(word == "diff" && is_different))
        }
        Err(error) => {
            let code = match error.downcast_ref::<Undone>() {
                Some(Undone::Wrong { .. } | Undone::Halfway { .. } | Undone::Partly { .. })
                    if word != "diff" =>
                {
                    1
                }
                _ => 2,
            };
            fail(word, &error.to_string(), code)
        }
    }
}

fn parse(word: &str, arguments: &[OsString]) -> Result<Option<Order>, String> {
    let mut order = Order {
        file: None,
        wish: Wish {
            is_trial: word == "diff",
            ..Wish::default()
        },
        choice: Choice::Auto,
    };
    for argument in arguments {
        match argument.to_str().ok_or("names are plain text")? {
            "-h" | "--help" => return Ok(None),
            "--dry-run" => order.wish.is_trial = true,
            "--strict" => order.wish.is_strict = true,
            "--kernel" => order.choice = Choice::Kernel,
            option if option.starts_with("--") => return Err(format!("`{option}` is unknown")),
            _ if order.file.is_some() || word == "rollback" => {
                return Err("a word too many".to_owned());
            }
            file => order.file = Some(file.to_owned()),
        }
    }
    if order.file.is_none() && word != "rollback" {
        return Err("the file is missing".to_owned());
    }
    Ok(Some(order))
}

/// The lines of the changes.
fn run(word: &str, order: &Order) -> Result<String, Box<dyn std::error::Error>> {
    let (name, bytes) = match &order.file {
        Some(file) if file == "-" => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            ("stdin".to_owned(), bytes)
        }
        Some(file) => (file.clone(), read(file)?),
        None => before()?,
    };
    let mut rules = Rules::read(&name, &bytes);
    if !order.wish.is_strict {
        tell_notes(&rules, |note| {
            let _ = writeln!(io::stderr(), "lvsx {word}: {note}");
        });
    }
    let mut client = Client::connect(order.choice)?;
    if client.is_kernel() && !order.wish.is_trial && !rules.is_wrong(order.wish) {
        let _ = writeln!(
            io::stderr(),
            "lvsx {word}: not atomic here: IPVS of the kernel takes line by line"
        );
    }
    Ok(lines(&apply(&mut client, &mut rules, order.wish)?))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{file}: {error}"))
}

/// The table before the last change, which lvsd keeps.
fn before() -> Result<(String, Vec<u8>), Box<dyn std::error::Error>> {
    let path = lvsx_ipvs::namespace_dir()?.join(BEFORE_NAME);
    match fs::read(&path) {
        Ok(bytes) => Ok((path.display().to_string(), bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(
            "lvsd has kept no table in this network namespace: none was applied as a whole".into(),
        ),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

/// A reader that went away is no failure.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn fail(word: &str, why: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "lvsx {word}: {why}");
    ExitCode::from(code)
}
