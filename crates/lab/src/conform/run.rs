//! `conform`: gathers scenarios, plays them on the planes, and counts what is equal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::generate;
use super::judge::{Case, Played, Reference, references};
use super::parse::parse;
use super::plane::live::{Program, Workshop};
use super::plane::{Plane, TURNS, inside, kernel};
use super::play::{Answers, difference};
use super::scenario::Scenario;
use super::{each, shrink, verdict};

const USAGE: &str = "\
usage: conform [OPTION]... [FILE]...

Plays scenarios on the planes and compares what comes of each step with the answers of the kernel's IPVS.
Without FILE: the scenarios of the repository, and generated ones.

  --category C     only this category; may be repeated
  --by-turns       on the planes lvsd-tc and lvsd-xdp, which start a director for each scenario, a sixth of them each
  --seeds N        generated scenarios of each category (2); their kernel answers come from user-mode Linux
  --first N        the first seed (1)
  --plane P        only this plane; may be repeated (host, bpf, lvsd-tc, lvsd-xdp, kernel)
  --record         write the kernel's answers into the repository's scenarios, or FILE
  --shrink         cut the first scenario of each category that differs down to the smallest that still does
  --print          print generated scenarios and do nothing else
  --lvsx FILE, --scenarios DIR, --out DIR
                   the binary, the repository's scenarios, where differences are written
";

/// Scenarios at once on a plane: half of a live one's time is waiting, the other half the verifier's.
const AT_ONCE: usize = 3;
/// How many differences of a plane are printed, beside being written to a file.
const SHOWN: usize = 5;
/// How long user-mode Linux may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs `conform` with these arguments.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let is_equal =
        options(arguments).and_then(|options| options.map_or(Ok(true), |options| options.run()));
    verdict("conform", is_equal)
}

struct Options {
    /// `None`: all.
    categories: Option<Vec<String>>,
    planes: Vec<Plane>,
    seeds: u64,
    first: u64,
    lvsx: PathBuf,
    scenarios: PathBuf,
    out: PathBuf,
    files: Vec<PathBuf>,
    is_by_turns: bool,
    is_recording: bool,
    is_shrinking: bool,
    is_printing: bool,
}

/// `None`: there was nothing but a question for help, or the work inside the machine, which is done.
fn options(arguments: Vec<OsString>) -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let mut options = Options {
        categories: None,
        planes: Vec::new(),
        seeds: 2,
        first: 1,
        lvsx: "target/release/lvsx".into(),
        scenarios: "scenarios".into(),
        out: "target/conform".into(),
        files: Vec::new(),
        is_by_turns: false,
        is_recording: false,
        is_shrinking: false,
        is_printing: false,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("category") => {
                let name = parser.value()?.string()?;
                let known = generate::categories().any(|known| known == name);
                ensure!(
                    known,
                    "no category {name}; there are: {}",
                    generate::categories().collect::<Vec<_>>().join(" ")
                );
                options.categories.get_or_insert_default().push(name);
            }
            Long("plane") => {
                let name = parser.value()?.string()?;
                let plane = Plane::named(&name);
                let names = || Plane::ALL.map(Plane::name).join(", ");
                options.planes.push(
                    plane.with_context(|| format!("no plane {name}; there are: {}", names()))?,
                );
            }
            Long("seeds") => options.seeds = parser.value()?.parse()?,
            Long("first") => options.first = parser.value()?.parse()?,
            Long("by-turns") => options.is_by_turns = true,
            Long("record") => options.is_recording = true,
            Long("shrink") => options.is_shrinking = true,
            Long("print") => options.is_printing = true,
            Long("lvsx") => options.lvsx = parser.value()?.into(),
            Long("scenarios") => options.scenarios = parser.value()?.into(),
            Long("out") => options.out = parser.value()?.into(),
            Long("inside") => {
                kernel::inside(Path::new(&parser.value()?))?;
                return Ok(None);
            }
            Long("help") | Short('h') => {
                print!("{USAGE}");
                return Ok(None);
            }
            Value(file) => options.files.push(file.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.planes.is_empty() {
        options.planes = Plane::ALL.to_vec();
    }
    Ok(Some(options))
}

impl Options {
    /// Whether everything was equal.
    fn run(&self) -> Result<bool> {
        let mut cases = self.kept()?;
        if self.is_recording {
            self.record(&cases)?;
            return Ok(true);
        }
        if self.files.is_empty() {
            cases.extend(self.generated());
        }
        if self.is_printing {
            cases.iter().for_each(|case| println!("{}", case.scenario));
            return Ok(true);
        }
        if cases.is_empty() {
            println!("there is no scenario of that kind");
            return Ok(true);
        }
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        let started = Instant::now();
        // The machine takes one CPU, and the planes wait for much: side by side.
        let (asked, played) = thread::scope(|scope| {
            let asked = scope.spawn(|| self.ask_kernel(&cases));
            let others = self.planes.iter().filter(|plane| **plane != Plane::Kernel);
            let played: Result<Vec<_>> = others
                .map(|plane| self.play_cases(*plane, &cases))
                .collect();
            let asked = asked.join();
            (
                asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                played,
            )
        });
        let (mut played, asked) = (played?, asked?);
        let reference = references(&cases, &asked);
        if self.planes.contains(&Plane::Kernel) {
            played.push(asked.of_kept(&cases));
        }
        let mut is_equal = true;
        for played in &played {
            is_equal &= self.judge(played, &cases, &reference)?;
        }
        println!(
            "{} scenarios in {:.0} s",
            cases.len(),
            started.elapsed().as_secs_f64()
        );
        Ok(is_equal)
    }

    /// The scenarios of the repository, or those named on the command line.
    fn kept(&self) -> Result<Vec<Case>> {
        let mut files = self.files.clone();
        if files.is_empty() && self.scenarios.is_dir() {
            for folder in fs::read_dir(&self.scenarios)? {
                let folder = folder?.path();
                if folder.is_dir() {
                    files
                        .extend(fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())));
                }
            }
            files.retain(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "scenario")
            });
            files.sort();
        }
        let mut cases = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let (scenario, recorded) = parse(&text).with_context(|| file.display().to_string())?;
            let part = |path: Option<&std::ffi::OsStr>| {
                path.map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default()
            };
            let category = part(file.parent().and_then(Path::file_name));
            let case = Case {
                name: format!("{category}/{}", part(file.file_stem())),
                category,
                scenario,
                recorded,
                file: Some(file),
            };
            if !self.files.is_empty() || self.is_wanted(&case.category) {
                cases.push(case);
            }
        }
        Ok(cases)
    }

    fn is_wanted(&self, category: &str) -> bool {
        let named = |names: &Vec<String>| names.iter().any(|wanted| wanted == category);
        self.categories.as_ref().is_none_or(named)
    }

    fn generated(&self) -> Vec<Case> {
        let is_wanted = |category: &&str| self.is_wanted(category);
        let mut cases = Vec::new();
        for category in generate::categories().filter(is_wanted) {
            for seed in self.first..self.first + self.seeds {
                cases.push(Case {
                    category: category.to_owned(),
                    name: format!("{category}-{seed}"),
                    scenario: generate::scenario(category, seed),
                    recorded: None,
                    file: None,
                });
            }
        }
        cases
    }

    fn record(&self, cases: &[Case]) -> Result<()> {
        let scenarios: Vec<&Scenario> = cases.iter().map(|case| &case.scenario).collect();
        let all = kernel::play(&scenarios, LIMIT)?;
        for (case, answers) in cases.iter().zip(all) {
            let answers = answers.with_context(|| case.name.clone())?;
            if let Some(file) = &case.file {
                fs::write(file, case.scenario.text(Some(&answers)))?;
            }
        }
        println!("{} scenarios recorded", cases.len());
        Ok(())
    }

    /// The kernel's answers, all of one machine, to cases whose answers are not kept; to all if its plane is asked for.
    fn ask_kernel(&self, cases: &[Case]) -> Result<Played> {
        let is_asked =
            |case: &Case| case.recorded.is_none() || self.planes.contains(&Plane::Kernel);
        let open = (0..cases.len()).filter(|index| is_asked(&cases[*index]));
        self.play_these(Plane::Kernel, cases, open.collect())
    }

    /// Plays on a plane the cases that are its own.
    fn play_cases(&self, plane: Plane, cases: &[Case]) -> Result<Played> {
        let is_own = |index: &usize| {
            !self.is_by_turns || plane.turn().is_none_or(|turn| index % TURNS == turn)
        };
        self.play_these(plane, cases, (0..cases.len()).filter(is_own).collect())
    }

    fn play_these(&self, plane: Plane, cases: &[Case], chosen: Vec<usize>) -> Result<Played> {
        let started = Instant::now();
        let scenarios: Vec<&Scenario> =
            chosen.iter().map(|index| &cases[*index].scenario).collect();
        let found = if chosen.is_empty() {
            Vec::new()
        } else {
            self.play(plane, &scenarios)?
        };
        Ok(Played {
            plane,
            found: chosen.into_iter().zip(found).collect(),
            took: started.elapsed(),
        })
    }

    /// Plays scenarios on a plane.
    fn play(&self, plane: Plane, scenarios: &[&Scenario]) -> Result<Vec<Result<Answers>>> {
        let mode = match plane {
            Plane::Kernel => return kernel::play(scenarios, LIMIT),
            Plane::Host => {
                return Ok(each(scenarios, AT_ONCE, |scenario| {
                    inside::on_host(scenario)
                }));
            }
            Plane::Bpf => return Ok(inside::by_test_runs(scenarios)),
            Plane::LvsdTc => "tc",
            Plane::LvsdXdp => "xdp",
        };
        let workshop = Workshop::open(Program::Lvsd {
            lvsx: self.lvsx.clone(),
            mode,
        })?;
        Ok(each(scenarios, AT_ONCE, |scenario| workshop.play(scenario)))
    }

    /// The names that `KNOWN_DIFFERENCES.md` beside the scenarios lists.
    fn known_differences(&self) -> Vec<String> {
        let file = self.scenarios.with_file_name("KNOWN_DIFFERENCES.md");
        let text = fs::read_to_string(file).unwrap_or_default();
        let name = |line: &str| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_owned());
        text.lines().filter_map(name).collect()
    }

    /// Prints how much is equal, cuts down what is not if that is asked for; whether all is, but for known differences.
    fn judge(&self, played: &Played, cases: &[Case], reference: &[Reference]) -> Result<bool> {
        let different = played.compare(cases, reference, &self.out)?;
        if self.is_shrinking {
            let mut first = BTreeMap::new();
            for (index, _) in &different {
                first.entry(&cases[*index].category).or_insert(*index);
            }
            for index in first.into_values() {
                self.shrink(played.plane, &cases[index])?;
            }
        }
        let known = self.known_differences();
        let is_known = |index: usize| known.contains(&cases[index].name);
        let (listed, new): (Vec<_>, Vec<_>) =
            different.iter().partition(|(index, _)| is_known(*index));
        if !listed.is_empty() {
            println!("  {} of them known: KNOWN_DIFFERENCES.md", listed.len());
        }
        for (_, what) in new.iter().take(SHOWN) {
            print!("{what}");
        }
        Ok(new.is_empty())
    }

    fn shrink(&self, plane: Plane, case: &Case) -> Result<()> {
        let both = |scenarios: &[&Scenario]| -> Result<Vec<Option<(Answers, Answers)>>> {
            let wanted = kernel::play(scenarios, LIMIT)?;
            let found = self.play(plane, scenarios)?;
            let pairs = wanted.into_iter().zip(found);
            Ok(pairs
                .map(|(wanted, found)| Some((wanted.ok()?, found.ok()?)))
                .collect())
        };
        let Some(smallest) = shrink::smallest(&case.scenario, &both)? else {
            println!("  {}: a second time it is equal", case.name);
            return Ok(());
        };
        let file = self.out.join(format!(
            "{}-{plane}-smallest.scenario",
            case.name.replace('/', "-")
        ));
        fs::write(&file, smallest.scenario.text(Some(&smallest.wanted)))?;
        println!(
            "  {} cut to {} steps: {}",
            case.name,
            smallest.scenario.steps.len(),
            file.display()
        );
        if let Some(what) = difference(&smallest.scenario, &smallest.wanted, &smallest.found) {
            print!("{what}");
        }
        Ok(())
    }
}
