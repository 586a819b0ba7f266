//! `cargo xtask bench`: what a packet costs in the director's programs, beside the least that it could cost.
//!
//! The programs run in the kernel by `BPF_PROG_TEST_RUN`, behind a [`generator`] that makes each packet. Reading order:
//! [`case`](mod@case) (what is measured), [`traffic`] and [`generator`] (the packets), [`director`], [`measure`] (the rounds),
//! [`report`], [`plot`].

mod case;
mod director;
mod generator;
mod ground;
mod machine;
mod measure;
#[path = "../ebpf/src/order.rs"]
#[expect(dead_code, reason = "part of it concerns the programs alone")]
mod order;
mod plot;
mod report;
mod traffic;

use anyhow::{Context, Result, bail};
use director::Director;
use generator::Generator;
use lexopt::ValueExt as _;
use measure::Effort;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use report::Report;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask bench [OPTION]...

  --only WORD       the cases whose names begin with WORD, and what they stand beside; may be repeated
  --flows LIST      numbers of flows, powers of two (1,1k,64k,1M)
  --rounds N        rounds (7)
  --packets N       packets of a case in a round (200000)
  --connections N   what the table is rated for (2000000)
  --cpu N           the CPU to run on (the last)
  --json FILE       write the figures there too
  --compare FILE    put these figures beside those of such a file
  --plot FILE       write a plot of ns against flows (SVG)
";

struct Options {
    object: PathBuf,
    only: Vec<String>,
    flows: Vec<u32>,
    effort: Effort,
    connections: u32,
    cpu: Option<usize>,
    json: Option<PathBuf>,
    compare: Option<PathBuf>,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = options()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let before = options.compare.as_deref().map(|path| {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice::<Report>(&text).with_context(|| path.display().to_string())
    });
    let before = before.transpose()?;
    let out = ground::lay()?;
    let mut generator = Generator::load(&options.object)?;
    let mut director = Director::load(options.connections, out)?;
    stay_on(options.cpu)?;
    let cases = chosen(case::all(&options.flows), &options.only);
    if cases.is_empty() {
        bail!("no case begins with {}", options.only.join(" or "));
    }
    let measured = measure::all(&cases, options.effort, &mut generator, &mut director)?;
    let bytes = director.bytes_a_connection();
    let report = Report::of(&cases, &measured, options.effort, bytes);
    report.print(before.as_ref());
    if let Some(path) = &options.json {
        let text = serde_json::to_vec_pretty(&report)?;
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &options.plot {
        fs::write(path, plot::svg(&report)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The cases of these beginnings, all if there is none, and the baselines that they stand beside.
fn chosen(cases: Vec<case::Case>, only: &[String]) -> Vec<case::Case> {
    let is_chosen = |case: &case::Case| {
        only.is_empty() || only.iter().any(|word| case.name.starts_with(word.as_str()))
    };
    let beside: Vec<&str> = cases
        .iter()
        .filter(|case| is_chosen(case))
        .filter_map(|case| case.beside)
        .collect();
    let is_beside: Vec<bool> = cases
        .iter()
        .map(|case| is_chosen(case) || beside.contains(&case.name.as_str()))
        .collect();
    cases
        .into_iter()
        .zip(is_beside)
        .filter_map(|(case, is)| is.then_some(case))
        .collect()
}

fn stay_on(cpu: Option<usize>) -> Result<()> {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut set = CpuSet::new();
    set.set(cpu.unwrap_or(last)).context("--cpu")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("--cpu")
}

fn options() -> Result<Option<Options>> {
    use lexopt::Arg::{Long, Short};
    let mut options = Options {
        object: PathBuf::new(),
        only: Vec::new(),
        flows: vec![1, 1 << 10, 1 << 16, 1 << 20],
        effort: Effort {
            rounds: 7,
            packets: 200_000,
        },
        connections: 2_000_000,
        cpu: None,
        json: None,
        compare: None,
        plot: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(None),
            Long("object") => options.object = args.value()?.into(),
            Long("only") => options.only.push(args.value()?.string()?),
            Long("flows") => {
                let list = args.value()?.string()?;
                options.flows = list
                    .split(',')
                    .map(number_of_flows)
                    .collect::<Result<_>>()?;
            }
            Long("rounds") => options.effort.rounds = args.value()?.parse()?,
            Long("packets") => options.effort.packets = args.value()?.parse()?,
            Long("connections") => options.connections = args.value()?.parse()?,
            Long("cpu") => options.cpu = Some(args.value()?.parse()?),
            Long("json") => options.json = Some(args.value()?.into()),
            Long("compare") => options.compare = Some(args.value()?.into()),
            Long("plot") => options.plot = Some(args.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.effort.rounds == 0 || options.effort.packets == 0 {
        bail!("--rounds and --packets are at least 1");
    }
    Ok(Some(options))
}

/// A power of two: `1`, `1k`, `64k`, `1M`.
fn number_of_flows(text: &str) -> Result<u32> {
    let (digits, shift) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('k') { 10 } else { 20 }),
        None => (text, 0),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|number| number.is_power_of_two())
        .with_context(|| format!("--flows: `{text}' is no power of two, such as 1, 64k or 1M"))
}
