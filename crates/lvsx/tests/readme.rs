//! README.md and README.zh-CN.md: they say the same, and the commands of the tutorial's set-ups work as they are written,
//! one after the other, in both. Needs root.
//!
//! A block of commands whose fence reads `sh dr/serverA dr/serverB` is run on these machines of that lab.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use lvsx_host::{ForwardingMethod, bpf};
use lvsx_lab::{Blueprint, Lab, Mode, Narrator};

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).expect(name)
}

/// What a section has, whatever the language.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    depth: usize,
    rows: usize,
    items: usize,
    commands: Vec<Block>,
    /// How often each `word` and each address of a link is there.
    words: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    fence: String,
    lines: Vec<String>,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut section = Section::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            let depth = line.chars().take_while(|char| *char == '#').count();
            sections.push(std::mem::replace(
                &mut section,
                Section {
                    depth,
                    ..Section::default()
                },
            ));
        } else if let Some(fence) = line.strip_prefix("```") {
            let lines = lines.by_ref().take_while(|line| !line.starts_with("```"));
            // A remark is in the reader's language.
            let bare = |line: &str| line.split(" #").next().unwrap_or(line).trim().to_owned();
            section.commands.push(Block {
                fence: fence.to_owned(),
                lines: lines.map(bare).collect(),
            });
        } else {
            section.rows += usize::from(line.starts_with('|'));
            section.items += usize::from(line.starts_with("- "));
            let spans = line.split('`').skip(1).step_by(2);
            let links = line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            for word in spans
                .chain(links)
                .filter(|word| !word.starts_with("README"))
            {
                *section.words.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    sections.push(section);
    sections
}

#[test]
fn both_say_the_same() {
    let (english, chinese) = (sections(&read(ENGLISH)), sections(&read(CHINESE)));
    for (place, (english, chinese)) in english.iter().zip(&chinese).enumerate() {
        assert_eq!(
            english, chinese,
            "heading {place} of {ENGLISH} and {CHINESE}"
        );
    }
    assert_eq!(english.len(), chinese.len(), "headings");
}

/// The blocks of a lab, each with its machines, in their order.
fn blocks(text: &str, lab: &str) -> Vec<(Vec<String>, Block)> {
    let blocks = sections(text)
        .into_iter()
        .flat_map(|section| section.commands);
    let with_machines = blocks.map(|block| {
        let machines = block.fence.split(' ').filter_map(|word| {
            let (of, machine) = word.split_once('/')?;
            (of == lab).then(|| machine.to_owned())
        });
        (machines.collect::<Vec<_>>(), block)
    });
    with_machines
        .filter(|(machines, _)| !machines.is_empty())
        .collect()
}

/// Runs the blocks of a lab line by line; the pages that came.
fn play(name: &str, method: ForwardingMethod) -> Result<Vec<String>> {
    let mut lab = Lab::build(
        Blueprint {
            method: Some(method),
            mode: Mode::Tc,
            binary: env!("CARGO_BIN_EXE_lvsx").into(),
            object: bpf::OBJECT,
        },
        &Narrator::silent(),
    )?;
    lab.start_web_servers(&Narrator::silent())?;
    // What is written to a file there is written to one of the lab's.
    let folder = lab.folder().path().display().to_string();
    let mut pages = Vec::new();
    for (machines, block) in blocks(&read(name), method.word()) {
        for (machine, line) in machines
            .iter()
            .flat_map(|machine| block.lines.iter().map(move |line| (machine, line)))
        {
            if line == "lvsd &" {
                lab.start_director(&Narrator::silent())?;
                continue;
            }
            let finished = lab.host(machine)?.run(&format!("cd {folder} && {line}"))?;
            let printed = finished
                .success()
                .with_context(|| format!("{name}, on {machine}: {line}"))?;
            if line.starts_with("curl ") {
                pages.push(printed.trim().to_owned());
            }
        }
    }
    for server in lvsx_lab::topology::SERVERS {
        let _ = lab.host(server)?.run("lvsx realserver down")?;
    }
    Ok(pages)
}

fn works(name: &str) -> Result<()> {
    let methods = [
        ForwardingMethod::Masquerade,
        ForwardingMethod::Tunnel,
        ForwardingMethod::DirectRouting,
    ];
    let played = thread::scope(|scope| {
        let labs = methods.map(|method| scope.spawn(move || play(name, method)));
        labs.map(|lab| lab.join().expect("a lab does not panic"))
    });
    for (method, pages) in methods.iter().zip(played) {
        let mut pages = pages.with_context(|| format!("{name}: {method}"))?;
        ensure!(!pages.is_empty(), "{name} has no commands for {method}");
        pages.sort();
        if pages != ["192.168.1.46", "192.168.1.47"] {
            bail!("{name}, {method}: the client saw {pages:?}");
        }
    }
    Ok(())
}

#[test]
fn the_english_commands_work() -> Result<()> {
    works(ENGLISH)
}

#[test]
fn the_chinese_commands_work() -> Result<()> {
    works(CHINESE)
}
