//! Part scale: tables of millions, thousands of services, a thousand servers, two CPUs at once, a flood.
//!
//! As in part a the programs run by `BPF_PROG_TEST_RUN`. Reading order: [`hand`] (what sweeping takes), [`flood`], [`twice`].

mod flood;
mod hand;
mod twice;

use crate::director::{Counts, Director};
use crate::figure::{Gate, Limit, Samples, Section, Test};
use crate::generator::{Generator, REDIRECT, TX};
use crate::options::Options;
use crate::programs::case::{VIP, from_clients, service};
use crate::programs::lay;
use crate::traffic::{Flows, Segment, Traffic};
use anyhow::{Result, ensure};
use lvsx_director::loader::Time;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds where no number is given.
const ROUNDS: u32 = 3;
/// What tables of the tests are rated for that are not about their size.
const CONNECTIONS: u32 = 1 << 20;
/// Packets of a test in a round.
const PACKETS: u32 = 200_000;
/// Services, where there are many.
const SERVICES: u16 = 10_000;
/// Servers of the widest service.
const SERVERS: u16 = 1024;
/// Long enough for every connection to have expired.
const LONG: Duration = Duration::from_secs(2000);

const OPEN: Test = Test {
    name: "first packet",
    unit: "ns",
};
const ESTABLISHED: Test = Test {
    name: "established",
    unit: "ns",
};
const SET_UP: Test = Test {
    name: "rules loaded",
    unit: "ms",
};
const LOADED: Test = Test {
    name: "tables made",
    unit: "ms",
};
const BYTES: Test = Test {
    name: "both tables, a connection",
    unit: "bytes",
};
const SWEEP: Test = Test {
    name: "sweep, all live",
    unit: "cpu ms",
};
const EXPIRY: Test = Test {
    name: "sweep, all expire",
    unit: "cpu ms",
};
const FIRING: Test = Test {
    name: "a firing, all live",
    unit: "cpu ms",
};
const LONGEST: Test = Test {
    name: "longest, all live",
    unit: "cpu ms",
};
const EXPIRY_FIRING: Test = Test {
    name: "a firing, all expire",
    unit: "cpu ms",
};
const EXPIRY_LONGEST: Test = Test {
    name: "longest, all expire",
    unit: "cpu ms",
};

const ONE_SERVICE: &str = "1 service";
const MANY_SERVICES: &str = "10,000 services";
const WIDE: &str = "wlc, 1,024 servers";

/// The most milliseconds of one CPU that a sweep may take, of a table of this many connections.
const MOST_SWEEP: (u32, f64) = (10_000_000, 300.0);
/// The most nanoseconds for a first packet of the widest service.
const MOST_WIDE: f64 = 1200.0;

/// Measures.
///
/// # Errors
/// The kernel refuses a table or a run; a packet does not meet its connection.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let out = lay()?;
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let mut samples = Samples::default();
    let mut section = Section {
        title: format!("scale: the programs by test runs, {rounds} rounds; net ns a packet"),
        ..Section::default()
    };
    {
        let mut director = Director::load(CONNECTIONS.max(2 * PACKETS * rounds), out)?;
        services(&mut director, &options.object, rounds, &mut samples)?;
        for round in 0..rounds {
            eprint!("\rtwo CPUs, round {} of {rounds:<20}", round + 1);
            twice::measure(&mut director, &options.object, round, &mut samples)?;
        }
    }
    {
        let mut director = Director::load(flood::CONNECTIONS, out)?;
        for round in 0..rounds {
            eprint!("\rflood {} of {rounds}", round + 1);
            flood::measure(&mut director, &options.object, round, &mut samples)?;
        }
    }
    eprint!("\rthe largest table");
    largest(out, options, &mut samples)?;
    eprint!("\r{:<40}\r", "");
    let most = millions(options.most);
    let of_most = |test| samples.median(test, &most);
    if options.most == MOST_SWEEP.0 {
        for (test, name) in [
            (SWEEP, "sweep of 10M, all live, cpu ms"),
            (EXPIRY, "sweep of 10M, all expire, cpu ms"),
        ] {
            section
                .gates
                .extend(Gate::of(name, of_most(test), Limit::AtMost(MOST_SWEEP.1)));
        }
    }
    let wide = samples.median(OPEN, WIDE);
    section.gates.extend(Gate::of(
        "first packet, wlc, 1,024 servers, ns",
        wide,
        Limit::AtMost(MOST_WIDE),
    ));
    section.gates.extend(flood::gates(&samples));
    section.figures = samples.figures(|test| match test {
        OPEN | SET_UP => Some(ONE_SERVICE),
        other => flood::beside(other).or_else(|| twice::beside(other)),
    });
    Ok(section)
}

/// First packets of one service of four servers, of one among many services, of one with many servers.
fn services(
    director: &mut Director,
    object: &Path,
    rounds: u32,
    samples: &mut Samples,
) -> Result<()> {
    let many: Vec<String> = (0..SERVICES)
        .flat_map(|number| {
            let [high, low] = number.to_be_bytes();
            let other = SocketAddr::from((Ipv4Addr::new(198, 18, high, low), 80));
            service(other, "rr", "-m", 1)
        })
        .collect();
    let one = || service(VIP, "rr", "-m", 4);
    let rules = [
        (ONE_SERVICE, one()),
        (MANY_SERVICES, [many, one()].concat()),
        (WIDE, service(VIP, "wlc", "-m", SERVERS)),
    ];
    let mut generator = Generator::load_small(object)?;
    let syn = from_clients(VIP, Segment::Syn);
    for (name, lines) in rules {
        let begin = Instant::now();
        director.begin(&lines)?;
        samples.put(SET_UP, name, 0, milliseconds(begin));
        for round in 0..rounds {
            eprint!("\r{name}, round {} of {rounds:<20}", round + 1);
            let first = 2 * PACKETS * round;
            generator.aim(director.entrance()?)?;
            out(&mut generator, &syn, Flows::Fresh(first), PACKETS)?;
            let flows = Flows::Fresh(first + PACKETS);
            let net = net(&mut generator, director, &syn, flows, PACKETS)?;
            samples.put(OPEN, name, round, net);
        }
        whole(director, 2 * PACKETS * rounds)?;
    }
    Ok(())
}

/// Fills the largest table, uses it, and watches the hand go over it.
fn largest(interface: u32, options: &Options, samples: &mut Samples) -> Result<()> {
    for most in [options.most / 10, options.most] {
        let name = millions(most);
        let begin = Instant::now();
        let mut director = Director::load_in(most, interface, Time::Virtual)?;
        samples.put(LOADED, &name, 0, milliseconds(begin));
        director.begin(&service(VIP, "rr", "-m", 4))?;
        let mut generator = Generator::load_small(&options.object)?;
        let (syn, ack) = (
            from_clients(VIP, Segment::Syn),
            from_clients(VIP, Segment::Ack),
        );
        generator.aim(director.entrance()?)?;
        samples.put(
            OPEN,
            &name,
            0,
            net(&mut generator, &director, &syn, Flows::Fresh(0), most)?,
        );
        whole(&director, most)?;
        let flows = 1 << most.ilog2();
        samples.put(
            ESTABLISHED,
            &name,
            0,
            net(
                &mut generator,
                &director,
                &ack,
                Flows::Random(flows),
                PACKETS,
            )?,
        );
        whole(&director, most)?;
        ensure!(director.live()? == most as usize, "connections are gone");
        let bytes = director.tables().connection_bytes() as f64;
        samples.put(BYTES, &name, 0, bytes / f64::from(most));

        let live = hand::watch(director.tables(), || {})?;
        let expiring = hand::watch(director.tables(), || director.jump(LONG))?;
        for (tests, seen) in [
            ([SWEEP, FIRING, LONGEST], live),
            ([EXPIRY, EXPIRY_FIRING, EXPIRY_LONGEST], expiring),
        ] {
            for (test, value) in tests
                .into_iter()
                .zip([seen.pass, seen.firing, seen.longest])
            {
                samples.put(test, &name, 0, value);
            }
        }
        ensure!(director.live()? == 0, "connections are left");
    }
    Ok(())
}

/// Sends packets through what the generator is aimed at: nanoseconds each, the generator's with them.
fn out(generator: &mut Generator, traffic: &Traffic, flows: Flows, packets: u32) -> Result<f64> {
    let timed = generator.run(traffic, flows, packets)?;
    ensure!(
        [TX, REDIRECT].contains(&timed.answer),
        "the program answers {}",
        timed.answer
    );
    Ok(timed.nanoseconds)
}

/// Sends packets through the director: nanoseconds each, without the generator's.
fn net(
    generator: &mut Generator,
    director: &Director,
    traffic: &Traffic,
    flows: Flows,
    packets: u32,
) -> Result<f64> {
    generator.aim(director.entrance()?)?;
    let whole = out(generator, traffic, flows, packets)?;
    generator.aim_at_baseline("null")?;
    Ok(whole - out(generator, traffic, flows, packets.min(PACKETS))?)
}

/// Fails unless as many connections were opened as there should be, and none had to go.
fn whole(director: &Director, opened: u32) -> Result<()> {
    let Counts {
        opened: found,
        evicted,
        ..
    } = director.counts();
    ensure!(
        found == u64::from(opened) && evicted == 0,
        "{found} connections opened in place of {opened}, {evicted} evicted"
    );
    Ok(())
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// `10M connections`.
fn millions(number: u32) -> String {
    match number % 1_000_000 {
        0 => format!("{}M connections", number / 1_000_000),
        _ => format!("{number} connections"),
    }
}
