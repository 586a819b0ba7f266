//! The command line.

use anyhow::{Context, Result, bail};
use lexopt::ValueExt as _;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [OPTION]...

  --part PART       a (ns a packet in the programs), b (end to end, beside routing, nftables and proxies), c (lvsd and the kernel's
                    IPVS beside routing), d (control: rules, listings, memory), scale; may be repeated (all)
  --rounds N        rounds (7 of a, 3 of the others)
  --json FILE       write the figures there too
  --compare FILE    put these figures beside those of such a file
  --cpu N           the CPU that packets are made on (the last)

of part a
  --only WORD       the cases whose names begin with WORD, and what they stand beside; may be repeated
  --flows LIST      numbers of flows, powers of two (1,1k,64k,1M)
  --packets N       packets of a case in a round (200000)
  --connections N   what the table is rated for (2000000)
  --plot FILE       write a plot of ns against flows (SVG)

of parts b and c
  --seconds S       how long each test takes (1)
  --only WORD       of part b the directors whose names begin with WORD, and what they stand beside; may be repeated

of part scale
  --most N          connections of the largest table (10000000)
";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Programs,
    Ends,
    Kernel,
    Control,
    Scale,
}

impl Part {
    const ALL: [(&'static str, Self); 5] = [
        ("a", Self::Programs),
        ("b", Self::Ends),
        ("c", Self::Kernel),
        ("d", Self::Control),
        ("scale", Self::Scale),
    ];

    /// Its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, part)| *part == self)
            .map_or("", |(word, _)| word)
    }
}

/// The options, with what was not given as it usually is.
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    /// The BPF programs of the benchmarks.
    pub(crate) object: PathBuf,
    /// The binary under test.
    pub(crate) lvsx: PathBuf,
    /// Where nginx was unpacked; where it was not there is none.
    pub(crate) nginx: PathBuf,
    pub(crate) rounds: Option<u32>,
    pub(crate) only: Vec<String>,
    pub(crate) flows: Vec<u32>,
    pub(crate) packets: u32,
    pub(crate) connections: u32,
    pub(crate) seconds: f64,
    pub(crate) most: u32,
    pub(crate) cpu: Option<usize>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) compare: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            object: PathBuf::new(),
            lvsx: PathBuf::new(),
            nginx: PathBuf::new(),
            rounds: None,
            only: Vec::new(),
            flows: vec![1, 1 << 10, 1 << 16, 1 << 20],
            packets: 200_000,
            connections: 2_000_000,
            seconds: 1.0,
            most: 10_000_000,
            cpu: None,
            json: None,
            compare: None,
            plot: None,
        }
    }
}

impl Options {
    /// Reads the arguments; none: there was nothing but a question for help.
    ///
    /// # Errors
    /// An option that is unknown, or whose value is not one.
    pub(crate) fn read(args: &mut lexopt::Parser) -> Result<Option<Self>> {
        use lexopt::Arg::{Long, Short};
        let mut options = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Long("help") | Short('h') => return Ok(None),
                Long("part") => {
                    let word = args.value()?.string()?;
                    let part = Part::ALL.iter().find(|(name, _)| *name == word);
                    let (_, part) = part.with_context(|| {
                        format!("--part {word}: there are a, b, c, d and scale")
                    })?;
                    options.parts.push(*part);
                }
                Long("object") => options.object = args.value()?.into(),
                Long("lvsx") => options.lvsx = args.value()?.into(),
                Long("nginx") => options.nginx = args.value()?.into(),
                Long("only") => options.only.push(args.value()?.string()?),
                Long("flows") => {
                    let list = args.value()?.string()?;
                    options.flows = list
                        .split(',')
                        .map(number_of_flows)
                        .collect::<Result<_>>()?;
                }
                Long("rounds") => options.rounds = Some(args.value()?.parse()?),
                Long("packets") => options.packets = args.value()?.parse()?,
                Long("connections") => options.connections = args.value()?.parse()?,
                Long("seconds") => options.seconds = args.value()?.parse()?,
                Long("most") => options.most = args.value()?.parse()?,
                Long("cpu") => options.cpu = Some(args.value()?.parse()?),
                Long("json") => options.json = Some(args.value()?.into()),
                Long("compare") => options.compare = Some(args.value()?.into()),
                Long("plot") => options.plot = Some(args.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.rounds == Some(0) || options.packets == 0 {
            bail!("--rounds and --packets are at least 1");
        }
        if !(0.01..=60.0).contains(&options.seconds) {
            bail!("--seconds: from 0.01 to 60");
        }
        if !(100_000..=20_000_000).contains(&options.most) {
            bail!("--most: from 100000 to 20000000");
        }
        if options.parts.is_empty() {
            options.parts = Part::ALL.iter().map(|(_, part)| *part).collect();
        }
        Ok(Some(options))
    }

    /// Whether a name begins as was asked for; any does if nothing was.
    pub(crate) fn chooses(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.starts_with(word.as_str()))
    }

    /// The CPU that packets are made on.
    pub(crate) fn cpu(&self) -> usize {
        let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
        self.cpu.unwrap_or(last)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>> {
        Options::read(&mut lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn all_parts_unless_some_are_named() -> Result<()> {
        let parts = |line| Ok::<_, anyhow::Error>(read(line)?.map(|options| options.parts));
        assert_eq!(parts("")?.map(|parts| parts.len()), Some(5));
        assert_eq!(
            parts("--part scale --part b")?,
            Some(vec![Part::Scale, Part::Ends])
        );
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, word) in [
            ("--part e", "scale"),
            ("--flows 3", "power of two"),
            ("--rounds 0", "at least 1"),
            ("--seconds 0", "60"),
            ("--most 5", "100000"),
        ] {
            let error = read(line).err().map(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_some_and(|text| text.contains(word)),
                "{line}: {error:?}"
            );
        }
    }
}
