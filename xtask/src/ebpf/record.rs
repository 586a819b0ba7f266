//! The record beside the object: tools, digest of the sources, digest of the object.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{CARGO, OBJCOPY, RUSTC};
use crate::repository::{output, program};

/// What `lvsx.bpf.json` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The tools that built the object.
    pub(super) tools: Tools,
    /// [`digest`](super::sources::digest) of what it was built from.
    pub(super) sources: String,
    /// SHA-256 of the object's bytes.
    pub(super) object: String,
}

/// Versions of all tools whose change may change the object, as each prints its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tools {
    rustc: String,
    cargo: String,
    bpf_linker: String,
    llvm: String,
}

impl Tools {
    /// Asks the tools of this machine.
    pub(super) fn installed() -> anyhow::Result<Self> {
        let linker =
            program("bpf-linker").context("no bpf-linker: run `cargo xtask setup ebpf`")?;
        let objcopy = program(OBJCOPY)
            .with_context(|| format!("no {OBJCOPY}: run `cargo xtask setup ebpf`"))?;
        let version = |program: &Path| output(Command::new(program).arg("--version"));
        let first_line = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        let llvm = version(&objcopy)?;
        // The version stands in a line such as "Debian LLVM version 22.1.8".
        let llvm = llvm
            .lines()
            .find_map(|line| line.split_once("LLVM version "))
            .map(|(_, version)| version.trim());
        Ok(Self {
            rustc: first_line(version(Path::new(RUSTC))?),
            cargo: first_line(version(Path::new(CARGO))?),
            bpf_linker: first_line(version(&linker)?),
            llvm: llvm
                .map(|version| format!("LLVM {version}"))
                .with_context(|| format!("{OBJCOPY} does not tell its version"))?,
        })
    }

    /// The tools of this set that are not those of `recorded`, for a message.
    pub(super) fn other_than(&self, recorded: &Self) -> String {
        let pairs = [
            (&self.rustc, &recorded.rustc),
            (&self.cargo, &recorded.cargo),
            (&self.bpf_linker, &recorded.bpf_linker),
            (&self.llvm, &recorded.llvm),
        ];
        let other = pairs.iter().filter(|(here, recorded)| here != recorded);
        other
            .map(|(here, recorded)| format!("{here} in place of {recorded}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Record {
    /// Reads the record at `path`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let field = |pointer: &str| {
            let text = value.pointer(pointer).and_then(Value::as_str);
            text.map(str::to_owned)
                .with_context(|| format!("{} has no text at {pointer}", path.display()))
        };
        Ok(Self {
            tools: Tools {
                rustc: field("/tools/rustc")?,
                cargo: field("/tools/cargo")?,
                bpf_linker: field("/tools/bpf-linker")?,
                llvm: field("/tools/llvm")?,
            },
            sources: field("/sources-sha256")?,
            object: field("/object-sha256")?,
        })
    }

    /// The text of the file.
    pub(super) fn to_json(&self) -> String {
        let Tools {
            rustc,
            cargo,
            bpf_linker,
            llvm,
        } = &self.tools;
        let value = json!({
            "tools": { "rustc": rustc, "cargo": cargo, "bpf-linker": bpf_linker, "llvm": llvm },
            "sources-sha256": self.sources,
            "object-sha256": self.object,
        });
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let record = Record {
            tools: Tools {
                rustc: "rustc 1".to_owned(),
                cargo: "cargo 2".to_owned(),
                bpf_linker: "bpf-linker 3".to_owned(),
                llvm: "4".to_owned(),
            },
            sources: "5".to_owned(),
            object: "6".to_owned(),
        };
        let path = std::env::temp_dir().join(format!("lvsx-record-{}.json", std::process::id()));
        fs::write(&path, record.to_json()).unwrap();
        let read = Record::read(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), record);
    }
}
