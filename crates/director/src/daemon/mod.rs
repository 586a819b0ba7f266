//! The daemon: one thread, one task that owns the director, one task a client.
//!
//! | task | does | is told to end by |
//! |---|---|---|
//! | `Daemon::run` | answers requests one after another, follows the network, estimates rates, watches the memory | a signal |
//! | `taken`, one a CPU | reads packets that programs hand over, waits for `Daemon::run` to take them | nothing; a full queue makes programs drop |
//! | `unix`, one a client of either socket | reads a request, waits for the answers, sends them | its client, or patience |
//! | `netlink`, and one a slow receiver | the same on the netlink port | patience |
//!
//! A change is answered when it is in force and its interfaces are attached, so a client's next packet meets it.

mod asked;
mod files;
mod folder;
mod kept;
mod netlink;
mod notify;
mod request;
mod restore;
mod taken;
mod topology;
mod unix;
mod watch;
mod weights;

use crate::control::Control;
use crate::fragments::{Fragments, Taken, Task};
use crate::links::facts::Hop;
use crate::links::{Change, Links};
use crate::loader::{Hooks, Pins, Plane, Time, detach_all};
use crate::options::{self, Command, Mode, Options};
use crate::stats::Ledger;
use anyhow::{Context, Result, bail};
use asked::asked;
use aya::maps::{MapData, RingBuf};
use files::Files;
use folder::Folder;
use futures_util::{Stream, StreamExt};
use kept::Kept;
use lvsx_core::env::Tables as _;
use lvsx_core::event::Event;
use lvsx_ipvs::Rights;
use lvsx_ipvs::transport::{BEFORE_NAME, PORT_NAME, SOCKET_NAME};
use nix::unistd::Uid;
use notify::Watchdog;
use request::{Desk, Request};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use topology::Topology;
use unix::Door;

/// Between two runs of the estimators.
const ESTIMATOR: Duration = Duration::from_secs(2);
/// Between two looks at the memory that is left, for the defences.
const DEFENCE: Duration = Duration::from_secs(1);
/// Estimator runs between two looks at the trash and the locality caches: a minute.
const MINUTE: u64 = 30;
/// Events of the network come in bursts; this long after the first, everything is looked at again.
const BURST: Duration = Duration::from_millis(20);

/// lvsd. `arguments`: those after the program's name.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let done = match options::parse(arguments) {
        Ok(Command::Help) => print(options::USAGE),
        Ok(Command::Version) => print(&format!(
            "lvsd {} (tables of layout v{})\n",
            env!("CARGO_PKG_VERSION"),
            lvsx_core::LAYOUT
        )),
        Ok(Command::StopForwarding) => start_log().and_then(|()| stop_forwarding()),
        Ok(Command::Run(options)) => start_log().and_then(|()| run(options)),
        Err(error) => Err(anyhow::anyhow!(
            "{error}; `lvsd --help` shows what there is"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lvsd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<()> {
    // A reader that went away is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn start_log() -> Result<()> {
    let filter = std::env::var("LVSX_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = filter
        .parse::<tracing_subscriber::filter::Targets>()
        .context("LVSX_LOG")?;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Somebody else's log, where this runs inside another program, is as good.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
    Ok(())
}

/// The pins of the calling thread's network namespace, and its lock.
fn own_folder() -> Result<(Pins, Folder)> {
    if !Uid::effective().is_root() {
        bail!("must be run by root: it loads BPF programs and attaches them to interfaces");
    }
    let run_dir = lvsx_ipvs::run_dir();
    let cookie = lvsx_ipvs::cookie()
        .context("the cookie of this network namespace (Linux 5.14 or newer)")?;
    let pins = Pins::of(&run_dir, cookie);
    pins.prepare(&run_dir)?;
    let folder = Folder::take(&run_dir, cookie)?;
    Ok((pins, folder))
}

/// Ends the forwarding of this network namespace.
fn stop_forwarding() -> Result<()> {
    let (pins, folder) = own_folder()?;
    pins.remove().context("removing the pins")?;
    detach_all()?;
    folder
        .remove()
        .context("removing the folder of this network namespace")?;
    weights::remove().context("removing the folder of the health checks")?;
    tracing::info!("forwarding has ended");
    Ok(())
}

fn run(options: Options) -> Result<()> {
    let (pins, folder) = own_folder()?;
    pins.make()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut daemon, mut inputs) = Daemon::start(options, pins, folder).await?;
        tracing::info!("ready");
        tell_manager(notify::notify("READY=1"));
        daemon.run(&mut inputs).await?;
        daemon.kept.keep(&daemon.control, &daemon.folder);
        if let Some(files) = daemon.files.take() {
            files.remove().await;
        }
        let _ = notify::notify("STOPPING=1");
        tracing::info!(
            "ends; forwarding goes on without it (`lvsd --stop-forwarding` ends that, too)"
        );
        Ok(())
    })
}

/// Where tables of another layout are in force: the configuration that their director kept.
///
/// # Errors
/// It kept none.
fn of_another_layout(pins: &Pins, folder: &Folder) -> Result<Option<Vec<u8>>> {
    let Some(other) = pins.others()?.into_iter().next() else {
        return Ok(None);
    };
    let ours = lvsx_core::LAYOUT;
    let Some(kept) = kept::read(folder)? else {
        bail!(
            "{}: tables of another layout (this lvsd has v{ours}), and no configuration was kept beside them: nothing can be \
             taken over. Run `lvsd --stop-forwarding` first, which ends forwarding, and start again",
            other.display()
        );
    };
    tracing::warn!(
        "{}: tables of another layout (this lvsd has v{ours}): services, settings and mark rules are kept, but ALL CONNECTIONS \
         WILL END and start anew, and counters begin at 0; until they do, the old tables forward",
        other.display()
    );
    Ok(Some(kept))
}

/// Puts the configuration of the director before in force, and ends what its tables forward.
///
/// # Errors
/// Not all of it can be: then nothing is, and the tables before forward on.
fn take_over(kept: &[u8], control: &mut Control, plane: &mut Plane) -> Result<()> {
    if let Err(refused) = kept::begin_with(kept, control) {
        bail!(
            "this lvsd refuses what the one before it kept, so the tables before forward on, and nothing is changed:\n{refused}\
             Start the lvsd before, take these lines back there and upgrade again; or end forwarding by \
             `lvsd --stop-forwarding` and begin anew"
        );
    }
    plane.end_others()?;
    plane.was_there = true;
    let services = control.config().services.len();
    tracing::warn!(
        "{services} services are taken over from tables of another layout; all connections have ended and start anew"
    );
    Ok(())
}

/// A service manager that cannot be told is no reason not to direct.
fn tell_manager(told: io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!("telling the service manager: {error}");
    }
}

/// The director with its data plane and the network.
struct Daemon {
    plane: Plane,
    control: Control,
    topology: Topology,
    fragments: Fragments,
    sender: taken::Sender,
    /// The files of `--proc`.
    files: Option<Files>,
    /// Runs of the estimators.
    runs: u64,
    kept: Kept,
    folder: Folder,
}

/// What reaches the daemon.
struct Inputs {
    requests: mpsc::Receiver<Request>,
    changes: Box<dyn Stream<Item = Change> + Unpin>,
    unresolved: AsyncFd<RingBuf<MapData>>,
    taken: mpsc::Receiver<Taken>,
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Daemon {
    async fn start(options: Options, pins: Pins, folder: Folder) -> Result<(Self, Inputs)> {
        let connections = options.connections.unwrap_or(options::CONNECTIONS);
        let hooks = match options.mode {
            Mode::Xdp => Hooks::Both,
            Mode::Auto | Mode::Tc => Hooks::Tc,
        };
        let is_asked = options.connections.is_some();
        let kept = of_another_layout(&pins, &folder)?;
        let mut plane = Plane::load_in(pins, connections, is_asked, Time::Real, hooks)?;
        let generations = plane.generations()?;
        let path = folder.file("ledger");
        let ledger = Ledger::open(&path, &plane.tables.capacity)
            .with_context(|| path.display().to_string())?;
        let tables = plane.tables.clone();
        let mut control = Control::new(tables, generations, ledger, plane.clock, options.any_vip)
            .context("the first generation")?;
        if plane.was_there {
            let services = control.config().services.len();
            tracing::info!("took over the data plane in force, with {services} services");
        }

        if let Some(kept) = kept {
            take_over(&kept, &mut control, &mut plane)?;
        }

        let check_user = options.check_user.clone();
        let file = options.restore.clone();
        let mut files = options.proc.as_deref().map(Files::open).transpose()?;
        if let Some(files) = &mut files {
            files.write(&control);
        }
        let (links, changes) = Links::listen()?;
        let mut topology = Topology::begin(links, options, &mut plane, &mut control).await?;
        match &file {
            // What is in force is younger than any file.
            Some(file) if plane.was_there => tracing::info!(
                "--restore {}: passed over, as a table is in force",
                file.display()
            ),
            Some(file) => {
                restore::begin_with(file, &mut control);
                topology.services_changed(&mut plane, &mut control).await;
            }
            None => {}
        }
        control.keep_before(folder.file(BEFORE_NAME));
        let unresolved = watch::watch(plane.unresolved()?, Interest::READABLE)?;
        let taken = taken::read(plane.taken()?).context("buffers for packets")?;
        let sender = taken::Sender::open().context("a packet socket")?;
        let (desk, requests) = Desk::open();
        let door = Door {
            guest: None,
            rights: Rights::All,
        };
        let listener = unix::Listener::bind(&folder.file(SOCKET_NAME), door)?;
        let weights = weights::listen(check_user.as_deref())?;
        let port = netlink::Port::bind()?;
        folder
            .write(PORT_NAME, format!("{}\n", port.id))
            .context("publishing the netlink port")?;
        tokio::spawn(listener.serve(desk.clone()));
        tokio::spawn(weights.serve(desk.clone()));
        tokio::spawn(port.serve(desk));
        let daemon = Self {
            plane,
            control,
            topology,
            fragments: Fragments::default(),
            sender,
            files,
            runs: 0,
            kept: Kept::default(),
            folder,
        };
        let inputs = Inputs {
            requests,
            changes: Box::new(changes),
            unresolved,
            taken,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        };
        Ok((daemon, inputs))
    }

    /// Directs until a signal says to end.
    ///
    /// # Errors
    /// The network cannot be listened to any more.
    async fn run(&mut self, inputs: &mut Inputs) -> Result<()> {
        let mut estimator = interval(ESTIMATOR);
        estimator.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is due at once; the first run two seconds later.
        estimator.tick().await;
        let mut defence = interval(DEFENCE);
        defence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watchdog = Watchdog::of_this_process();
        let mut look_at: Option<tokio::time::Instant> = None;
        loop {
            let look = async {
                match look_at {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = inputs.terminate.recv() => return Ok(()),
                _ = inputs.interrupt.recv() => return Ok(()),
                _ = inputs.reload.recv() => self.reload().await,
                () = watchdog.due() => tell_manager(notify::notify("WATCHDOG=1")),
                Some(request) = inputs.requests.recv() => self.answer(request).await,
                change = inputs.changes.next() => match change {
                    Some(change @ (Change::Network | Change::Rules)) => {
                        self.topology.is_in_doubt |= matches!(change, Change::Rules);
                        look_at.get_or_insert_with(|| tokio::time::Instant::now() + BURST);
                    }
                    Some(change) => {
                        self.topology.neighbour_changed(&change, &self.plane.tables, &self.control).await;
                        self.send_resolved().await;
                    }
                    None => bail!("the kernel's network events have ended"),
                },
                () = look => {
                    look_at = None;
                    self.topology.look_again(&mut self.plane, &mut self.control).await;
                }
                hops = asked(&mut inputs.unresolved) => for hop in hops {
                    self.topology.packet_asks(hop).await;
                },
                Some(packet) = inputs.taken.recv() => self.take(packet).await,
                _ = estimator.tick() => self.tick().await,
                _ = defence.tick() => {
                    self.control.watch_host();
                    self.send_resolved().await;
                    self.give_up_late().await;
                }
            }
        }
    }

    /// Looks at the network again as a start would: interfaces, addresses, routes, rules, neighbours.
    async fn reload(&mut self) {
        tell_manager(notify::notify_reloading());
        self.topology.is_in_doubt = true;
        self.topology
            .look_again(&mut self.plane, &mut self.control)
            .await;
        tracing::info!("looked at the network again");
        tell_manager(notify::notify("READY=1"));
    }

    async fn answer(&mut self, request: Request) {
        let before = self.control.generation();
        let Request { rights, port, .. } = request;
        let answers = lvsx_ipvs::answer_as(rights, &request.datagram, port, &mut self.control);
        if self.control.generation() != before {
            self.topology
                .services_changed(&mut self.plane, &mut self.control)
                .await;
        }
        // A client that has gone does not want them any more.
        let _ = request.answers.send(answers);
    }

    /// A packet that a program handed over.
    async fn take(&mut self, packet: Taken) {
        let (tables, clock) = (&self.plane.tables, self.control.clock());
        let tasks = self
            .fragments
            .take(packet, tables, clock, &self.plane, Instant::now());
        self.carry_out(tasks).await;
    }

    /// Gives up datagrams that were not complete in time.
    async fn give_up_late(&mut self) {
        let (tables, clock) = (&self.plane.tables, self.control.clock());
        let tasks = self
            .fragments
            .expire(tables, clock, &self.plane, Instant::now());
        self.carry_out(tasks).await;
    }

    /// Sends what waited for next hops that are known now.
    async fn send_resolved(&mut self) {
        let awaited: BTreeSet<Hop> = self.fragments.awaited().collect();
        for hop in awaited {
            let Some(address) = self.topology.link_address(hop) else {
                continue;
            };
            let (tables, clock) = (&self.plane.tables, self.control.clock());
            let tasks = self
                .fragments
                .resolved(hop, address, tables, clock, &self.plane);
            self.carry_out(tasks).await;
        }
    }

    async fn carry_out(&mut self, tasks: Vec<Task>) {
        for task in tasks {
            match task {
                Task::Send(frame) => self.count_unsent(self.sender.send(&frame)),
                Task::GiveBack(frame) => {
                    self.count_unsent(self.plane.give_back(frame.interface, &frame.bytes));
                }
                Task::Deliver(frame) => self.count_unsent(self.sender.deliver(&frame)),
                Task::Resolve(hop) => self.topology.packet_asks(hop).await,
            }
        }
    }

    fn count_unsent<E: std::fmt::Display>(&self, sent: Result<(), E>) {
        if let Err(error) = sent {
            self.plane.tables.count(Event::DropUnsent);
            tracing::debug!("a frame could not be sent: {error:#}");
        }
    }

    async fn tick(&mut self) {
        self.runs += 1;
        self.control.estimate();
        match self.plane.read_clock() {
            Ok(clock) => self.control.set_clock(clock),
            Err(error) => tracing::warn!("reading the clock: {error:#}"),
        }
        if self.runs.is_multiple_of(MINUTE) {
            self.control.sweep_localities();
            self.control.empty_trash(Instant::now());
        }
        if let Some(files) = &mut self.files {
            files.write(&self.control);
        }
        self.kept.keep(&self.control, &self.folder);
        self.topology.resolve_again().await;
    }
}
