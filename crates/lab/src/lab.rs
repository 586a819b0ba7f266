//! A lab: built, run, and gone when dropped.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Child;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lvsx_host::{Decapsulation, ForwardingMethod, Object, Offload, Plan, Setup, Step, director};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{log_text, until, wait};
use crate::namespace::Namespace;
use crate::record::{self, Folder, Record};
use crate::topology::{CLIENT, DIRECTOR, HostSpec, SERVERS, SWITCH, Topology, port};
use crate::tutorial::{self, VirtualService};
use crate::{Host, Narrator, interrupt};

/// How long `lvsd` and the web servers may take until they serve.
const READY: Duration = Duration::from_secs(60);

/// The hook in which the director works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The traffic-control hook; packets stay whole, every offload may be on.
    Tc,
    /// The driver's hook; the wires to the director must carry finished checksums.
    Xdp,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        })
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "tc" => Ok(Self::Tc),
            "xdp" => Ok(Self::Xdp),
            _ => bail!("`{word}` is no mode: there are tc and xdp"),
        }
    }
}

/// What lab to build.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The forwarding method; `None` for a director alone.
    pub method: Option<ForwardingMethod>,
    /// The director's hook.
    pub mode: Mode,
    /// The `lvsx` binary, whose other names the lab's programs are.
    pub binary: PathBuf,
    /// The object with the real servers' decapsulation.
    pub object: Object,
}

impl Blueprint {
    fn label(&self) -> &'static str {
        self.method.map_or("service", ForwardingMethod::word)
    }

    fn title(&self) -> String {
        let mode = self.mode;
        match self.method {
            Some(method) => format!("LVS by {method}, the director in {mode} mode"),
            None => format!("a director alone, in {mode} mode"),
        }
    }

    fn topology(&self) -> Topology {
        self.method
            .map_or_else(Topology::service_file, Topology::of)
    }
}

/// A lab that is up. Dropping it takes it down, unless it is kept.
#[derive(Debug)]
pub struct Lab {
    blueprint: Blueprint,
    topology: Topology,
    folder: Arc<Folder>,
    record: Record,
    web_servers: Vec<Child>,
    director: Option<Child>,
    /// Agents and health checks.
    others: Vec<Child>,
    /// A user whom the director lets set weights.
    check_user: Option<String>,
}

impl Lab {
    /// Builds a lab by a blueprint and runs the tutorial's script in it, silently.
    ///
    /// # Errors
    /// What could not be built or started; nothing is left of the lab then.
    pub fn tutorial(blueprint: Blueprint) -> Result<Self> {
        let mut lab = Self::build(blueprint, &Narrator::silent())?;
        lab.start_everything(&Narrator::silent())?;
        if let Some(method) = lab.blueprint.method {
            lab.director()?
                .run(&tutorial::script(method).join(" && "))?
                .success()?;
        }
        Ok(lab)
    }

    /// Makes the machines and cables them. Nothing runs on them yet.
    ///
    /// # Errors
    /// What could not be made; nothing is left of the lab then.
    pub fn build(blueprint: Blueprint, narrator: &Narrator) -> Result<Self> {
        interrupt::check()?;
        let topology = blueprint.topology();
        let names: Vec<_> = topology.hosts.iter().map(|host| host.name).collect();
        let (folder, record) = Folder::create(
            blueprint.label(),
            &blueprint.title(),
            &names,
            &blueprint.binary,
            &topology.hosts_file(),
        )?;
        let folder = Arc::new(folder);
        let lab = Self {
            blueprint,
            topology,
            folder,
            record,
            web_servers: Vec::new(),
            director: None,
            others: Vec::new(),
            check_user: None,
        };
        narrator.heading(&format!("{}: {}", lab.name(), lab.title()));
        narrator.output(&lab.topology.picture());
        narrator.heading("The machines: a network namespace each, cabled to one switch");
        for name in [SWITCH].iter().chain(&names) {
            interrupt::check()?;
            let namespace = lab.record.namespace(name);
            narrator.command("", &format!("ip netns add {}", namespace.name()), "");
            Namespace::create(namespace.name())?;
        }
        // A lab never undoes its plans: its namespaces go as a whole.
        let cabling = lab
            .topology
            .cabling(|host| lab.record.namespace(host).name().to_owned());
        let _ = lab.host(SWITCH)?.apply(&cabling, narrator)?;
        for spec in &lab.topology.hosts {
            let _ = lab.host(spec.name)?.apply(&spec.plan(), narrator)?;
        }
        Ok(lab)
    }

    /// Sets the machines up for the forwarding method and starts web servers and director.
    ///
    /// # Errors
    /// What could not be set up or started.
    pub fn start_everything(&mut self, narrator: &Narrator) -> Result<()> {
        if let Some(method) = self.blueprint.method {
            narrator.heading("The real servers");
            self.start_web_servers(narrator)?;
            self.set_up_servers(method, narrator)?;
            narrator.heading("The director");
            self.set_up_director(method, narrator)?;
        }
        if self.blueprint.mode == Mode::Xdp {
            let _ = self
                .host(SWITCH)?
                .apply(&self.finished_checksums(), narrator)?;
        }
        self.start_director(narrator)
    }

    /// Starts the web server of each real server and waits until it answers.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_web_servers(&mut self, narrator: &Narrator) -> Result<()> {
        let port = self.service()?.port;
        for name in SERVERS {
            let host = self.host(name)?;
            let page = self.page_of(name)?;
            let number = port.to_string();
            narrator.command(
                name,
                &format!("lvsx lab web {number} {page}"),
                "its page is its own address",
            );
            let child = host.start(
                "lvsx",
                &["lab", "web", &number, &page],
                &format!("web-{name}"),
            )?;
            self.web_servers.push(child);
            let own = SocketAddrV4::new([127, 0, 0, 1].into(), port);
            until(READY, || Ok(host.fetch(own).ok()))?
                .with_context(|| format!("the web server of {name} does not answer"))?;
        }
        Ok(())
    }

    /// Sets up the real servers for a forwarding method.
    ///
    /// # Errors
    /// The step that failed.
    pub fn set_up_servers(&self, method: ForwardingMethod, narrator: &Narrator) -> Result<()> {
        let decapsulation = Decapsulation::of_this_kernel(self.blueprint.object)?;
        let virtual_address = self.service()?.address.into();
        let setup = match method {
            ForwardingMethod::Masquerade => Setup::Masquerade {
                virtual_address,
                gateway: self.address_of(DIRECTOR)?.into(),
            },
            ForwardingMethod::DirectRouting => Setup::DirectRouting { virtual_address },
            ForwardingMethod::Tunnel => Setup::Tunnel {
                virtual_address,
                iface: "eth0".to_owned(),
                decapsulation,
            },
        };
        for name in SERVERS {
            let _ = self.host(name)?.apply(&setup.plan(), narrator)?;
        }
        Ok(())
    }

    /// Gives the director's machine the virtual address.
    ///
    /// # Errors
    /// The step that failed.
    pub fn set_up_director(&self, method: ForwardingMethod, narrator: &Narrator) -> Result<()> {
        let decapsulation = Decapsulation::of_this_kernel(self.blueprint.object)?;
        let plan = director::plan(
            method,
            self.topology.virtual_address,
            self.topology.front,
            decapsulation,
        );
        let _ = self.director()?.apply(&plan, narrator)?;
        Ok(())
    }

    /// For XDP: the switch finishes the checksums of what it sends to the director, which sees only
    /// bytes, and accepts the frames that XDP sends back.
    fn finished_checksums(&self) -> Plan {
        let cards = self
            .topology
            .host(DIRECTOR)
            .map(|host| host.cards.as_slice())
            .unwrap_or_default();
        cards.iter().fold(Plan::new("wires for XDP"), |plan, card| {
            plan.because(
                "XDP sees bytes only, so checksums must be finished on the wire",
                Step::SetOffload {
                    iface: port(DIRECTOR, card.iface),
                    features: vec![(Offload::TxChecksum, false), (Offload::Gro, true)],
                },
            )
        })
    }

    /// Starts `lvsd` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the error holds its log.
    pub fn start_director(&mut self, narrator: &Narrator) -> Result<()> {
        let mode = self.blueprint.mode.to_string();
        let mut arguments = vec!["--mode", &mode];
        if let Some(user) = &self.check_user {
            arguments.extend(["--check-user", user]);
        }
        narrator.command(DIRECTOR, &format!("lvsd {}", arguments.join(" ")), "");
        let log = self.folder.log("lvsd");
        let before = log_text(&log).len();
        let mut child = self.director()?.start("lvsd", &arguments, "lvsd")?;
        let said = || log_text(&log).get(before..).unwrap_or_default().to_owned();
        let ready = until(READY, || {
            if let Some(status) = child.try_wait()? {
                bail!("lvsd ended at once ({status}):\n{}", said());
            }
            Ok(said().lines().any(is_ready).then_some(()))
        });
        self.director = Some(child);
        ready?.with_context(|| {
            format!("lvsd is not ready after {} s:\n{}", READY.as_secs(), said())
        })?;
        narrator.output("ready");
        Ok(())
    }

    /// Has the director, once it is started, let this user set weights.
    pub fn let_set_weights(&mut self, user: &str) {
        self.check_user = Some(user.to_owned());
    }

    /// Starts a program on a machine that ends with the lab, with both outputs in the log file of that name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &mut self,
        host: &str,
        program: &str,
        arguments: &[&str],
        log: &str,
    ) -> Result<()> {
        let child = self.host(host)?.start(program, arguments, log)?;
        self.others.push(child);
        Ok(())
    }

    /// Kills `lvsd` as a crash would: SIGKILL, at once.
    ///
    /// # Errors
    /// When it does not run or cannot be waited for.
    pub fn kill_director(&mut self) -> Result<()> {
        let mut child = self.director.take().context("lvsd does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks `lvsd` to end (SIGTERM) and waits for it; forwarding goes on.
    ///
    /// # Errors
    /// When it does not run, does not end within 10 seconds, or ends with a failure.
    pub fn stop_director(&mut self) -> Result<()> {
        let mut child = self.director.take().context("lvsd does not run")?;
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        let status = wait(&mut child, Duration::from_secs(10))?;
        if !status.success() {
            bail!("lvsd: {status}");
        }
        Ok(())
    }

    /// Leaves the lab up when this process ends.
    ///
    /// # Errors
    /// When that cannot be written down; the lab is taken down then.
    pub fn keep(mut self) -> Result<String> {
        self.record.kept = true;
        if let Err(error) = self.folder.write(&self.record) {
            self.record.kept = false;
            return Err(error);
        }
        Ok(self.record.name.clone())
    }

    /// The lab's name, such as `dr-4711`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// What the lab shows, in a line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.record.title
    }

    /// One of its machines.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.record.host(name)
    }

    /// The machine that has an address as its own.
    ///
    /// # Errors
    /// When none has.
    pub fn host_of(&self, address: std::net::IpAddr) -> Result<Host> {
        let has = |host: &&HostSpec| {
            let mut own = host.cards.iter().filter_map(|card| card.address);
            own.any(|own| own.address == address)
        };
        match self.topology.hosts.iter().find(has) {
            Some(host) => self.host(host.name),
            None => bail!("no machine of this lab has {address}"),
        }
    }

    /// The machine of the client.
    ///
    /// # Errors
    /// When the lab is a director alone.
    pub fn client(&self) -> Result<Host> {
        self.host(CLIENT)
    }

    /// The machine of the director.
    ///
    /// # Errors
    /// Never for a lab that was built here.
    pub fn director(&self) -> Result<Host> {
        self.host(DIRECTOR)
    }

    /// The virtual service of the tutorial.
    ///
    /// # Errors
    /// When the lab is a director alone.
    pub fn service(&self) -> Result<VirtualService> {
        self.blueprint
            .method
            .map(tutorial::service)
            .context("this lab has no service")
    }

    /// The virtual service's address and port.
    ///
    /// # Errors
    /// When the lab is a director alone.
    pub fn service_address(&self) -> Result<SocketAddrV4> {
        let service = self.service()?;
        Ok(SocketAddrV4::new(service.address, service.port))
    }

    /// The page of a real server: its own address.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn page_of(&self, server: &str) -> Result<String> {
        self.address_of(server).map(|address| address.to_string())
    }

    fn address_of(&self, host: &str) -> Result<std::net::Ipv4Addr> {
        match self
            .topology
            .host(host)
            .and_then(|host| host.address())
            .map(|prefix| prefix.address)
        {
            Some(std::net::IpAddr::V4(address)) => Ok(address),
            _ => bail!("{host} has no IPv4 address of its own"),
        }
    }

    /// What `lvsd` wrote to its log.
    #[must_use]
    pub fn director_log(&self) -> String {
        log_text(&self.folder.log("lvsd"))
    }

    /// The lab's folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.record.kept {
            return;
        }
        // First ours, so that none stays behind as a zombie until this process ends.
        for mut child in self
            .director
            .take()
            .into_iter()
            .chain(self.web_servers.drain(..))
            .chain(self.others.drain(..))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = record::take_down(&self.record.name) {
            eprintln!("lvsx lab: {error:#}");
        }
    }
}

/// The line that `lvsd` logs when it serves.
fn is_ready(line: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|word| word == "ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_word_of_its_own() {
        assert!(is_ready("2026-01-01T00:00:00Z  INFO lvsd: ready"));
        assert!(is_ready("\x1b[32m INFO\x1b[0m ready mode=tc"));
        assert!(!is_ready("already attached"));
        assert!(!is_ready("not_ready_yet? no: readying"));
    }
}
