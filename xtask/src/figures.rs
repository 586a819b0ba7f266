//! `figures`: what the verifier and the JIT of this kernel make of each BPF program.
//!
//! The verifier gives up at a million instructions looked at. A program near that has no room for the next feature
//! or the next kernel, so each must stay below a quarter of it, on the oldest kernel as on the newest.

use std::path::Path;

use anyhow::{Context as _, bail};
use aya::{
    Ebpf, VerifierLogLevel,
    programs::{Program, ProgramError, ProgramInfo},
};

/// The most instructions that the verifier may look at in one program.
const VERIFIED_LIMIT: u32 = 250_000;

/// Loads each program of `object`, attaches nothing, and prints a table.
///
/// # Errors
/// The kernel refuses a program (the error holds the verifier's log), or one is beyond [`VERIFIED_LIMIT`].
pub(crate) fn print(object: &Path) -> anyhow::Result<()> {
    let mut ebpf = aya::EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load_file(object)
        .with_context(|| format!("cannot load {}", object.display()))?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "figures: kernel {}, at most {VERIFIED_LIMIT} verified instructions a program",
        release.trim()
    );
    println!(
        "{:>10} {:>10} {:>10}  program",
        "verified", "xlated B", "jited B"
    );
    let mut beyond = Vec::new();
    for (name, info) in load(&mut ebpf)? {
        let verified = info.verified_instruction_count();
        let number =
            |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        println!(
            "{:>10} {:>10} {:>10}  {name}",
            number(verified),
            number(info.size_translated()),
            info.size_jitted()
        );
        if verified.is_none_or(|count| count > VERIFIED_LIMIT) {
            beyond.push(name);
        }
    }
    if !beyond.is_empty() {
        bail!(
            "beyond the limit of verified instructions, or not counted: {}",
            beyond.join(", ")
        );
    }
    Ok(())
}

fn load(ebpf: &mut Ebpf) -> anyhow::Result<Vec<(String, ProgramInfo)>> {
    let mut loaded = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let info = match program {
            Program::Xdp(program) => info(program.load(), || program.info()),
            Program::SchedClassifier(program) => info(program.load(), || program.info()),
            other => bail!(
                "{name} is of a kind that this project does not use: {:?}",
                other.prog_type()
            ),
        };
        loaded.push((
            name.to_owned(),
            info.with_context(|| format!("program {name}"))?,
        ));
    }
    if loaded.is_empty() {
        bail!("the object has no programs");
    }
    loaded.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(loaded)
}

fn info(
    load: Result<(), ProgramError>,
    info: impl FnOnce() -> Result<ProgramInfo, ProgramError>,
) -> Result<ProgramInfo, ProgramError> {
    load.and_then(|()| info())
}
