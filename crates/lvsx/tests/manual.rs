//! Manual pages and completions know every option that the parsers know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lvsx_health::config::Config;

/// A folder with what `lvsx manual` wrote.
fn written(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    let output = Command::new(env!("CARGO_BIN_EXE_lvsx"))
        .arg("manual")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}

fn text(file: PathBuf) -> String {
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Of roff, dashes are written with a backslash and fonts as `\fB`.
    let text = text.replace("\\-", "-");
    ["\\fB", "\\fI", "\\fR"]
        .iter()
        .fold(text, |text, font| text.replace(font, " "))
}

/// The sources that have a help text, and the one that reads options for another.
fn parsers(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            parsers(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            if source.contains("USAGE: &str") || path.ends_with("mark/import.rs") {
                found.push(path);
            }
        }
    }
}

/// The options that a source looks for: `Long("mode")`, `Short('h')`, `"--json"`.
fn options(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut options = BTreeSet::new();
    for (before, dashes, quote) in [("Long(", "--", '"'), ("Short(", "-", '\'')] {
        for rest in source.split(before).skip(1) {
            let inner = rest.split(')').next().unwrap_or_default();
            options.extend(
                inner
                    .split(quote)
                    .skip(1)
                    .step_by(2)
                    .map(|name| format!("{dashes}{name}")),
            );
        }
    }
    let plain = |word: &&str| {
        let bare = word.trim_start_matches('-');
        let (dashes, letters) = (word.len() - bare.len(), bare.len());
        let is_name = bare
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_name && ((dashes == 2 && letters > 1) || (dashes == 1 && letters == 1))
    };
    // Quotes stand in pairs on a line of code; a help text has none that hold one option alone.
    let words = source
        .lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    options.extend(words.filter(plain).map(str::to_owned));
    for known in ["-h", "--help", "-V", "--version"] {
        options.remove(known);
    }
    options
}

#[test]
fn every_option_of_a_parser_is_in_its_page_and_completed() {
    let folder = written("options");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for name in ["director", "doctor", "health", "lab", "lvsx"] {
        parsers(&crates.join(name).join("src"), &mut sources);
    }
    let mut seen = 0;
    for source in sources {
        let program = match &source {
            source if source.ends_with("director/src/options.rs") => "lvsd",
            source if source.ends_with("health/src/command.rs") => "lvsx-check",
            // A developer's, run by xtask.
            source if source.to_string_lossy().contains("/lab/src/conform/") => continue,
            source if source.to_string_lossy().contains("/lab/src/parity/") => continue,
            _ => "lvsx",
        };
        let page = text(folder.join(format!("man/{program}.8")));
        let completions = [
            format!("bash/{program}"),
            format!("zsh/_{program}"),
            format!("fish/{program}.fish"),
        ];
        let mut options = options(&fs::read_to_string(&source).unwrap());
        if source.ends_with("mark/import.rs") {
            // Short ones are what it says to nft and iptables.
            options.retain(|option| option.starts_with("--"));
        }
        for option in options {
            seen += 1;
            let has = |text: &str, word: &str| {
                text.split(|char: char| !char.is_ascii_alphanumeric() && char != '-')
                    .any(|found| found == word)
            };
            assert!(
                has(&page, &option),
                "{}: {option} is not in the page of {program}",
                source.display()
            );
            for file in &completions {
                let text = text(folder.join(file));
                let word = if file.starts_with("fish") {
                    option.trim_start_matches('-')
                } else {
                    &option
                };
                assert!(
                    has(&text, word),
                    "{}: {option} is not in {file}",
                    source.display()
                );
            }
        }
    }
    assert!(seen > 25, "only {seen} options were found in the sources");
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let page = text(written("keys").join("man/lvsx.toml.5"));
    for table in [
        "[process]",
        "[check.x]\ntype = \"tcp\"",
        "[[service]]\nservice = \"mark 1\"",
    ] {
        // The parser names what it would have taken.
        let error = Config::parse(&format!("{table}\nunknown = 1\n")).expect_err("an unknown key");
        let keys = error
            .split_once("expected one of")
            .unwrap_or_else(|| panic!("{error}"))
            .1;
        for key in keys.split('`').skip(1).step_by(2) {
            assert!(page.contains(key), "{table}: {key} is not in lvsx.toml(5)");
        }
    }
}
