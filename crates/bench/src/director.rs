//! The director under test: its programs in the kernel, and its control in this process.

use crate::traffic::DIRECTOR;
use anyhow::{Result, anyhow, bail};
use aya::programs::ProgramFd;
use lvsx_core::conn::Hop;
use lvsx_core::env::state;
use lvsx_core::event::Event;
use lvsx_core::generation::live::port;
use lvsx_core::state::State;
use lvsx_director::addresses::LocalTable;
use lvsx_director::connections;
use lvsx_director::control::Control;
use lvsx_director::generation::{Generations, Readers};
use lvsx_director::loader::{Apart, Hooks, Plane, Time};
use lvsx_director::stats::Ledger;
use lvsx_director::tables::Tables;
use lvsx_ipvs::{Client, Transport, answer};
use std::cell::RefCell;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

/// The interface that test runs come in by.
const LOOPBACK: u32 = 1;
/// The link-layer address of every server.
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A director.
pub(crate) struct Director {
    plane: Plane,
    control: Option<Rc<RefCell<Control>>>,
    /// The interface that leads to clients and servers.
    out: u32,
    /// Behind the plane, which needs it.
    _apart: Apart,
}

/// What happened to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) evicted: u64,
    pub(crate) overflowed: u64,
}

impl Director {
    /// Loads the programs, with tables for so many connections, in a namespace with this way out.
    ///
    /// # Errors
    /// The caller is not root, or the kernel refuses them.
    pub(crate) fn load(connections: u32, out: u32) -> Result<Self> {
        Self::load_in(connections, out, Time::Real)
    }

    /// The same, in a time that [`Self::jump`] may move.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_in(connections: u32, out: u32, time: Time) -> Result<Self> {
        let (pins, apart) = Apart::make()?;
        let plane = Plane::load_in(pins, connections, true, time, Hooks::Both)?;
        Ok(Self {
            plane,
            control: None,
            out,
            _apart: apart,
        })
    }

    /// The program under test.
    ///
    /// # Errors
    /// It was not loaded.
    pub(crate) fn entrance(&self) -> Result<&ProgramFd> {
        self.plane.entrance()
    }

    /// Empties all tables, and configures by these command lines of `ipvsadm`.
    ///
    /// # Errors
    /// A line is refused.
    pub(crate) fn begin(&mut self, lines: &[String]) -> Result<()> {
        let tables = self.plane.tables.clone();
        tables.clear();
        let generations = Generations::none(&tables, Readers::Nobody);
        let ledger = Ledger::plain(&tables.capacity);
        let clock = self.plane.read_clock()?;
        let control = Control::new(tables.clone(), generations, ledger, clock, true)
            .map_err(|errno| anyhow!("no director: {errno:?}"))?;
        let control = Rc::new(RefCell::new(control));
        control
            .borrow_mut()
            .set_locals(LocalTable::default())
            .map_err(|errno| anyhow!("no addresses: {errno:?}"))?;
        for interface in [LOOPBACK, self.out] {
            let line = &tables.ports[interface as usize];
            line[port::ADDRESS].store(raw(DIRECTOR));
            line[port::INTERFACE].store(u64::from(interface) | 1500 << 32);
        }
        tables.state[state::READ as usize][state::EPOCH].store(1);
        let answering = control.clone();
        let mut client = Client::new(Transport::local(move |datagram| {
            answer(datagram, &mut *answering.borrow_mut())
        }));
        let (words, rules) = (["-R".to_owned()], lines.join("\n"));
        let mut error = Vec::new();
        let input = Cursor::new(rules);
        if lvsx_ipvsadm::run(&words, &mut client, input, std::io::sink(), &mut error) != 0 {
            bail!("ipvsadm -R: {}", String::from_utf8_lossy(&error).trim());
        }
        let held = control.borrow();
        held.set_hops(None, |_| Some(Hop::new(raw(SERVER), LOOPBACK)));
        held.set_sources(None, |server| {
            Some(match server {
                IpAddr::V4(_) => Ipv4Addr::new(192, 168, 0, 254).into(),
                IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0xfe).into(),
            })
        });
        drop(held);
        self.control = Some(control);
        Ok(())
    }

    /// What happened since it began.
    pub(crate) fn counts(&self) -> Counts {
        let tables = &self.plane.tables;
        Counts {
            opened: tables.counted(Event::Opened),
            evicted: tables.counted(Event::EvictedEmbryonic),
            overflowed: tables.counted(Event::Overflowed),
        }
    }

    /// Connections that live.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub(crate) fn live(&self) -> Result<usize> {
        let now = self.plane.read_clock()?.now();
        Ok(connections::count(&self.plane.tables, now))
    }

    /// Connections that live in this state.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub(crate) fn live_in(&self, state: State) -> Result<usize> {
        let clock = self.plane.read_clock()?;
        let all = connections::live(&self.plane.tables, clock.now(), 0);
        Ok(all.filter(|connection| connection.state == state).count())
    }

    /// Moves the director's time on.
    pub(crate) fn jump(&self, span: Duration) {
        let rate = self.plane.clock.rate;
        let ticks = (span.as_secs() * u64::from(rate.hz)) >> rate.shift;
        let line = &self.plane.tables.state[state::READ as usize];
        line[state::CLOCK_OFFSET].store(line[state::CLOCK_OFFSET].load() + ticks);
    }

    /// The tables, for who watches them.
    pub(crate) fn tables(&self) -> &Tables {
        &self.plane.tables
    }

    /// Bytes of the connection tables of one family for a connection that they are rated for.
    pub(crate) fn bytes_a_connection(&self) -> f64 {
        let tables = &self.plane.tables;
        size_of_val(&*tables.sets) as f64 / f64::from(tables.capacity.connections)
    }
}

fn raw(address: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = address;
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}
