//! The command line of lvsd.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `lvsd --help` prints.
pub const USAGE: &str = "\
lvsd, the director of this network namespace

  lvsd [OPTION]...

  --mode auto|tc|xdp   where packets are handled; auto (the default) is tc
  --iface NAME         serve this interface, and only those named so; may be repeated. Without it: those that
                       carry a virtual address, lead to a server, or carry the default route
  --connections N      rated size of a new connection table (262144)
  --any-vip            services' addresses are ours even where the kernel does not route them as local
  --restore FILE       begin with the table in this file (`lvsx save`, or lines of ipvsadm) where none is in force; a file
                       with anything wrong is named line by line in the log and leaves the table empty
  --proc DIR           writes ip_vs, ip_vs_stats, ip_vs_conn and so on into DIR/net, as the kernel's /proc/net has them;
                       every 2 s, connections every 10 s (node_exporter --path.procfs DIR --collector.ipvs)
  --check-user NAME    who may read the tables and set weights by a socket of its own, and nothing else (lvsx-check)
  --stop-forwarding, --detach
                       end the forwarding that a director left here, and exit
  -h, --help           this text
  -V, --version        the version

It runs in the foreground, logs to stderr (LVSX_LOG=debug tells more) and says `ready` when it serves. Ended by a
signal it leaves forwarding as it is: the next lvsd goes on with it. SIGHUP has it look at the network again. It tells a
service manager when it serves and that it is alive (sd_notify). LVSX_RUN_DIR replaces /run/lvsx.
";

/// The usual user of the health checks.
pub const CHECK_USER: &str = "lvsx-check";
/// Rated size of a new connection table.
pub const CONNECTIONS: u32 = 262_144;
/// Largest rated size: sets must be numbered in 32 bits, with the overflow area, and 4 GiB of table is enough.
const MOST_CONNECTIONS: u32 = 40_000_000;

/// Where packets are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the design finds best: tc.
    #[default]
    Auto,
    /// tc ingress.
    Tc,
    /// The driver's XDP hook.
    Xdp,
}

impl Mode {
    /// Its name in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto | Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }
}

/// What lvsd was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Direct.
    Run(Options),
    /// End forwarding.
    StopForwarding,
    /// Print [`USAGE`].
    Help,
    /// Print the version.
    Version,
}

/// How to direct.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where packets are handled.
    pub mode: Mode,
    /// The interfaces to serve; empty: those that follow from services and routes.
    pub interfaces: Vec<String>,
    /// Rated size of a new connection table.
    pub connections: Option<u32>,
    /// Services' addresses are ours, local or not.
    pub any_vip: bool,
    /// A file of command lines that is applied before lvsd is ready.
    pub restore: Option<PathBuf>,
    /// Where the files of `/proc/net` are written to.
    pub proc: Option<PathBuf>,
    /// The user of the health checks, who may set weights; `None`: [`CHECK_USER`], if there is such a user.
    pub check_user: Option<String>,
}

/// Reads the arguments (without the program's name).
///
/// # Errors
/// An option that is unknown, or whose value is not one.
pub fn parse(arguments: Vec<OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("mode") => {
                options.mode = match &*parser.value()?.string()? {
                    "auto" => Mode::Auto,
                    "tc" => Mode::Tc,
                    "xdp" => Mode::Xdp,
                    other => {
                        return Err(format!("--mode {other}: there is auto, tc and xdp").into());
                    }
                }
            }
            Long("iface") => options.interfaces.push(parser.value()?.string()?),
            Long("connections") => {
                let connections = parser.value()?.parse()?;
                if !(1..=MOST_CONNECTIONS).contains(&connections) {
                    return Err(format!(
                        "--connections {connections}: from 1 to {MOST_CONNECTIONS}"
                    )
                    .into());
                }
                options.connections = Some(connections);
            }
            Long("check-user") => options.check_user = Some(parser.value()?.string()?),
            Long("restore") => options.restore = Some(parser.value()?.into()),
            Long("proc") => options.proc = Some(parser.value()?.into()),
            Long("any-vip") => options.any_vip = true,
            Long("stop-forwarding" | "detach") => return Ok(Command::StopForwarding),
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        let options = Options {
            mode: Mode::Xdp,
            interfaces: vec!["eth0".into(), "eth1".into()],
            connections: Some(1000),
            any_vip: true,
            restore: Some("/etc/ipvsadm.rules".into()),
            proc: Some("/run/exported".into()),
            check_user: Some("nobody".into()),
        };
        let line = "--mode xdp --iface eth0 --iface=eth1 --connections 1000 --any-vip --check-user nobody --restore /etc/ipvsadm.rules --proc /run/exported";
        assert_eq!(parsed(line), Ok(Command::Run(options)));
        assert_eq!(parsed(""), Ok(Command::Run(Options::default())));
        assert_eq!(parsed("--detach"), Ok(Command::StopForwarding));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("--mode generic", "auto, tc and xdp"),
            ("--connections 0", "from 1"),
            ("--connections many", "many"),
            ("--foreground", "--foreground"),
            ("eth0", "eth0"),
            ("--iface", "--iface"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
