//! `setup`: installs what the tests, the BPF build, the old kernel and the packages need and this machine does not have.
//!
//! Each thing is looked for first, so a second run costs milliseconds, and a machine that is not Debian passes
//! when it has the tools. Installing needs root and Debian's `apt-get`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{
    ebpf::{BPF_LINKER_VERSION, LLVM_PREFIX},
    repository::{output, program, run},
};

/// The version that the tests were written with.
const PYROUTE2_VERSION: &str = "0.9.7";

/// What the installed things are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Unit tests, tests in network namespaces, and the labs.
    Test,
    /// Rebuilding the BPF object.
    Ebpf,
    /// Booting another kernel.
    Vm,
    /// The kernel's IPVS beside the director.
    Conform,
    /// Packing, and trying what was packed.
    Package,
    /// Clients in Go, which CI does without: half a gigabyte, and longer to install than to try.
    Go,
    /// What stands beside the director in benchmarks.
    Bench,
}

impl Part {
    /// All parts that `cargo xtask test` uses.
    pub(crate) const ALL: [Self; 5] = [
        Self::Test,
        Self::Ebpf,
        Self::Vm,
        Self::Conform,
        Self::Package,
    ];

    /// The part of that name on the command line.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "test" => Some(Self::Test),
            "ebpf" => Some(Self::Ebpf),
            "vm" => Some(Self::Vm),
            "conform" => Some(Self::Conform),
            "package" => Some(Self::Package),
            "go" => Some(Self::Go),
            "bench" => Some(Self::Bench),
            _ => None,
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Test => &[
                Need {
                    package: "iproute2",
                    sign: Sign::Program("ip"),
                },
                Need {
                    package: "ethtool",
                    sign: Sign::Program("ethtool"),
                },
                Need {
                    package: "gcc",
                    sign: Sign::Program("cc"),
                },
                Need {
                    package: "libc6-dev",
                    sign: Sign::File("/usr/include/stdio.h"),
                },
                Need {
                    package: "bpftool",
                    sign: Sign::Program("bpftool"),
                },
                Need {
                    package: "haproxy",
                    sign: Sign::File("/usr/sbin/haproxy"),
                },
                Need {
                    package: "ipvsadm",
                    sign: Sign::File("/usr/sbin/ipvsadm"),
                },
                Need {
                    package: "keepalived",
                    sign: Sign::File("/usr/sbin/keepalived"),
                },
                Need {
                    package: "user-mode-linux",
                    sign: Sign::Program("linux.uml"),
                },
                Need {
                    package: "python3-pip",
                    sign: Sign::File("/usr/lib/python3/dist-packages/pip"),
                },
                Need {
                    package: "procps",
                    sign: Sign::Program("sysctl"),
                },
                Need {
                    package: "iptables",
                    sign: Sign::Program("iptables-save"),
                },
                Need {
                    package: "nftables",
                    sign: Sign::Program("nft"),
                },
            ],
            Self::Ebpf => &[
                Need {
                    package: "rustc-web",
                    sign: Sign::File("/usr/bin/rustc"),
                },
                Need {
                    package: "cargo-web",
                    sign: Sign::File("/usr/bin/cargo"),
                },
                Need {
                    package: "libstd-rust-web-dev-bpf",
                    sign: Sign::File("/usr/lib/rustlib/bpfel-unknown-none/lib"),
                },
                Need {
                    package: "llvm-22-dev",
                    sign: Sign::File("/usr/lib/llvm-22/lib/libLLVM.so"),
                },
                Need {
                    package: "llvm-22",
                    sign: Sign::Program("llvm-objcopy-22"),
                },
            ],
            Self::Vm => &[
                Need {
                    package: "qemu-system-x86",
                    sign: Sign::Program("qemu-system-x86_64"),
                },
                Need {
                    package: "busybox-static",
                    sign: Sign::Applet("insmod"),
                },
                Need {
                    package: "cpio",
                    sign: Sign::Program("cpio"),
                },
                Need {
                    package: "kmod",
                    sign: Sign::Program("modprobe"),
                },
            ],
            Self::Conform => &[
                Need {
                    package: "user-mode-linux",
                    sign: Sign::Program("linux.uml"),
                },
                Need {
                    package: "ipvsadm",
                    sign: Sign::File("/usr/sbin/ipvsadm"),
                },
                Need {
                    package: "iptables",
                    sign: Sign::Program("iptables-legacy"),
                },
                Need {
                    package: "iproute2",
                    sign: Sign::Program("ip"),
                },
                Need {
                    package: "ethtool",
                    sign: Sign::Program("ethtool"),
                },
                Need {
                    package: "kmod",
                    sign: Sign::Program("modprobe"),
                },
            ],
            Self::Bench => &[
                Need {
                    package: "haproxy",
                    sign: Sign::Program("haproxy"),
                },
                Need {
                    package: "nftables",
                    sign: Sign::Program("nft"),
                },
                Need {
                    package: "iproute2",
                    sign: Sign::Program("ss"),
                },
                Need {
                    package: "ethtool",
                    sign: Sign::Program("ethtool"),
                },
            ],
            Self::Package => &[
                Need {
                    package: "binutils",
                    sign: Sign::Program("strip"),
                },
                Need {
                    package: "dpkg-dev",
                    sign: Sign::Program("dpkg-shlibdeps"),
                },
                Need {
                    package: "rpm",
                    sign: Sign::Program("rpm"),
                },
                Need {
                    package: "curl",
                    sign: Sign::Program("curl"),
                },
                Need {
                    package: "systemd",
                    sign: Sign::Program("systemd-analyze"),
                },
                Need {
                    package: "mandoc",
                    sign: Sign::Program("mandoc"),
                },
                Need {
                    package: "zsh",
                    sign: Sign::Program("zsh"),
                },
                Need {
                    package: "fish",
                    sign: Sign::Program("fish"),
                },
            ],
            Self::Go => &[
                Need {
                    package: "golang-go",
                    sign: Sign::Program("go"),
                },
                Need {
                    package: "golang-github-vishvananda-netlink-dev",
                    sign: Sign::File("/usr/share/gocode/src/github.com/vishvananda/netlink"),
                },
                Need {
                    package: "golang-github-mdlayher-genetlink-dev",
                    sign: Sign::File("/usr/share/gocode/src/github.com/mdlayher/genetlink"),
                },
            ],
        }
    }
}

/// What packs, as cargo's subcommands.
const PACKERS: [(&str, &str); 2] = [("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.21.1")];

/// A Debian package, and how to see that what it brings is there.
struct Need {
    package: &'static str,
    sign: Sign,
}

enum Sign {
    /// A program on the search path.
    Program(&'static str),
    /// A file or folder.
    File(&'static str),
    /// A command inside busybox: Debian's plain busybox is linked dynamically and has no `insmod`.
    Applet(&'static str),
}

impl Need {
    fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(name) => program(name).is_some(),
            Sign::File(path) => Path::new(path).exists(),
            Sign::Applet(name) => program("busybox").is_some_and(|busybox| {
                output(Command::new(busybox).arg("--list"))
                    .is_ok_and(|list| list.lines().any(|line| line == name))
            }),
        }
    }
}

/// Installs what `parts` need and this machine lacks. Says what it installs, and nothing when all is there.
///
/// # Errors
/// Something is missing and it cannot be installed: not Debian, not root, no such package, a build that fails.
pub(crate) fn install(parts: &[Part]) -> anyhow::Result<()> {
    let missing: Vec<_> = parts
        .iter()
        .flat_map(|part| part.needs())
        .filter(|need| !need.is_met())
        .map(|need| need.package)
        .collect();
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    if parts.contains(&Part::Test) {
        install_components()?;
        install_pyroute2()?;
    }
    if parts.contains(&Part::Ebpf) {
        install_bpf_linker()?;
    }
    if parts.contains(&Part::Package) {
        install_packers()?;
    }
    Ok(())
}

fn install_packers() -> anyhow::Result<()> {
    for (packer, version) in PACKERS
        .iter()
        .filter(|(packer, _)| program(packer).is_none())
    {
        println!("setup: cargo install {packer} {version} (half a minute)");
        // They work for seconds; to optimise them takes minutes.
        run(cargo_install(packer, version).arg("--debug"))?;
    }
    Ok(())
}

fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    println!("setup: apt-get install {list}");
    let Some(apt) = program("apt-get") else {
        bail!("this machine has no apt-get: install what Debian calls {list}");
    };
    // A source that cannot be reached must not stop what the other sources have: the install decides.
    if let Err(error) = run(Command::new(&apt).args(["update", "-qq"])) {
        eprintln!("setup: {error:#}");
    }
    run(Command::new(&apt)
        .args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Some hundred lines of unpacking; errors come on the other stream.
        .stdout(Stdio::null()))
    .with_context(|| {
        format!("cannot install {list}: are you root, and is this Debian 12 or newer?")
    })
}

/// `cargo fmt` and `cargo clippy`, which a minimal toolchain lacks.
fn install_components() -> anyhow::Result<()> {
    for (file, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if program(file).is_none() {
            println!("setup: rustup component add {component}");
            run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// pyroute2 with its IPVS part, which Debian's package of it leaves out, for Debian's Python.
fn install_pyroute2() -> anyhow::Result<()> {
    let python = || Command::new("/usr/bin/python3");
    let is_there = python()
        .args(["-c", "from pyroute2 import IPVS"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if is_there {
        return Ok(());
    }
    let wanted = format!("pyroute2=={PYROUTE2_VERSION}");
    println!("setup: pip install {wanted}");
    run(python()
        .args(["-m", "pip", "install", "--quiet", "--break-system-packages"])
        .args(["--root-user-action=ignore", &wanted]))
}

/// bpf-linker in exactly the version that the object is built with.
fn install_bpf_linker() -> anyhow::Result<()> {
    let wanted = format!("bpf-linker {BPF_LINKER_VERSION}");
    if let Some(linker) = program("bpf-linker") {
        // One that cannot even start (its LLVM library is gone) is replaced too.
        match output(Command::new(linker).arg("--version")) {
            Ok(version) if version.trim() == wanted => return Ok(()),
            Ok(version) => println!("setup: {} is to be replaced", version.trim()),
            Err(error) => println!("setup: {error:#}"),
        }
    }
    println!("setup: cargo install {wanted} (some minutes)");
    run(cargo_install("bpf-linker", BPF_LINKER_VERSION)
        .args(["--force", "--no-default-features", "--features", "llvm-22"])
        // Where its build finds LLVM: without it the link looks for a library that is not on the system's path.
        .env("LLVM_PREFIX", LLVM_PREFIX))
}

/// Installs a program for the machine, not into this repository's folder under its settings.
fn cargo_install(name: &str, version: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["install", "--quiet", "--locked"])
        .args([name, "--version", version])
        .env_remove("CARGO_TARGET_DIR");
    cargo
}
