//! `figures`: what the verifier and the JIT of this kernel make of each BPF program.
//!
//! The verifier gives up at a million instructions looked at. A program near that has no room for the next feature
//! or the next kernel, so each must stay below a quarter of it, on the oldest kernel as on the newest.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, ProgramInfo},
};

/// The most instructions that the verifier may look at in one program.
const VERIFIED_LIMIT: u32 = 250_000;

/// The programs' constants, about as lvsd sets them for a million connections. The verifier knows their values: with
/// nought in their place it would look at other paths, and skip some.
const GLOBALS: [(&str, u32); 4] = [
    ("SETS", 147_059),
    ("OVERFLOW", 9_191),
    ("DESTINATIONS", 65_536),
    ("TICK_SHIFT", 0),
];

/// Loads each program of `object`, attaches nothing, and prints a table.
///
/// # Errors
/// The kernel refuses a program (the error holds the verifier's log), or one is beyond [`VERIFIED_LIMIT`].
pub(crate) fn print(object: &Path) -> anyhow::Result<()> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    for (name, value) in &GLOBALS {
        loader.override_global(name, value, true);
    }
    let mut ebpf = loader
        .load_file(object)
        .with_context(|| format!("cannot load {}", object.display()))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("figures: kernel {}", release.trim());
    println!(" verified   xlated B    jited B  program");
    let mut loads = load(&mut ebpf);
    if loads.is_empty() {
        bail!("the object has no programs");
    }
    loads.sort_by(|one, other| one.0.cmp(&other.0));
    let mut faults = Vec::new();
    for (name, load) in loads {
        match load {
            Ok(info) => {
                let verified = info.verified_instruction_count();
                println!(
                    "{:>9} {:>10} {:>10}  {name}",
                    verified.unwrap_or(0),
                    info.size_translated().unwrap_or(0),
                    info.size_jitted()
                );
                if verified.is_none_or(|count| count > VERIFIED_LIMIT) {
                    faults.push(format!(
                        "{name} is beyond {VERIFIED_LIMIT} verified instructions, or was not counted"
                    ));
                }
            }
            Err(error) => {
                println!("{:>9} {:>10} {:>10}  {name}", "refused", "-", "-");
                faults.push(format!("{name}: {:#}", anyhow::Error::from(error)));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// Loads the programs one by one; one that is refused does not keep the others from being counted.
fn load(ebpf: &mut Ebpf) -> Vec<(String, Result<ProgramInfo, ProgramError>)> {
    let one = |program: &mut Program| match program {
        Program::Xdp(program) => program.load().and_then(|()| program.info()),
        Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
        // The data plane has the two front ends only.
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    ebpf.programs_mut()
        .map(|(name, program)| (name.to_owned(), one(program)))
        .collect()
}
