//! `cargo xtask`: what a developer and CI run on this repository.
//!
//! Reading order: [`repository`] (where things are), [`setup`] (what must be installed), [`ebpf`] (the
//! committed BPF object), [`beside`] (the kernel and Debian as the measure), [`vm`] (the oldest kernel we support), [`figures`], [`package`], and [`test`](mod@test), which uses them all.

mod bench;
mod beside;
mod ebpf;
mod figures;
mod fuzz;
mod package;
mod repository;
mod setup;
mod test;
mod vm;

use std::{ffi::OsString, path, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt as _,
};

use crate::{package::Profile, repository::Repository, setup::Part, test::Stage};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup [test|ebpf|vm|conform|package|go|bench]...
                              install what is missing: for the tests, for the BPF build, for the old kernel, for the
                              kernel's IPVS beside the director, for packages (default: these), for clients in Go,
                              for what stands beside the director in benchmarks
  ebpf [--check]              rebuild crates/ebpf/lvsx.bpf.o; --check: say whether the committed one is up to date
  test [STAGE]...             run all tests, or some of: setup fmt clippy doc ebpf test
                              interleavings figures labs package vm conform parity
  package [--profile release|dev] [--try]
                              make a .deb and an .rpm in target/package; --try: install, upgrade and remove them, where
                              nothing of this machine is changed
  conform [--category C]... [--plane P]... [--seeds N] [--help] [FILE]...
                              play scenarios on lvsd and on the kernel's own IPVS, and compare
  fuzz [TARGET] [--seconds N] random input, guided by coverage, to what reads input of others: netlink, rules, argv (default: each, 60 s)
  go                          install Go, and have lvsd serve programs that use its netlink libraries
  parity [--count N] [--seed S] [--scale N] [--help]
                              put command lines to Debian's ipvsadm on the kernel's IPVS, to ours there and on lvsd
  vm VERSION [--seconds N] [-- COMMAND...]
                              boot Debian's kernel VERSION (6.1) and run COMMAND there (default: labs, kill and restart)
  figures [--vm VERSION] [OBJECT]
                              load each BPF program, here or under kernel VERSION, and print what the verifier and
                              the JIT made of it
  bench [OPTION]...           what a packet costs in the programs, beside the least that it could cost; end to end, beside routing,
                              netfilter, proxies and the kernel's IPVS; control; scale (--help)
";

fn main() -> ExitCode {
    match command() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> anyhow::Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let word = match args.next()? {
        Some(Value(word)) => word.string()?,
        Some(Long("help") | Short('h')) => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
        None => bail!("which command?\n{USAGE}"),
    };
    let repository = Repository::find()?;
    match word.as_str() {
        "setup" => {
            let parts = words(&mut args, Part::from_word)?;
            setup::install(if parts.is_empty() { &Part::ALL } else { &parts })?;
        }
        "ebpf" => {
            if flag(&mut args, "check")? {
                ebpf::check(&repository)?;
            } else {
                ebpf::rebuild(&repository)?;
            }
        }
        "test" => {
            let stages = words(&mut args, Stage::from_word)?;
            test::run(
                &repository,
                if stages.is_empty() {
                    &Stage::ALL
                } else {
                    &stages
                },
            )?;
        }
        "conform" | "parity" => {
            let arguments: Vec<OsString> = args.raw_args()?.collect();
            beside::the_kernel(&repository, &word, &arguments)?;
        }
        "bench" => {
            let arguments: Vec<OsString> = args.raw_args()?.collect();
            bench::bench(&repository, &arguments)?;
        }
        "fuzz" => fuzz_command(&repository, &mut args)?,
        "package" => package_command(&repository, &mut args)?,
        "go" => {
            setup::install(&[Part::Test, Part::Go])?;
            test::of_go(&repository)?;
        }
        "vm" => return vm_command(&repository, &mut args),
        "figures" => return figures_command(&repository, &mut args),
        other => bail!("no command '{other}'\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn fuzz_command(repository: &Repository, args: &mut lexopt::Parser) -> anyhow::Result<()> {
    let (mut target, mut seconds) = (None, 60);
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => seconds = args.value()?.parse()?,
            Value(word) if target.is_none() => target = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    fuzz::fuzz(repository, target.as_deref(), seconds)
}

fn package_command(repository: &Repository, args: &mut lexopt::Parser) -> anyhow::Result<()> {
    let (mut profile, mut is_trial) = (Profile::Release, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("profile") => {
                let word = args.value()?.string()?;
                profile = Profile::from_word(&word)
                    .with_context(|| format!("--profile {word}: there are release and dev"))?;
            }
            Long("try") => is_trial = true,
            other => return Err(other.unexpected().into()),
        }
    }
    setup::install(&[Part::Package])?;
    let packages = package::make(repository, profile)?;
    if is_trial {
        package::trial::try_out(repository, &packages)?;
    }
    Ok(())
}

fn vm_command(repository: &Repository, args: &mut lexopt::Parser) -> anyhow::Result<ExitCode> {
    let mut version = None;
    let mut limit = vm::LIMIT;
    let mut command: Vec<OsString> = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => limit = Duration::from_secs(args.value()?.parse()?),
            Value(word) if version.is_none() => version = Some(word.string()?),
            // What stands after `--` comes as plain words.
            Value(word) => {
                command.push(word);
                command.extend(args.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let version = version.context("which kernel? For example: cargo xtask vm 6.1")?;
    setup::install(&[Part::Vm])?;
    let machine = vm::Machine::prepare(repository, &version)?;
    let script = if command.is_empty() {
        vm::selftest::script(repository, vm::selftest::Extent::Whole)?
    } else {
        vm::quoted(&command)?
    };
    let code = machine.run(&script, limit)?;
    Ok(ExitCode::from(code))
}

fn figures_command(repository: &Repository, args: &mut lexopt::Parser) -> anyhow::Result<ExitCode> {
    let mut version = None;
    let mut object = repository.bpf_object();
    while let Some(arg) = args.next()? {
        match arg {
            Long("vm") => version = Some(args.value()?.string()?),
            Value(path) => object = path.into(),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(version) = version else {
        figures::print(&object)?;
        return Ok(ExitCode::SUCCESS);
    };
    setup::install(&[Part::Vm])?;
    let object = path::absolute(object).context("where is the object?")?;
    let machine = vm::Machine::prepare(repository, &version)?;
    let code = machine.run(&vm::selftest::figures(&object)?, vm::LIMIT)?;
    Ok(ExitCode::from(code))
}

/// The remaining words, each understood by `known`; an error names the first that is not.
fn words<T>(
    args: &mut lexopt::Parser,
    known: impl Fn(&str) -> Option<T>,
) -> anyhow::Result<Vec<T>> {
    let mut found = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) => {
                let word = word.string()?;
                found.push(
                    known(&word).with_context(|| format!("'{word}' is not known here\n{USAGE}"))?,
                );
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(found)
}

/// Whether the only remaining argument is `--name`.
fn flag(args: &mut lexopt::Parser, name: &str) -> anyhow::Result<bool> {
    let mut given = false;
    while let Some(arg) = args.next()? {
        match arg {
            Long(word) if word == name => given = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(given)
}
