//! `conform`: gathers scenarios, plays them on the planes, and counts what is equal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::generate;
use super::parse::parse;
use super::plane::live::{Program, Workshop};
use super::plane::{Plane, TURNS, inside, kernel};
use super::play::{Answers, difference};
use super::scenario::Scenario;
use super::{each, shrink};

const USAGE: &str = "\
usage: conform [OPTION]... [FILE]...

Plays scenarios on the planes and compares what comes of each step with the answers of the kernel's IPVS.
Without FILE: the scenarios of the repository, and generated ones.

  --category C     only this category; may be repeated
  --complete       only categories that are expected to be equal everywhere
  --by-turns       each scenario on one of the planes bpf, lvsd-tc and lvsd-xdp, by turns: these load programs for each
  --seeds N        generated scenarios of each category (2); their kernel answers come from user-mode Linux
  --first N        the first seed (1)
  --plane P        only this plane; may be repeated (host, bpf, lvsd-tc, lvsd-xdp, kernel)
  --record         write the kernel's answers into the repository's scenarios, or FILE
  --shrink         cut the first scenario of each category that differs down to the smallest that still does
  --print          print generated scenarios and do nothing else
  --lvsx FILE, --scenarios DIR, --out DIR
                   the binary, the repository's scenarios, where differences are written
";

/// Scenarios at once on a live plane: most of their time is waiting.
const AT_ONCE: usize = 4;
/// How long user-mode Linux may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs `conform` with these arguments.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    match options(arguments).and_then(|options| options.map_or(Ok(true), |options| options.run())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conform: {error:#}");
            ExitCode::from(2)
        }
    }
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
            Long("complete") => options
                .categories
                .get_or_insert_default()
                .extend(generate::complete().map(str::to_owned)),
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

/// A scenario to play.
struct Case {
    category: String,
    /// `nat/ports`, or `nat seed 3`.
    name: String,
    scenario: Scenario,
    /// The kernel's answers, as they are kept in the repository.
    recorded: Option<Answers>,
    file: Option<PathBuf>,
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
        let reference = self.reference(&cases)?;
        let mut is_equal = true;
        for plane in &self.planes {
            is_equal &= self.compare(*plane, &cases, &reference)?;
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
            if !self.files.is_empty()
                || self.is_wanted(&case.category)
                || self.is_wanted(&case.name)
            {
                cases.push(case);
            }
        }
        Ok(cases)
    }

    /// Whether a category, or one scenario of the repository, is asked for.
    fn is_wanted(&self, name: &str) -> bool {
        let named = |names: &Vec<String>| names.iter().any(|wanted| wanted == name);
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

    /// The kernel's answers to each case: those kept, and for the others those of one machine that is booted for them.
    fn reference(&self, cases: &[Case]) -> Result<Vec<Result<Answers, String>>> {
        let open: Vec<&Scenario> = cases
            .iter()
            .filter(|case| case.recorded.is_none())
            .map(|case| &case.scenario)
            .collect();
        let mut asked = if open.is_empty() {
            Vec::new()
        } else {
            kernel::play(&open, LIMIT)?
        }
        .into_iter();
        let mut all = Vec::new();
        for case in cases {
            all.push(match &case.recorded {
                Some(answers) => Ok(answers.clone()),
                None => match asked.next() {
                    Some(answers) => answers.map_err(|error| format!("{error:#}")),
                    None => bail!("the machine answered too few scenarios"),
                },
            });
        }
        Ok(all)
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
            Plane::Bpf => {
                return Ok(each(scenarios, AT_ONCE, |scenario| {
                    inside::by_test_runs(scenario)
                }));
            }
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

    /// Plays all cases on a plane and prints, category by category, how many are equal; whether all are, but for known
    /// differences.
    fn compare(
        &self,
        plane: Plane,
        cases: &[Case],
        reference: &[Result<Answers, String>],
    ) -> Result<bool> {
        // The kernel's answers to what is not kept are the reference themselves.
        let is_chosen = |index: &usize| match (plane, plane.turn()) {
            (Plane::Kernel, _) => cases[*index].recorded.is_some(),
            (_, Some(turn)) => !self.is_by_turns || index % TURNS == turn,
            (_, None) => true,
        };
        let chosen: Vec<usize> = (0..cases.len()).filter(is_chosen).collect();
        if chosen.is_empty() {
            return Ok(true);
        }
        let started = Instant::now();
        let scenarios: Vec<&Scenario> =
            chosen.iter().map(|index| &cases[*index].scenario).collect();
        let found = self.play(plane, &scenarios)?;
        let mut counts: BTreeMap<&str, (u32, Vec<&str>)> = BTreeMap::new();
        let mut details = String::new();
        let mut shrinkable = BTreeMap::new();
        let known = self.known_differences();
        let mut unknown = 0;
        for (index, found) in chosen.into_iter().zip(found) {
            let case = &cases[index];
            let count = counts.entry(&case.category).or_default();
            count.0 += 1;
            let what = match (&reference[index], found) {
                (Ok(wanted), Ok(found)) => difference(&case.scenario, wanted, &found),
                (Err(error), _) => Some(format!("the kernel did not play it: {error}\n")),
                (_, Err(error)) => Some(format!("it could not be played: {error:#}\n")),
            };
            if let Some(what) = what {
                count.1.push(&case.name);
                unknown += u32::from(!known.contains(&case.name));
                details.push_str(&format!("{}: {what}", case.name));
                shrinkable.entry(case.category.clone()).or_insert(index);
                if let Ok(wanted) = &reference[index] {
                    fs::write(
                        self.out
                            .join(format!("{}.scenario", case.name.replace('/', "-"))),
                        case.scenario.text(Some(wanted)),
                    )?;
                }
            }
        }
        let file = self.out.join(format!("{plane}.txt"));
        fs::write(&file, &details)?;
        println!("{plane} ({:.0} s)", started.elapsed().as_secs_f64());
        let (mut run, mut different) = (0, 0);
        for (category, (count, names)) in &counts {
            run += count;
            different += names.len() as u32;
            let equal = count - names.len() as u32;
            println!(
                "  {category:<16} run {count:>3}  equal {equal:>3}  different {:>3}  {}",
                names.len(),
                names.join(" ").trim_end()
            );
        }
        println!(
            "  {:<16} run {run:>3}  equal {:>3}  different {different:>3}",
            "all",
            run - different
        );
        if different > 0 {
            println!("  differences: {}", file.display());
        }
        if self.is_shrinking {
            for index in shrinkable.into_values() {
                self.shrink(plane, &cases[index])?;
            }
        }
        if unknown < different {
            println!(
                "  {} of them known: KNOWN_DIFFERENCES.md",
                different - unknown
            );
        }
        Ok(unknown == 0)
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
