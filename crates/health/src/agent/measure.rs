//! How loaded a machine is, 0 to 1, by the kernel's own figures.
//!
//! Reading is apart from understanding: [`Figures`] are what the files say, [`Figures::since`] what came of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Memory in use, as a share, from which on it counts as load.
const MEMORY_COUNTS: f64 = 0.8;
/// How much of a new sample counts against those of before.
const ALPHA: f64 = 0.3;

/// What the kernel says at one moment. What a kernel does not say is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Time of all processors together, and how much of it was work, in ticks.
    cpu: Option<(u64, u64)>,
    /// Processes that want to run, this one not counted.
    runnable: Option<u64>,
    /// Processors.
    cores: u64,
    /// The share of time in which some process had to wait for a processor or for memory.
    pressure: Option<f64>,
    /// The share of memory in use.
    memory: Option<f64>,
    /// Bytes received and sent, and bytes a second at most, of each interface whose speed is known.
    network: BTreeMap<String, (u64, u64, f64)>,
}

/// Loads by name, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loads {
    /// Processors busy.
    pub cpu: Option<f64>,
    /// Processes that want to run, a processor.
    pub run: Option<f64>,
    /// Time in which some process had to wait.
    pub psi: Option<f64>,
    /// Memory in use.
    pub mem: Option<f64>,
    /// The busiest interface.
    pub nic: Option<f64>,
    /// What the application says.
    pub app: Option<f64>,
}

impl Loads {
    /// By name, in the order in which they are shown.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("cpu", self.cpu),
            ("run", self.run),
            ("psi", self.psi),
            ("mem", self.mem),
            ("nic", self.nic),
            ("app", self.app),
        ]
    }

    /// The largest; memory counts only once little is left.
    #[must_use]
    pub fn load(&self) -> f64 {
        let counted = Self {
            mem: self.mem.filter(|used| *used > MEMORY_COUNTS),
            ..*self
        };
        let loads = counted.named().into_iter().filter_map(|(_, load)| load);
        loads.fold(0.0, f64::max)
    }

    /// Smooths these by those of before.
    #[must_use]
    pub fn smoothed(self, before: Self) -> Self {
        let smooth = |old: Option<f64>, new: Option<f64>| match (old, new) {
            (Some(old), Some(new)) => Some(old + ALPHA * (new - old)),
            (_, new) => new,
        };
        Self {
            cpu: smooth(before.cpu, self.cpu),
            run: smooth(before.run, self.run),
            psi: smooth(before.psi, self.psi),
            mem: smooth(before.mem, self.mem),
            nic: smooth(before.nic, self.nic),
            app: smooth(before.app, self.app),
        }
    }
}

/// Which loads count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs([bool; 6]);

impl Inputs {
    /// All.
    pub const ALL: Self = Self([true; 6]);

    /// Reads names with commas between.
    ///
    /// # Errors
    /// A name that is none, with those there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names = Loads::default().named().map(|(name, _)| name);
        let mut inputs = Self([false; 6]);
        for word in text.split(',') {
            let at = names.iter().position(|name| *name == word);
            let at =
                at.ok_or_else(|| format!("`{word}` is no input: there are {}", names.join(", ")))?;
            inputs.0[at] = true;
        }
        Ok(inputs)
    }

    /// The loads that count.
    #[must_use]
    pub fn of(self, loads: Loads) -> Loads {
        let [cpu, run, psi, mem, nic, app] = self.0;
        Loads {
            cpu: loads.cpu.filter(|_| cpu),
            run: loads.run.filter(|_| run),
            psi: loads.psi.filter(|_| psi),
            mem: loads.mem.filter(|_| mem),
            nic: loads.nic.filter(|_| nic),
            app: loads.app.filter(|_| app),
        }
    }
}

impl Figures {
    /// What the kernel says now.
    #[must_use]
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let pressures =
            ["cpu", "memory"].map(|what| pressure(&text(&format!("/proc/pressure/{what}"))));
        let speed = |interface: &str| {
            text(&format!("/sys/class/net/{interface}/speed"))
                .trim()
                .parse()
                .ok()
        };
        Self {
            pressure: pressures.into_iter().flatten().reduce(f64::max),
            ..Self::of(
                &text("/proc/stat"),
                &text("/proc/loadavg"),
                &text("/proc/meminfo"),
                &text("/proc/net/dev"),
                speed,
            )
        }
    }

    /// What files say. `speed`: of an interface, in megabits a second.
    fn of(
        stat: &str,
        loadavg: &str,
        meminfo: &str,
        devices: &str,
        speed: impl Fn(&str) -> Option<i64>,
    ) -> Self {
        let cores = stat.lines().filter(|line| {
            let number = line
                .strip_prefix("cpu")
                .and_then(|rest| rest.chars().next());
            number.is_some_and(|digit| digit.is_ascii_digit())
        });
        Self {
            cpu: stat.lines().next().and_then(processor_time),
            runnable: runnable(loadavg),
            cores: cores.count() as u64,
            pressure: None,
            memory: memory(meminfo),
            network: network(devices, speed),
        }
    }

    /// The loads of the time since `before`.
    #[must_use]
    pub fn since(&self, before: &Self, time: Duration) -> Loads {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0));
        let passed = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let seconds = time.as_secs_f64();
        let interfaces = self
            .network
            .iter()
            .filter_map(|(name, (received, sent, speed))| {
                let (was_received, was_sent, _) = before.network.get(name)?;
                let bytes = passed(*received, *was_received).max(passed(*sent, *was_sent));
                share(bytes, speed * seconds)
            });
        Loads {
            cpu: self
                .cpu
                .zip(before.cpu)
                .and_then(|((all, busy), (was, was_busy))| {
                    share(passed(busy, was_busy), passed(all, was))
                }),
            run: self
                .runnable
                .and_then(|runnable| share(runnable as f64, self.cores as f64)),
            psi: self.pressure,
            mem: self.memory,
            nic: interfaces.reduce(f64::max),
            app: None,
        }
    }
}

/// All time and busy time, of the first line of `/proc/stat`. Guests are counted in user time already.
fn processor_time(line: &str) -> Option<(u64, u64)> {
    let fields = line.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u64> = fields
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some((all, all - idle))
}

/// The fourth field of `/proc/loadavg`, without the process that reads it.
fn runnable(loadavg: &str) -> Option<u64> {
    let field = loadavg.split_ascii_whitespace().nth(3)?;
    let (running, _) = field.split_once('/')?;
    Some(running.parse::<u64>().ok()?.saturating_sub(1))
}

/// The share of the last ten seconds in which some process waited.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = some
        .split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()?;
    Some((percent / 100.0).clamp(0.0, 1.0))
}

fn memory(meminfo: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_ascii_whitespace().next()?.parse().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    (total > 0.0).then(|| (1.0 - available / total).clamp(0.0, 1.0))
}

fn network(
    devices: &str,
    speed: impl Fn(&str) -> Option<i64>,
) -> BTreeMap<String, (u64, u64, f64)> {
    let lines = devices.lines().filter_map(|line| line.split_once(':'));
    let counted = lines.filter_map(|(name, counters)| {
        let name = name.trim();
        let megabits = speed(name).filter(|speed| *speed > 0)?;
        let mut counters = counters.split_ascii_whitespace();
        let received = counters.next()?.parse().ok()?;
        let sent = counters.nth(7)?.parse().ok()?;
        Some((
            name.to_owned(),
            (received, sent, megabits as f64 * 125_000.0),
        ))
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(stat: &str, sent: u64) -> Figures {
        let devices = format!(
            "Inter-|   Receive    |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    \
             lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 {sent} 2 0 0 0 0 0 0\n"
        );
        let speed = |name: &str| (name == "eth0").then_some(1000);
        Figures::of(
            stat,
            "0.5 0.4 0.3 3/400 1234\n",
            "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 250 kB\n",
            &devices,
            speed,
        )
    }

    #[test]
    fn loads_are_shares_of_what_there_is() {
        let before = figures(
            "cpu 100 0 100 700 100 0 0 0 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n",
            0,
        );
        let after = figures(
            "cpu 130 0 120 740 110 0 0 0 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n",
            62_500_000,
        );
        let loads = after.since(&before, Duration::from_secs(1));
        assert_eq!(loads.cpu, Some(0.5));
        assert_eq!(loads.run, Some(0.5));
        assert_eq!(loads.nic, Some(0.5));
        assert_eq!(loads.mem, Some(0.75));
        assert_eq!(loads.load(), 0.5, "memory counts once little is left");
        let full = Loads {
            mem: Some(0.9),
            ..loads
        };
        assert_eq!(full.load(), 0.9);
    }

    #[test]
    fn what_a_kernel_does_not_say_is_not_there() {
        let nothing = Figures::of("", "", "", "", |_| None);
        assert_eq!(
            nothing.since(&Figures::default(), Duration::ZERO),
            Loads::default()
        );
        assert_eq!(Loads::default().load(), 0.0);
        assert_eq!(
            pressure("some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0\n"),
            Some(0.125)
        );
        assert_eq!(pressure("rubbish"), None);
    }

    #[test]
    fn this_machine_has_a_load() {
        let figures = Figures::read();
        let booted = Figures {
            cpu: Some((0, 0)),
            ..Figures::default()
        };
        let loads = figures.since(&booted, Duration::from_secs(1));
        assert!(
            loads.cpu.is_some() && loads.run.is_some() && loads.mem.is_some(),
            "{figures:?}"
        );
        assert!((0.0..=1.0).contains(&loads.load()));
    }

    #[test]
    fn only_what_counts_counts() {
        let all = Loads {
            cpu: Some(0.9),
            app: Some(0.3),
            ..Loads::default()
        };
        let app = Inputs::parse("app,mem").expect("they are inputs");
        assert_eq!((app.of(all).load(), Inputs::ALL.of(all)), (0.3, all));
        assert!(
            Inputs::parse("app,")
                .expect_err("nothing")
                .contains("cpu, run")
        );
    }

    #[test]
    fn loads_are_smoothed() {
        let load = |cpu| Loads {
            cpu: Some(cpu),
            ..Loads::default()
        };
        let mut now = load(0.0);
        for _ in 0..20 {
            now = load(1.0).smoothed(now);
        }
        assert!(now.load() > 0.99 && load(1.0).smoothed(load(0.0)).load() < 0.31);
    }
}
