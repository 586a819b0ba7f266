//! `lvsx manual DIR`: manual pages and completions, from what this binary's programs say of themselves.
//!
//! What their help texts say (for ipvsadm the table of its options) is put into the texts of `docs/man`; `docs/health.md`
//! is the page of the configuration.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command as Process, ExitCode};

use lvsx_manual::complete::{self, Command};
use lvsx_manual::help::{Help, Part};
use lvsx_manual::{Block, Page, Row};

const USAGE: &str = "\
lvsx manual: manual pages, and completions for bash, zsh and fish

  lvsx manual DIR   writes them below this folder, which is made
";

type Failure = Box<dyn std::error::Error>;

/// The pages: name, section, text.
const PAGES: [(&str, u8, &str); 7] = [
    ("ipvsadm", 8, include_str!("../../../docs/man/ipvsadm.8.md")),
    (
        "ipvsadm-save",
        8,
        include_str!("../../../docs/man/ipvsadm-save.8.md"),
    ),
    (
        "ipvsadm-restore",
        8,
        include_str!("../../../docs/man/ipvsadm-restore.8.md"),
    ),
    ("lvsd", 8, include_str!("../../../docs/man/lvsd.8.md")),
    ("lvsx", 8, include_str!("../../../docs/man/lvsx.8.md")),
    (
        "lvsx-check",
        8,
        include_str!("../../../docs/man/lvsx-check.8.md"),
    ),
    (
        "lvsx.toml",
        5,
        include_str!("../../../docs/man/lvsx.toml.5.md"),
    ),
];
/// What the page of the configuration is made of.
const HEALTH: &str = include_str!("../../../docs/health.md");

/// Exit codes: 0 done, 1 it could not, 2 bad usage.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let complain = |text: &str| drop(writeln!(io::stderr(), "lvsx manual: {text}"));
    match arguments {
        [word] if word == "-h" || word == "--help" => {
            // A reader that went away is no failure.
            let _ = io::stdout().write_all(USAGE.as_bytes());
            ExitCode::SUCCESS
        }
        [folder] if !folder.as_encoded_bytes().starts_with(b"-") => {
            match write(Path::new(folder)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&error.to_string());
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            complain(USAGE);
            ExitCode::from(2)
        }
    }
}

fn write(folder: &Path) -> Result<(), Failure> {
    let programs = Programs::ask()?;
    for (name, section, text) in PAGES {
        let part = |place: &str| programs.part(name, place);
        let page = Page::read(name, section, text, part)
            .map_err(|place| format!("{name}({section}): nothing for {place}"))?;
        let version = concat!("lvsx ", env!("CARGO_PKG_VERSION"));
        save(
            folder,
            &format!("man/{name}.{section}"),
            &page.roff(version),
        )?;
    }
    for program in programs.commands() {
        let name = &program.name;
        save(folder, &format!("bash/{name}"), &complete::bash(&program))?;
        save(folder, &format!("zsh/_{name}"), &complete::zsh(&program))?;
        save(
            folder,
            &format!("fish/{name}.fish"),
            &complete::fish(&program),
        )?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// What the programs say.
struct Programs {
    lvsx: Help,
    /// Of `lvsx WORD`, by the word.
    words: Vec<(Row, Help)>,
}

impl Programs {
    /// Asks this binary for its help, and for that of each word in it.
    fn ask() -> Result<Self, Failure> {
        let lvsx = help(&[])?;
        let words = lvsx.words("lvsx");
        let asked = words.into_iter().map(|word| {
            let help = help(&[&word.typed])?;
            Ok((word, help))
        });
        Ok(Self {
            words: asked.collect::<Result<_, Failure>>()?,
            lvsx,
        })
    }

    /// The help of a program.
    fn of(&self, name: &str) -> Help {
        let word = match name {
            "lvsx" => return self.lvsx.clone(),
            "lvsx-check" => "check",
            name if name.starts_with("ipvsadm") => return ipvsadm(name),
            name => name,
        };
        let known = self.words.iter().find(|(row, _)| row.typed == word);
        known.map(|(_, help)| help.clone()).unwrap_or_default()
    }

    /// What belongs in a place of the page `name`.
    fn part(&self, name: &str, place: &str) -> Option<Vec<Block>> {
        let help = self.of(name);
        let usage = |row: &&Row| !row.typed.starts_with('-');
        Some(match place {
            "synopsis" => help.rows().filter(usage).map(Block::of_row).collect(),
            "options" => help.options(name).iter().map(Block::of_row).collect(),
            // The first is the name's.
            "paragraphs" => {
                let is_text = |part: &&Part| matches!(part, Part::Paragraph(_));
                let parts = help.parts.iter().filter(is_text).skip(1).cloned().collect();
                Block::of_help(&Help { parts })
            }
            "words" => self
                .words
                .iter()
                .flat_map(|(row, help)| chapter(row, help))
                .collect(),
            "health" => {
                let mut page = Page::read(name, 5, HEALTH, |_| None).ok()?;
                // Its sections are those of this one.
                for block in &mut page.blocks {
                    if let Block::Section(heading) = block {
                        *block = Block::Subsection(std::mem::take(heading));
                    }
                }
                page.blocks
            }
            _ => return None,
        })
    }

    /// The programs with what can be typed behind their names.
    fn commands(&self) -> Vec<Command> {
        let mut lvsx = Command::of("lvsx", "", "lvsx", &self.lvsx);
        lvsx.words = self
            .words
            .iter()
            .map(|(row, help)| {
                let help = if row.typed == "ipvsadm" {
                    &ipvsadm("ipvsadm")
                } else {
                    help
                };
                let before = match row.typed.as_str() {
                    "check" => "lvsx-check".to_owned(),
                    "lvsd" => "lvsd".to_owned(),
                    word => format!("lvsx {word}"),
                };
                Command::of(&row.typed, &row.text, &before, help)
            })
            .collect();
        let others = [
            "lvsd",
            "lvsx-check",
            "ipvsadm",
            "ipvsadm-save",
            "ipvsadm-restore",
        ];
        let others = others.map(|name| Command {
            words: Vec::new(),
            ..Command::of(name, "", name, &self.of(name))
        });
        [lvsx].into_iter().chain(others).collect()
    }
}

/// Those that have pages of their own are only named.
fn chapter(row: &Row, help: &Help) -> Vec<Block> {
    let page = match row.typed.as_str() {
        "lvsd" => "lvsd(8)",
        "check" => "lvsx-check(8)",
        "ipvsadm" => "ipvsadm(8)",
        _ => {
            let mut blocks = vec![Block::Subsection(format!("lvsx {}", row.typed))];
            blocks.extend(Block::of_help(help));
            return blocks;
        }
    };
    vec![
        Block::Subsection(format!("lvsx {}", row.typed)),
        Block::Paragraph(format!("See {page}.")),
    ]
}

/// What the program `name` of ipvsadm is called with.
fn ipvsadm(name: &str) -> Help {
    let (usage, options) = lvsx_ipvsadm::manual::of(name);
    let usage = usage.into_iter().map(|typed| (typed, String::new()));
    let parts = usage
        .chain(options)
        .map(|(typed, text)| Part::Row(Row { typed, text }));
    Help {
        parts: parts.collect(),
    }
}

/// What `lvsx WORD --help` prints.
fn help(words: &[&str]) -> Result<Help, Failure> {
    let output = Process::new(env::current_exe()?)
        .args(words)
        .arg("--help")
        .output()?;
    if !output.status.success() {
        return Err(format!("lvsx {} --help: {}", words.join(" "), output.status).into());
    }
    Ok(Help::read(&String::from_utf8_lossy(&output.stdout)))
}
