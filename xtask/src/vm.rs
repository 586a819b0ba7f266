//! `vm`: boots another kernel of Debian's in QEMU and runs a command there.
//!
//! The machine is emulated (no KVM needed) and sees this host's file system through 9p, with a layer in memory
//! above it: a command finds every file where it is here, may write anywhere, and changes nothing here. Two CPUs,
//! so that what races here races there.

pub(crate) mod selftest;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::repository::{Repository, output, program, run, search_path};

/// How long the machine may live when nobody says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

/// What the boot archive must load before it can reach the host's file system. `virtio_rng` is among them so that
/// the kernel's random numbers do not wait for an emulated machine's little entropy.
const BOOT_MODULES: [&str; 5] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng"];

/// A kernel, unpacked and ready to boot.
pub(crate) struct Machine {
    /// Folder with the package's files: `boot/vmlinuz-*`, `lib/modules/*`.
    kernel: PathBuf,
    /// The version as `uname -r` will print it.
    release: String,
    /// Folder for the files of the runs.
    jobs: PathBuf,
    root: PathBuf,
}

impl Machine {
    /// Makes the kernel of that version ready, by downloading Debian's newest package of it the first time.
    ///
    /// # Errors
    /// No such kernel in Debian's archive, or it cannot be fetched or unpacked.
    pub(crate) fn prepare(repository: &Repository, version: &str) -> anyhow::Result<Self> {
        if version.is_empty()
            || !version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            bail!("'{version}' is no kernel version; give one such as 6.1");
        }
        let folder = repository.target().join("vm");
        let kernel = folder.join(version);
        if !kernel.exists() {
            fetch(version, &folder, &kernel)?;
        }
        let modules = kernel.join("lib/modules");
        let release = fs::read_dir(&modules)
            .with_context(|| {
                format!(
                    "cannot list {}: remove {}",
                    modules.display(),
                    kernel.display()
                )
            })?
            .find_map(|entry| entry.ok()?.file_name().into_string().ok())
            .with_context(|| format!("no modules in {}", modules.display()))?;
        Ok(Self {
            kernel,
            release,
            jobs: folder.join("jobs"),
            root: repository.root().to_owned(),
        })
    }

    /// Boots, runs `script` under bash in the top folder of the repository, and returns its exit code. What it
    /// prints comes out here as it is printed.
    ///
    /// # Errors
    /// The machine does not come up, or has not ended after `limit`; the error holds the console's last lines.
    pub(crate) fn run(&self, script: &str, limit: Duration) -> anyhow::Result<u8> {
        let job = self.jobs.join(std::process::id().to_string());
        fs::create_dir_all(&job).with_context(|| format!("cannot make {}", job.display()))?;
        let result = self.boot(&job, script, limit);
        fs::remove_dir_all(&job).with_context(|| format!("cannot remove {}", job.display()))?;
        result
    }

    fn boot(&self, job: &Path, script: &str, limit: Duration) -> anyhow::Result<u8> {
        let root = quote(&self.root.to_string_lossy());
        let path = quote(&search_path()?.to_string_lossy());
        // This program itself may be the command: it asks for its manifest.
        let command = format!(
            "cd {root}\nexport PATH={path} HOME=/root CARGO_MANIFEST_DIR={root}/xtask\n{script}\n"
        );
        fs::write(job.join("command"), command)?;
        fs::write(job.join("start"), include_str!("vm/start.sh"))?;
        let archive = self.boot_archive(job)?;
        let console = job.join("console");

        let status = Command::new("timeout")
            // Even when this program is killed the machine ends by itself.
            .args([
                "--foreground",
                "--kill-after=5",
                &limit.as_secs().to_string(),
            ])
            .arg(
                program("qemu-system-x86_64")
                    .context("no qemu-system-x86_64: run `cargo xtask setup vm`")?,
            )
            .args([
                "-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048",
            ])
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-monitor",
                "none",
                "-no-reboot",
                "-device",
                "virtio-rng-pci",
            ])
            .args([
                "-append",
                "console=ttyS0 panic=-1 mitigations=off nokaslr random.trust_cpu=on",
            ])
            .arg("-kernel")
            .arg(
                self.kernel
                    .join("boot")
                    .join(format!("vmlinuz-{}", self.release)),
            )
            .arg("-initrd")
            .arg(&archive)
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .args(share("host", Path::new("/"), ",readonly=on"))
            .args(share(
                "modules",
                &self.kernel.join("lib/modules"),
                ",readonly=on",
            ))
            .args(share("job", job, ""))
            .stdin(Stdio::null())
            .status()
            .context("cannot start the virtual machine")?;

        let code = fs::read_to_string(job.join("status"))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        code.with_context(|| {
            let text = fs::read(&console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            let why = if status.code() == Some(124) {
                format!("it was still running after {} seconds", limit.as_secs())
            } else {
                format!("it ended early ({status})")
            };
            format!("the virtual machine gave no result: {why}; the end of its console:\n{last}")
        })
    }

    /// Writes the archive that the kernel unpacks as its first root: busybox, modules, `init`.
    fn boot_archive(&self, job: &Path) -> anyhow::Result<PathBuf> {
        let tree = job.join("archive");
        for folder in ["bin", "modules", "proc", "dev"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        let busybox = program("busybox").context("no busybox: run `cargo xtask setup vm`")?;
        fs::copy(busybox, tree.join("bin/busybox"))?;
        std::os::unix::fs::symlink("busybox", tree.join("bin/sh"))?;
        let mut list = Vec::new();
        for module in BOOT_MODULES {
            for file in self.module_files(module)? {
                let name = file
                    .file_name()
                    .context("a module without a name")?
                    .to_string_lossy()
                    .into_owned();
                if !list.contains(&name) {
                    fs::copy(&file, tree.join("modules").join(&name))?;
                    list.push(name);
                }
            }
        }
        fs::write(tree.join("modules/list"), list.join("\n") + "\n")?;
        fs::write(tree.join("init"), include_str!("vm/init.sh"))?;
        fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
        let archive = job.join("archive.cpio");
        run(Command::new("sh")
            .current_dir(&tree)
            .args(["-c", "find . | cpio --quiet -o -H newc > ../archive.cpio"]))?;
        Ok(archive)
    }

    /// The files that `module` needs, in the order in which they must be loaded; none when it is built in.
    fn module_files(&self, module: &str) -> anyhow::Result<Vec<PathBuf>> {
        let modprobe = program("modprobe").context("no modprobe: run `cargo xtask setup vm`")?;
        let list = output(
            Command::new(modprobe)
                .arg("--dirname")
                .arg(&self.kernel)
                .args(["--set-version", &self.release, "--show-depends", module]),
        )?;
        Ok(list
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
            .map(|file| file.trim().into())
            .collect())
    }
}

/// Downloads and unpacks the newest kernel package of `version` into `kernel`, which then is complete or absent.
fn fetch(version: &str, folder: &Path, kernel: &Path) -> anyhow::Result<()> {
    let package = match newest_package(version)? {
        Some(package) => package,
        None => {
            // The package lists may never have been loaded on this machine.
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            newest_package(version)?
                .with_context(|| format!("Debian's archive has no kernel {version}"))?
        }
    };
    println!("vm: fetching {package}");
    let unpacked = folder.join(format!("{version}.{}", std::process::id()));
    let download = unpacked.join("download");
    fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
    let result = (|| {
        run(Command::new("apt-get")
            .current_dir(&download)
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .arg(&package))?;
        let archive = fs::read_dir(&download)?
            .next()
            .context("apt-get downloaded nothing")??
            .path();
        run(Command::new("dpkg-deb")
            .arg("-x")
            .arg(archive)
            .arg(&unpacked))?;
        fs::remove_dir_all(&download)?;
        let release = fs::read_dir(unpacked.join("lib/modules"))?
            .next()
            .context("the package has no modules")??;
        let depmod = program("depmod").context("no depmod: run `cargo xtask setup vm`")?;
        run(Command::new(depmod)
            .arg("-b")
            .arg(&unpacked)
            .arg(release.file_name()))?;
        fs::rename(&unpacked, kernel).with_context(|| format!("cannot make {}", kernel.display()))
    })();
    if result.is_err() {
        // Best effort: what made the unpacking fail is the error to show.
        let _ = fs::remove_dir_all(&unpacked);
    }
    result
}

/// The name of the kernel package of `version` with the highest build number.
fn newest_package(version: &str) -> anyhow::Result<Option<String>> {
    let pattern = format!("^linux-image-{}\\.", version.replace('.', "\\."));
    let found = output(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = found
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    // linux-image-6.1.0-56-amd64-unsigned, not its cloud and rt sisters.
    let numbered = names.filter_map(|name| {
        let build = name.strip_suffix("-amd64-unsigned")?.rsplit_once('-')?.1;
        Some((build.parse::<u32>().ok()?, name.to_owned()))
    });
    Ok(numbered.max().map(|(_, name)| name))
}

/// QEMU's arguments for a folder of this host that the machine can mount by `tag`.
fn share(tag: &str, folder: &Path, options: &str) -> [String; 4] {
    let folder = folder.display();
    [
        "-fsdev".to_owned(),
        format!("local,id={tag},path={folder},security_model=none,multidevs=remap{options}"),
        "-device".to_owned(),
        format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]
}

/// A script that is one command of these words.
///
/// # Errors
/// A word is not UTF-8.
pub(crate) fn quoted(words: &[OsString]) -> anyhow::Result<String> {
    let words = words.iter().map(|word| {
        word.to_str()
            .map(quote)
            .context("a word of the command is not UTF-8")
    });
    Ok(words.collect::<anyhow::Result<Vec<_>>>()?.join(" "))
}

/// `word` so that a shell takes it as it is.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_quoted_words_back() {
        let words = ["a b", "it's", "$HOME", "", "back\\slash", "two\nlines"];
        let script = format!(
            "printf '%s|' {}",
            quoted(&words.map(OsString::from)).unwrap()
        );
        let printed = output(Command::new("sh").args(["-c", &script])).unwrap();
        assert_eq!(printed, words.join("|") + "|");
    }
}
