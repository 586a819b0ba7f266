//! What runs on the old kernel when no command is given: the labs in both modes, kill and restart, the figures.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    repository::{Repository, output},
    test::{LAB_METHODS, LAB_MODES},
    vm::{self, quote},
};

/// The test program of `crates/lvsx` that is run on the old kernel, and its tests that must pass there.
const PROGRAM: &str = "survival";
const TESTS: [&str; 4] = [
    "a_killed_director_by_dr_in_tc",
    "a_killed_director_by_nat_in_xdp",
    "a_killed_director_by_nat_in_tc",
    "connections_expire_without_a_director",
];

/// How much of the self-test runs. An emulated machine takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One lab in either mode and the figures: every program is loaded all the same.
    Part,
    /// All.
    Whole,
}

/// Builds what the self-test needs and returns its script.
///
/// # Errors
/// Something does not build, or one of [`TESTS`] is not there.
pub(crate) fn script(repository: &Repository, extent: Extent) -> anyhow::Result<String> {
    let program = test_program(repository)?;
    let lvsx = repository.release()?.join("lvsx");

    let mut script = String::from("uname -r\nfailed=0\n");
    let mut step = |name: &str, command: &str| {
        script.push_str(&format!(
            "start=$SECONDS\nif {command}; then verdict=passed; else verdict=FAILED; failed=1; fi\n\
             echo \"vm: {name} $verdict ($((SECONDS - start)) s)\"\n"
        ));
    };
    let lvsx = quote(&lvsx.to_string_lossy());
    for (number, method) in LAB_METHODS.into_iter().enumerate() {
        let turn = LAB_MODES[number % LAB_MODES.len()];
        for mode in LAB_MODES {
            if extent == Extent::Part && (mode != turn || number >= LAB_MODES.len()) {
                continue;
            }
            step(
                &format!("lab {method} {mode}"),
                &format!("{lvsx} lab {method} --mode {mode}"),
            );
        }
    }
    let program = quote(&program.to_string_lossy());
    let tests = match extent {
        Extent::Part => &[],
        Extent::Whole => &TESTS[..],
    };
    for test in tests {
        step(
            test,
            &format!("{program} --exact {test} --test-threads 1 --nocapture"),
        );
    }
    step("figures", &figures(&repository.bpf_object())?);
    script.push_str("exit $failed\n");
    Ok(script)
}

/// The command that prints the [`figures`](crate::figures) of `object`: this program is there too.
///
/// # Errors
/// The system does not tell where this program is.
pub(crate) fn figures(object: &Path) -> anyhow::Result<String> {
    let xtask = env::current_exe().context("where is this program?")?;
    vm::quoted(&[xtask.into(), "figures".into(), object.into()])
}

/// Builds [`PROGRAM`] and returns where it is.
fn test_program(repository: &Repository) -> anyhow::Result<PathBuf> {
    let messages = output(
        repository
            .cargo(["test", "--quiet", "--no-run", "--package", "lvsx"])
            .args(["--test", PROGRAM, "--message-format", "json"]),
    )?;
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(PROGRAM))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no test program {PROGRAM}"))?;
    // A name that matches nothing would pass there without running anything.
    let list = output(Command::new(&program).args(["--list", "--format", "terse"]))?;
    for test in TESTS {
        if !list
            .lines()
            .any(|line| line.strip_suffix(": test") == Some(test))
        {
            bail!("the test program {PROGRAM} has no {test}, which must pass on the old kernel");
        }
    }
    Ok(program)
}
