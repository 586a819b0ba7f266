//! Where things are in this repository, and how its tasks run other programs.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Builds the released binary and the lab's examples.
const RELEASE: [&str; 10] = [
    "build",
    "--quiet",
    "--release",
    "--package",
    "lvsx",
    "--package",
    "lvsx-lab",
    "--bin",
    "lvsx",
    "--examples",
];

/// The checkout this `xtask` was started in, and the folder its builds go to.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    target: PathBuf,
}

impl Repository {
    /// Finds the checkout by what cargo tells the program it runs.
    ///
    /// # Errors
    /// Not started by cargo, so that it is unknown which checkout is meant.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").context("start this program as `cargo xtask ...`")?;
        let root = Path::new(&manifest)
            .parent()
            .context("the folder of xtask has no parent")?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target })
    }

    /// The top folder of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where builds go: `CARGO_TARGET_DIR`, else `target`.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The committed BPF object.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.root.join("crates/ebpf/lvsx.bpf.o")
    }

    /// The record beside the object: what it was built from, and with which tools.
    pub(crate) fn bpf_record(&self) -> PathBuf {
        self.root.join("crates/ebpf/lvsx.bpf.json")
    }

    /// The cargo that runs this program, in the top folder.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(args);
        command
    }

    /// Builds the released binary and the lab's examples, in one go: apart, each would be built of dependencies chosen without
    /// what the other asks of them, and many of these twice. The folder they lie in.
    ///
    /// # Errors
    /// They do not build.
    pub(crate) fn release(&self) -> anyhow::Result<PathBuf> {
        run(&mut self.cargo(RELEASE))?;
        Ok(self.target.join("release"))
    }

    /// Begins what [`release`](Self::release) does, which then finds it done, on what CPU time others leave.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn release_ahead(&self) -> io::Result<Child> {
        let cargo = self.cargo(RELEASE);
        Command::new("nice")
            .current_dir(&self.root)
            .args(["-n", "19"])
            .arg(cargo.get_program())
            .args(cargo.get_args())
            .stdin(Stdio::null())
            .spawn()
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// It cannot be started or exits non-zero; the error shows its command line.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{status}: {}", line(command));
    }
    Ok(())
}

/// Runs `command` and returns what it printed; its errors go to the terminal.
///
/// # Errors
/// As [`run`], and output that is not UTF-8.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, line(command));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("not UTF-8: what {} printed", line(command)))
}

/// Runs `command` to its end and returns what it said on its error stream.
///
/// # Errors
/// As [`run`]; what it said is then part of the error.
pub(crate) fn messages(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("{}: {}\n{said}", output.status, line(command));
    }
    Ok(said)
}

/// The file that `name` stands for on the search path.
///
/// The folders of system tools and of `cargo install` are searched too: a user's path often leaves them out.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more_folders())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The search path with the folders that [`program`] adds.
pub(crate) fn search_path() -> anyhow::Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(more_folders()))
        .context("a folder of PATH has a ':' in its name")
}

/// Where cargo keeps the sources of dependencies and the programs it installed.
pub(crate) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
            home.join(".cargo")
        })
}

fn more_folders() -> [PathBuf; 3] {
    [cargo_home().join("bin"), "/usr/sbin".into(), "/sbin".into()]
}

/// A command as one would type it, for messages.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
