//! The scenarios of the repository: each can be read, is written as it would be written, holds the kernel's answers; and
//! those that are expected to be equal are, on the plane that needs nothing but this host.

use std::fs;
use std::path::{Path, PathBuf};

use lvsx_lab::conform::generate;
use lvsx_lab::conform::parse::parse;
use lvsx_lab::conform::plane::inside;
use lvsx_lab::conform::play::difference;

/// Files with their names: `nat/both-ways`.
fn scenarios() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder of scenarios");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let mut found: Vec<(String, PathBuf)> = entries(&folder)
        .iter()
        .flat_map(|category| entries(category))
        .map(|file| {
            let name = file
                .strip_prefix(&folder)
                .expect("below it")
                .with_extension("");
            (name.to_string_lossy().into_owned(), file)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn each_is_written_well_and_holds_the_kernels_answers() {
    let all = scenarios();
    assert!(all.len() > 20, "{} scenarios", all.len());
    for (name, file) in all {
        let text = fs::read_to_string(&file).expect("text");
        let (scenario, answers) = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let answers =
            answers.unwrap_or_else(|| panic!("{name}: `cargo xtask conform --record` is missing"));
        assert_eq!(scenario.text(Some(&answers)), text, "{name}");
        let category = name.split('/').next().expect("a folder");
        assert!(
            generate::categories().any(|known| known == category),
            "{name}: no such category"
        );
    }
}

#[test]
fn each_is_equal_on_this_host_or_a_known_difference() {
    let known = include_str!("../../../KNOWN_DIFFERENCES.md");
    for (name, file) in scenarios() {
        let text = fs::read_to_string(&file).expect("text");
        let (scenario, answers) = parse(&text).expect("a scenario");
        let found = inside::on_host(&scenario).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let difference = difference(&scenario, &answers.expect("answers"), &found);
        let is_known = known.contains(&format!("- `{name}`"));
        assert_eq!(
            difference.is_some(),
            is_known,
            "{name}: {}",
            difference.unwrap_or_default()
        );
    }
}
