//! A director inside this process, in virtual time: its control over tables that the decisions read directly. They run
//! on this host over plain memory, or as the programs in the kernel by test runs (`BPF_PROG_TEST_RUN`). What they let pass
//! is answered by a model of the host's own stack.

use std::cell::RefCell;
use std::io::Cursor;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lvsx_core::conn::{Entry4, Entry6, Hop, sweep_set};
use lvsx_core::director::{Action, Begun, handle, handle_own};
use lvsx_core::env::{PORTS, Route, state};
use lvsx_core::generation::live;
use lvsx_core::host::Frame;
use lvsx_core::tick::TickRate;
use lvsx_director::addresses::{AddressKind, LocalRoute, LocalTable};
use lvsx_director::clock::{Clock, monotonic};
use lvsx_director::control::Control;
use lvsx_director::fragments::reassembly::{Arrival, Reassembly};
use lvsx_director::fragments::{Fragments, Taken, Task, Ways};
use lvsx_director::generation::{Generations, Readers};
use lvsx_director::stats::Ledger;
use lvsx_director::tables::{Capacity, Tables};
use lvsx_ipvs::{Client, MarkEdit, Transport, answer};
use lvsx_platform::Word;

use super::super::addresses::{Mac, Port, VIP6, director};
use super::super::each;
use super::super::play::{Answers, Director, Ended, MarkRule, play};
use super::super::scenario::{Scenario, Site};
use super::super::traffic::OnLink;
use super::ground::Ground;
use super::programs::{CONNECTIONS, Programs};
use super::stack;
use super::world::{World, known, raw, routes, routes6};

/// The interface that test runs come in by.
const LOOPBACK: u32 = 1;
/// How often the hand sees all connections: who ends first is ended first.
const SWEEP: Duration = Duration::from_millis(500);

/// What decides.
enum Engine<'a> {
    /// The core on this host.
    Host,
    /// The programs in the kernel.
    Programs(&'a Programs),
}

/// Plays a scenario with the decisions on this host.
///
/// # Errors
/// The configuration does not fit into the tables.
pub fn on_host(scenario: &Scenario) -> Result<Answers> {
    let capacity = Capacity {
        config: 8192,
        destinations: 256,
        services: 256,
        ..Capacity::rated(CONNECTIONS, 0x5eed, 1)
    };
    let clock = Clock {
        rate: TickRate::of_hz(250),
        jiffies: 1 << 20,
        monotonic: monotonic(),
    };
    let tables = Arc::new(Tables::plain(capacity));
    let mut inside = Inside::new(Engine::Host, tables, clock, Readers::Nobody, &scenario.site)?;
    play(scenario, &mut inside)
}

/// Plays scenarios with the programs in the kernel: packets of one half come in by the tc hook, those of the other by XDP.
/// The answers to each, or why it could not be played: the caller is not root, or the kernel refuses the programs.
#[must_use]
pub fn by_test_runs(scenarios: &[&Scenario]) -> Vec<Result<Answers>> {
    let kinds: Vec<usize> = (0..Programs::KINDS.min(scenarios.len())).collect();
    let mut halves: Vec<_> = each(&kinds, kinds.len(), |kind| {
        let programs = Programs::load(*kind);
        let half = scenarios.iter().skip(*kind).step_by(kinds.len());
        let answers = half.map(|scenario| match &programs {
            Ok(programs) => by_programs(programs, scenario),
            Err(error) => bail!("{error:#}"),
        });
        answers.collect::<Vec<_>>().into_iter()
    });
    let mut answers = Vec::new();
    while answers.len() < scenarios.len() {
        answers.extend(halves.iter_mut().filter_map(Iterator::next));
    }
    answers
}

/// Plays one with these programs. The calling thread then stays in the scenario's network, which goes with it.
fn by_programs(programs: &Programs, scenario: &Scenario) -> Result<Answers> {
    let ground = Ground::lay(&scenario.site, false)?;
    ground.near.enter()?;
    let (tables, clock) = programs.begin_anew()?;
    let engine = Engine::Programs(programs);
    let mut inside = Inside::new(engine, tables, clock, Readers::Programs, &scenario.site)?;
    play(scenario, &mut inside)
}

struct Inside<'a> {
    engine: Engine<'a>,
    tables: Arc<Tables>,
    control: Rc<RefCell<Control>>,
    client: Client,
    /// The clock when all began.
    began: Clock,
    /// How much time was let pass since.
    passed: Duration,
    site: Site,
    /// Indices of the director's links.
    links: Vec<u32>,
    /// What lvsd does with fragments.
    fragments: RefCell<Fragments>,
    /// What the host's own stack does with them.
    reassembly: RefCell<Reassembly>,
    /// When all began.
    begin: Instant,
}

impl<'a> Inside<'a> {
    fn new(
        engine: Engine<'a>,
        tables: Arc<Tables>,
        clock: Clock,
        readers: Readers,
        site: &Site,
    ) -> Result<Self> {
        let generations = Generations::none(&tables, readers);
        let ledger = Ledger::plain(&tables.capacity);
        let control = Control::new(tables.clone(), generations, ledger, clock, true);
        let control = Rc::new(RefCell::new(
            control.map_err(|errno| anyhow!("no director: {errno:?}"))?,
        ));
        let answering = control.clone();
        let client = Client::new(Transport::local(move |datagram| {
            answer(datagram, &mut *answering.borrow_mut())
        }));
        let links = match &engine {
            Engine::Host => vec![3, 4],
            Engine::Programs(_) => {
                let names = if site.two_armed {
                    &["d0", "d1"][..]
                } else {
                    &["d0"]
                };
                names
                    .iter()
                    .map(|name| nix::net::if_::if_nametoindex(*name))
                    .collect::<Result<_, _>>()?
            }
        };
        let inside = Self {
            engine,
            tables,
            control,
            client,
            began: clock,
            passed: Duration::ZERO,
            site: site.clone(),
            links,
            fragments: RefCell::default(),
            reassembly: RefCell::default(),
            begin: Instant::now(),
        };
        for (link, index) in inside.links.iter().enumerate() {
            let mtu = site
                .mtu
                .iter()
                .find(|(number, _)| usize::from(*number) == link);
            inside.write_port(
                *index,
                Port::Director(link as u8).mac(),
                mtu.map_or(1500, |(_, mtu)| *mtu),
            );
        }
        inside.tables.state[state::READ as usize][state::EPOCH].store(1);
        let told = inside.control.borrow_mut().set_locals(locals(site));
        told.map_err(|errno| anyhow!("no local addresses: {errno:?}"))?;
        Ok(inside)
    }

    fn write_port(&self, index: u32, address: Mac, mtu: u32) {
        let line = &self.tables.ports[(index % PORTS) as usize];
        line[live::port::ADDRESS].store(raw(address));
        line[live::port::INTERFACE].store(u64::from(index) | u64::from(mtu) << 32);
    }

    /// The clock as time was let pass.
    fn clock(&self) -> Clock {
        let jiffies = (self.passed.as_millis() * u128::from(self.began.rate.hz) / 1000) as u64;
        match &self.engine {
            // Real time goes on beside the virtual one only where the kernel's clock is read.
            Engine::Host => Clock {
                jiffies: self.began.jiffies + jiffies,
                monotonic: monotonic(),
                ..self.began
            },
            Engine::Programs(_) => Clock {
                jiffies: self.began.jiffies + jiffies,
                ..self.began
            },
        }
    }

    /// What the hand and lvsd do as time goes by.
    fn sweep(&self) {
        let now = self.clock();
        let offset = now.jiffies.wrapping_sub(self.began.jiffies) >> now.rate.shift;
        self.tables.state[state::READ as usize][state::CLOCK_OFFSET].store(offset);
        // What senders are told of meanwhile is part of no step.
        self.fragments
            .borrow_mut()
            .expire(&self.tables, now, self, self.begin + self.passed);
        for index in 0..self.tables.capacity.sets() {
            sweep_set::<Entry4, _>(&*self.tables, index, now.now());
            sweep_set::<Entry6, _>(&*self.tables, index, now.now());
        }
    }

    /// What lvsd does of its own accord after a change.
    fn settle(&self) {
        let two_armed = self.site.two_armed;
        let source = |server: IpAddr| {
            Some(match server {
                IpAddr::V4(server) => {
                    director((two_armed && server.octets()[1] == 1).into(), false)
                }
                IpAddr::V6(_) if two_armed => director(1, true),
                // The longest prefix in common (RFC 6724, rule 8), and that is no longer than the address' own.
                IpAddr::V6(_) => VIP6.into(),
            })
        };
        let control = self.control.borrow();
        control.set_sources(None, source);
        let locals = locals(&self.site);
        control.set_hops(None, |server| locals.is_local(server).then_some(Hop::LOCAL));
    }

    fn pass_through(&self, link: u8, frame: &[u8]) -> Result<Vec<OnLink>> {
        let mut taken = Vec::new();
        let (action, bytes) = match &self.engine {
            Engine::Host => {
                let (world, mut packet) = self.on_host(link, frame);
                let verdict = handle(&mut packet, &world);
                match verdict.action() {
                    Action::Raise => taken.push(Taken::Fragment(packet.clone())),
                    Action::Cut => {
                        packet.interface = verdict.interface();
                        taken.push(Taken::Long(packet.clone(), Begun::default()));
                    }
                    _ => {}
                }
                (verdict.action(), packet.bytes)
            }
            Engine::Programs(programs) => {
                self.write_port(LOOPBACK, Port::Director(link).mac(), 1500);
                let (action, bytes, handed) = programs.come_in(frame)?;
                taken = handed;
                (action, bytes)
            }
        };
        Ok(match action {
            Action::Drop | Action::Raise | Action::Cut => self.take(taken),
            Action::Pass if stack::is_taken(&self.site, &bytes) => {
                let answers = stack::answer(&self.site, &bytes).into_iter();
                answers
                    .map(|(link, frame)| Ok((link, self.pass_out(link, &frame)?)))
                    .collect::<Result<_>>()?
            }
            Action::Pass => stack::answer(&self.site, &bytes),
            // A reply to a request of the director's own: no scenario has one.
            Action::Local => Vec::new(),
            Action::Out => vec![(self.link_of(&bytes), bytes)],
            // The kernel finds the neighbour, and all neighbours of the bench are known.
            Action::OutUnresolved => stack::out(&self.site, bytes.get(14..).unwrap_or_default())
                .into_iter()
                .collect(),
            Action::Next => bail!("a stage is no end"),
        })
    }

    /// What lvsd makes of packets that were handed to it.
    fn take(&self, taken: Vec<Taken>) -> Vec<OnLink> {
        let now = self.begin + self.passed;
        let mut out = Vec::new();
        for packet in taken {
            let mut fragments = self.fragments.borrow_mut();
            for task in fragments.take(packet, &self.tables, self.clock(), self, now) {
                match task {
                    Task::Send(frame) => out.push((self.link_of(&frame.bytes), frame.bytes)),
                    Task::GiveBack(frame) => {
                        if let Arrival::Whole(whole) = self.reassembly.borrow_mut().take(frame, now)
                        {
                            out.extend(stack::answer(&self.site, &whole.frame.bytes));
                        }
                    }
                    // All neighbours of the bench are known, and its director asks nobody.
                    Task::Resolve(_) | Task::Deliver(_) => {}
                }
            }
        }
        out
    }

    /// A frame that a socket of the director sends, as it leaves.
    fn pass_out(&self, link: u8, frame: &[u8]) -> Result<Vec<u8>> {
        match &self.engine {
            Engine::Host => {
                let (world, mut packet) = self.on_host(link, frame);
                let action = handle_own(&mut packet, &world).action();
                if action != Action::Pass {
                    bail!("what a socket sends does not leave: {action:?}");
                }
                Ok(packet.bytes)
            }
            Engine::Programs(programs) => programs.leave(frame),
        }
    }

    fn on_host(&self, link: u8, frame: &[u8]) -> (World<'_>, Frame) {
        let world = World {
            tables: &self.tables,
            now: self.clock().now(),
            routes: routes(&self.site, &self.links),
            routes6: routes6(&self.site, &self.links),
            scratch: std::array::from_fn(|_| Word::new(0)),
        };
        let packet = Frame {
            bytes: frame.to_vec(),
            interface: self.links.get(usize::from(link)).copied().unwrap_or(0),
        };
        (world, packet)
    }

    /// The link by which a frame leaves, told by its source.
    fn link_of(&self, frame: &[u8]) -> u8 {
        let from = frame
            .get(6..12)
            .and_then(|bytes| bytes.try_into().ok())
            .and_then(Port::of);
        match from {
            Some(Port::Director(link)) => link,
            _ => 0,
        }
    }
}

impl Director for Inside<'_> {
    fn command(&mut self, words: &[String], input: &str) -> Result<Ended> {
        let now = self.clock();
        self.control.borrow_mut().set_clock(now);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = lvsx_ipvsadm::run(
            words,
            &mut self.client,
            Cursor::new(input),
            &mut out,
            &mut err,
        );
        self.settle();
        Ok(Ended {
            code: code.into(),
            out: String::from_utf8_lossy(&out).into_owned(),
            err: String::from_utf8_lossy(&err).into_owned(),
        })
    }

    fn read(&mut self, name: &str) -> Result<String> {
        let now = self.clock();
        self.control.borrow_mut().set_clock(now);
        Ok(String::from_utf8(self.client.proc_text(name)?)?)
    }

    fn set(&mut self, name: &str, value: i64) -> Result<bool> {
        Ok(self.client.set_setting(name, &value.to_string()).is_ok())
    }

    fn mark(&mut self, rule: &MarkRule<'_>) -> Result<bool> {
        let rule = rule
            .to_string()
            .parse()
            .map_err(|error| anyhow!("{error}"))?;
        Ok(self.client.edit_marks(&[MarkEdit::Add(rule)]).is_ok())
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        let end = self.passed + time;
        while self.passed < end {
            self.passed = end.min(self.passed + SWEEP);
            self.sweep();
        }
        Ok(())
    }

    fn exchange(&mut self, frames: &[OnLink]) -> Result<Vec<OnLink>> {
        let mut out = Vec::new();
        for (link, frame) in frames {
            out.extend(self.pass_through(*link, frame).context("a test run")?);
        }
        out.sort_by_key(|(link, _)| *link);
        Ok(out)
    }
}

impl Ways for Inside<'_> {
    fn way(&self, family: u8, _ingress: u32, to: [u64; 2]) -> Route {
        if i32::from(family) == nix::libc::AF_INET6 {
            return known(&routes6(&self.site, &self.links), to);
        }
        known(&routes(&self.site, &self.links), to[0] as u32)
    }
}

/// What the director's host routes as local.
fn locals(site: &Site) -> LocalTable {
    let route = |prefix: IpAddr, length: u8| LocalRoute {
        prefix,
        length,
        kind: AddressKind::Local,
        interface: LOOPBACK,
    };
    let single = |address: IpAddr| route(address, if address.is_ipv4() { 32 } else { 128 });
    let own = stack::addresses(site).into_iter().map(single);
    let loopback = route([127, 0, 0, 0].into(), 8);
    own.chain([loopback]).collect()
}
