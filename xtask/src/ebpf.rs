//! `ebpf`: the committed BPF object, its rebuild and its check.
//!
//! Users need stable Rust alone, so the object is committed, stripped, beside a record of the tools and a digest of
//! the sources it was built from. The build is reproducible: the same sources and tools give the same bytes in any
//! folder. It uses Debian's `rustc-web`, which ships `core` for the BPF target, so neither a nightly compiler nor
//! `-Zbuild-std` is needed.

mod record;
mod sources;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use self::{
    record::{Record, Tools},
    sources::digest,
};
use crate::{
    repository::{Repository, cargo_home, messages, program, run, search_path},
    setup::{self, Part},
};

/// The bpf-linker that links the committed object. A newer one may emit other bytes.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";

/// The LLVM that bpf-linker loads; the major version is the one of rustc's own LLVM.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const OBJCOPY: &str = "llvm-objcopy-22";
const PACKAGE: &str = "lvsx-ebpf";
const BENCHMARKS: &str = "lvsx-bench-ebpf";
const TARGET: &str = "bpfel-unknown-none";

/// Flags of rustc. `v3` is the newest instruction set that Linux 6.1 takes (v4's byte swaps are unknown to it);
/// the linker is found on the search path, since a path of this machine would reach the symbol names.
const RUSTFLAGS: [&str; 4] = [
    "-Clinker=bpf-linker",
    "-Clink-arg=--btf",
    // The linker's own choice, which keeps the bytes of copies in order, makes of each short run of zeros a call of a
    // `memset` that goes byte by byte: a first packet cost a quarter more, and the verifier walked every byte of it.
    "-Clink-arg=--disable-expand-memcpy-in-order",
    "-Ctarget-cpu=v3",
];

/// The profile, in place of the one that the host's programs are released with. One unit and full LTO, since
/// everything must end as few functions; debug information is what BTF and its line numbers are made of.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
];

/// Builds the object and writes it with its record.
///
/// # Errors
/// Tools cannot be had, the programs do not compile or link, a file cannot be written.
pub(crate) fn rebuild(repository: &Repository) -> anyhow::Result<()> {
    setup::install(&[Part::Ebpf])?;
    let Built { object, warnings } = build(repository, PACKAGE, Lock::MayChange)?;
    eprint!("{warnings}");
    // The digest comes after the build, which may have completed the lock file.
    let record = Record {
        tools: Tools::installed()?,
        sources: digest(repository)?,
        object: sources::sha256_hex(&object),
    };
    let changed = fs::read(repository.bpf_object()).ok().as_deref() != Some(&object);
    write(repository.bpf_object(), &object)?;
    write(repository.bpf_record(), record.to_json().as_bytes())?;
    println!(
        "ebpf: {} ({} bytes, {})",
        repository.bpf_object().display(),
        object.len(),
        if changed { "changed" } else { "as it was" }
    );
    Ok(())
}

/// Says whether the committed object is what the sources give.
///
/// Under exactly the recorded tools the bytes must agree. Under others it only must build, and a warning says so.
///
/// # Errors
/// No object or record, sources or object that are not the recorded ones, other bytes, a build that fails, or one
/// that warns: no other stage compiles the programs for their target.
pub(crate) fn check(repository: &Repository) -> anyhow::Result<()> {
    const CURE: &str = "run `cargo xtask ebpf` and commit crates/ebpf/lvsx.bpf.o and lvsx.bpf.json";
    let record = Record::read(&repository.bpf_record()).context(CURE)?;
    let committed = fs::read(repository.bpf_object())
        .with_context(|| format!("cannot read {}: {CURE}", repository.bpf_object().display()))?;
    if record.object != sources::sha256_hex(&committed) {
        bail!("lvsx.bpf.o is not the object that lvsx.bpf.json records: {CURE}");
    }
    if record.sources != digest(repository)? {
        bail!("lvsx.bpf.o is stale, its sources have changed: {CURE}");
    }
    setup::install(&[Part::Ebpf])?;
    let tools = Tools::installed()?;
    let Built { object, warnings } = build(repository, PACKAGE, Lock::MustFit)?;
    eprint!("{warnings}");
    if tools == record.tools && !warnings.is_empty() {
        bail!("the BPF programs compile with the warnings above");
    }
    if object == committed {
        println!(
            "ebpf: up to date, {} bytes, and built again byte for byte",
            committed.len()
        );
    } else if tools == record.tools {
        bail!(
            "the sources give another object than the committed one, under the recorded tools: {CURE}"
        );
    } else {
        println!(
            "ebpf: WARNING: it builds, but the bytes cannot be compared: {}",
            tools.other_than(&record.tools)
        );
    }
    // Those of the benchmarks are not committed: what matters is that they build.
    of_benchmarks(repository)?;
    Ok(())
}

/// Builds the programs that benchmarks need, which are not committed, and returns where they are.
///
/// # Errors
/// As those of [`rebuild`].
pub(crate) fn of_benchmarks(repository: &Repository) -> anyhow::Result<PathBuf> {
    setup::install(&[Part::Ebpf])?;
    let Built { object, warnings } = build(repository, BENCHMARKS, Lock::MayChange)?;
    eprint!("{warnings}");
    let path = repository.target().join("bpf/bench.bpf.o");
    write(path.clone(), &object)?;
    Ok(path)
}

/// Whether the build may complete `Cargo.lock`.
enum Lock {
    MayChange,
    MustFit,
}

/// What a build gave.
struct Built {
    object: Vec<u8>,
    /// What the compiler said; empty when it had nothing to say.
    warnings: String,
}

/// Compiles, links and strips the programs of a package.
fn build(repository: &Repository, package: &str, lock: Lock) -> anyhow::Result<Built> {
    let target = repository.target().join("bpf");
    let lock: &[&str] = match lock {
        Lock::MayChange => &[],
        Lock::MustFit => &["--locked"],
    };
    // Fetched first: where the sources of dependencies lie is part of the flags.
    run(cargo(repository)?
        .args(["fetch", "--quiet", "--target", TARGET])
        .args(lock))?;
    let mut compile = cargo(repository)?;
    compile
        .args(["build", "--quiet", "--release", "--package", package])
        .args(["--bin", package, "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(lock)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustflags(repository, &target)?.join("\u{1f}"),
        )
        .envs(PROFILE);
    let warnings = messages(&mut compile)?;

    let linked = target.join(TARGET).join("release").join(package);
    let stripped = linked.with_extension("stripped");
    let objcopy =
        program(OBJCOPY).with_context(|| format!("no {OBJCOPY}: run `cargo xtask setup ebpf`"))?;
    // Debug sections go, .BTF and .BTF.ext stay.
    run(Command::new(objcopy)
        .arg("--strip-debug")
        .arg(&linked)
        .arg(&stripped))?;
    let object =
        fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    Ok(Built { object, warnings })
}

/// Debian's cargo with Debian's compiler; nothing that the caller's environment says about builds reaches it.
fn cargo(repository: &Repository) -> anyhow::Result<Command> {
    const THEIRS: [&str; 5] = [
        "CARGO_PROFILE_",
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_ENCODED_",
        "RUST",
    ];
    let mut cargo = Command::new(CARGO);
    for (name, _) in env::vars_os() {
        if THEIRS
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(repository.root())
        .env("RUSTC", RUSTC)
        .env("CARGO", CARGO)
        // The programs use intrinsics and assembly for BPF, which the stable compiler hides.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", search_path()?);
    Ok(cargo)
}

/// [`RUSTFLAGS`], and the folders of this machine replaced by names; of several that fit, rustc takes the last.
fn rustflags(repository: &Repository, target: &Path) -> anyhow::Result<Vec<String>> {
    let mut folders = vec![
        (repository.root().to_owned(), "lvsx"),
        (target.to_owned(), "target"),
    ];
    // Below this, one folder for each registry or mirror of one, named after it.
    let registries = cargo_home().join("registry/src");
    for entry in fs::read_dir(&registries)
        .with_context(|| format!("cannot list {}", registries.display()))?
    {
        folders.push((entry?.path(), "registry"));
    }
    folders.sort();
    let remaps = folders
        .iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
    Ok(RUSTFLAGS
        .iter()
        .map(|&flag| flag.to_owned())
        .chain(remaps)
        .collect())
}

fn write(path: PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
