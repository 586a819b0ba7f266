//! Packets of clients, one way: how many arrive, and the CPU time that each costs.

use super::clock::{self, Softirqs};
use super::network::{DATAGRAMS, Network, SERVERS, SHORT, VIRTUAL};
use super::subject::{Running, Subject};
use crate::generator::Generator;
use crate::stay_on;
use crate::traffic::{Flows, Segment, Sender, Traffic};
use anyhow::{Result, bail, ensure};
use aya::programs::xdp::XdpMode;
use aya::programs::{Program, SchedClassifier, TcAttachType, Xdp, tc};
use nix::net::if_::if_nametoindex;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Packets that are sent at once, between two looks at the time.
const BURST: u32 = 1 << 14;
/// Flows where there are many.
const MANY: u32 = 1 << 16;
/// First packets, each of a flow of its own: fewer than connection tracking takes by itself.
const FIRST: u32 = 1 << 17;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    /// Datagrams of one flow.
    One,
    /// Datagrams of 65,536 flows at random.
    Many,
    /// SYNs, each of a flow never seen.
    First,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    /// Thousands a second that arrived.
    pub(crate) rate: f64,
    /// Nanoseconds of CPU for each that arrived, making it with it.
    pub(crate) nanoseconds: f64,
    /// Of those that were sent.
    pub(crate) lost: f64,
}

/// Sends packets through a subject, all on one CPU, for some time.
///
/// # Errors
/// The kernel refuses the generator; hardly a packet arrives.
pub(crate) fn pass(
    packets: Packets,
    subject: Subject,
    running: &Running,
    network: &Network,
    object: &Path,
    cpu: usize,
    seconds: f64,
) -> Result<Passed> {
    let softirqs = Softirqs::find()?;
    let end = match subject {
        Subject::Generator => vec![Sink::at(network, End::Director, true, object)?],
        _ => (0..SERVERS.len())
            .map(|server| Sink::at(network, End::Server(server), subject.sends_frames(), object))
            .collect::<Result<_>>()?,
    };
    let traffic = Traffic {
        sender: Sender::Clients,
        other: match (subject.is_virtual(), packets) {
            (true, Packets::First) => (VIRTUAL, SHORT).into(),
            (true, _) => (VIRTUAL, DATAGRAMS).into(),
            (false, Packets::First) => (SERVERS[0], SHORT).into(),
            (false, _) => (SERVERS[0], DATAGRAMS).into(),
        },
        segment: match packets {
            Packets::First => Segment::Syn,
            Packets::One | Packets::Many => Segment::Datagram,
        },
    };
    let arrived = || {
        end.iter()
            .map(|sink| sink.arrived(network))
            .sum::<Result<f64>>()
    };
    let run = || -> Result<(f64, f64, f64)> {
        stay_on(cpu)?;
        let mut generator = Generator::load_on_veth(object)?;
        generator.hold(&traffic, "lo")?;
        let interface = if_nametoindex("c0")?;
        let flows = match packets {
            Packets::One => 1,
            Packets::Many => MANY,
            Packets::First => BURST,
        };
        // Connections exist, and the code is no longer cold.
        generator.send(&traffic, Flows::Fresh(0), interface, flows)?;
        let flows = match packets {
            Packets::First => Flows::Fresh(1 << 20),
            Packets::One | Packets::Many => Flows::Random(flows),
        };
        generator.send(&traffic, flows, interface, 1)?;
        let busy =
            || Ok::<_, anyhow::Error>(clock::of_thread()? + softirqs.time() + running.time());
        let (before, used, begin) = (arrived()?, busy()?, Instant::now());
        let mut sent = 0;
        loop {
            generator.send_on(&traffic, BURST)?;
            sent += BURST;
            let is_over = match packets {
                Packets::First => sent >= FIRST,
                Packets::One | Packets::Many => begin.elapsed().as_secs_f64() >= seconds,
            };
            if is_over {
                break;
            }
        }
        let (took, used) = (begin.elapsed().as_secs_f64(), busy()? - used);
        let came = arrived()? - before;
        ensure!(
            came > f64::from(sent) / 100.0,
            "of {sent} packets {came} arrived"
        );
        Ok((came / took / 1e3, used / came, 1.0 - came / f64::from(sent)))
    };
    let (rate, nanoseconds, lost) = network.client.run(run)?;
    Ok(Passed {
        rate,
        nanoseconds,
        lost: lost.max(0.0),
    })
}

/// Opens so many connections of a TCP service of the network's, through a director that sends frames as XDP has them.
///
/// # Errors
/// The kernel refuses the generator.
pub(crate) fn open(network: &Network, object: &Path, cpu: usize, connections: u32) -> Result<()> {
    let _sinks: Vec<Sink> = (0..SERVERS.len())
        .map(|server| Sink::at(network, End::Server(server), true, object))
        .collect::<Result<_>>()?;
    let traffic = Traffic {
        sender: Sender::Clients,
        other: (VIRTUAL, SHORT).into(),
        segment: Segment::Syn,
    };
    network.client.run(|| {
        stay_on(cpu)?;
        let mut generator = Generator::load_on_veth(object)?;
        generator.send(
            &traffic,
            Flows::Fresh(0),
            if_nametoindex("c0")?,
            connections,
        )
    })
}

/// Where packets end.
#[derive(Clone, Copy)]
enum End {
    Director,
    Server(usize),
}

/// A program that drops all, as early as what comes there allows: it ends with this.
struct Sink {
    end: End,
    device: String,
    /// The program and what attaches it.
    _loaded: Generator,
}

impl Sink {
    /// `takes_frames`: the packets come as XDP has them, not as the stack has.
    fn at(network: &Network, end: End, takes_frames: bool, object: &Path) -> Result<Self> {
        let device = match end {
            End::Director => "d0".to_owned(),
            End::Server(server) => format!("r{}", server + 1),
        };
        let attach = || -> Result<Generator> {
            let mut loaded = Generator::load_on_veth(object)?;
            if takes_frames {
                let program: &mut Xdp = loaded.program("sink")?.try_into()?;
                program.attach(&device, XdpMode::Driver)?;
            } else {
                // Where tcx is, it needs none.
                let _ = tc::qdisc_add_clsact(&device);
                let program: &mut SchedClassifier = match loaded.program("sink_tc")? {
                    Program::SchedClassifier(program) => program,
                    _ => bail!("sink_tc is for tc"),
                };
                program.attach(&device, TcAttachType::Ingress)?;
            }
            Ok(loaded)
        };
        let loaded = match end {
            End::Director => network.director.run(attach)?,
            End::Server(server) => network.servers[server].run(attach)?,
        };
        Ok(Self {
            end,
            device,
            _loaded: loaded,
        })
    }

    /// Packets that came there.
    fn arrived(&self, network: &Network) -> Result<f64> {
        let read = || Ok(fs::read_to_string("/proc/thread-self/net/dev")?);
        let text = match self.end {
            End::Director => network.director.run(read)?,
            End::Server(server) => network.servers[server].run(read)?,
        };
        received(&text, &self.device)
    }
}

/// The packets that a device received, by the text of `/proc/net/dev`.
fn received(text: &str, device: &str) -> Result<f64> {
    for line in text.lines() {
        if let Some((name, figures)) = line.split_once(':')
            && name.trim() == device
            && let Some(packets) = figures.split_whitespace().nth(1)
        {
            return Ok(packets.parse()?);
        }
    }
    bail!("there is no {device}")
}

#[cfg(test)]
mod tests {
    use super::received;

    #[test]
    fn packets_are_the_second_figure() {
        let text = "Inter-| Receive\n face |bytes packets\n    lo:  10  1 0\n  r1: 6000 100 0 0\n r11: 1 2\n";
        assert_eq!(received(text, "r1").ok(), Some(100.0));
        assert!(received(text, "r2").is_err());
    }
}
