//! What the BPF object is made of, as one digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::{PACKAGE, PROFILE, RUSTFLAGS};
use crate::repository::Repository;

/// The crates that the object is compiled from.
const CRATES: [&str; 3] = ["crates/core", "crates/platform", "crates/ebpf"];

/// SHA-256, in hex, over the manifests and sources of [`CRATES`], the flags of the build, and those entries of
/// `Cargo.lock` that the BPF programs need; another crate's dependency leaves it as it is.
///
/// # Errors
/// A file cannot be read, or the lock file misses an entry.
pub(super) fn digest(repository: &Repository) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for folder in CRATES {
        let folder = repository.root().join(folder);
        let mut files = vec![folder.join("Cargo.toml")];
        files_under(&folder.join("src"), &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(repository.root()).unwrap_or(&file);
            item(&mut hash, &name.to_string_lossy(), &read(&file)?);
        }
    }
    let lock = read(&repository.root().join("Cargo.lock"))?;
    for entry in entries_of(
        PACKAGE,
        &String::from_utf8(lock).context("Cargo.lock is not UTF-8")?,
    )? {
        item(&mut hash, "Cargo.lock", entry.as_bytes());
    }
    for (name, value) in PROFILE {
        item(&mut hash, name, value.as_bytes());
    }
    item(&mut hash, "RUSTFLAGS", RUSTFLAGS.join(" ").as_bytes());
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of `bytes` in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Adds a named item; lengths keep the borders apart.
fn item(hash: &mut Sha256, name: &str, bytes: &[u8]) {
    hash.update(format!("{} {name} {}\n", name.len(), bytes.len()));
    hash.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn files_under(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        if entry.file_type().with_context(unreadable)?.is_dir() {
            files_under(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The entries of the lock file that `package` needs from elsewhere, sorted.
///
/// The project's own crates are no part of it: their sources count by themselves, and the lock file lists what only
/// their tests need beside what they need.
fn entries_of(package: &str, lock: &str) -> anyhow::Result<BTreeSet<String>> {
    // The file is made by cargo: one block a package, one `key = value` or one list item a line.
    let mut blocks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for block in lock.split("[[package]]\n").skip(1) {
        blocks
            .entry(value(block, "name").context("an entry of Cargo.lock has no name")?)
            .or_default()
            .push(block);
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![package];
    while let Some(wanted) = open.pop() {
        // A dependency is "name", or "name version" where several versions are there.
        let (name, version) = wanted
            .split_once(' ')
            .map_or((wanted, None), |(name, version)| (name, Some(version)));
        let block = blocks
            .get(name)
            .into_iter()
            .flatten()
            .find(|block| version.is_none() || value(block, "version") == version)
            .with_context(|| format!("Cargo.lock has no entry for {wanted}"))?;
        let ours = value(block, "source").is_none();
        if (ours && name != package) || (!ours && !found.insert(block.trim().to_owned())) {
            continue;
        }
        let items = block
            .lines()
            .skip_while(|line| !line.starts_with("dependencies = ["));
        open.extend(items.filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()));
    }
    Ok(found)
}

/// The text of `key = "text"` in a block of the lock file.
fn value<'a>(block: &'a str, key: &str) -> Option<&'a str> {
    block.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(" = \"")?
            .strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"version = 4

[[package]]
name = "programs"
version = "0.1.0"
dependencies = [
 "kit",
 "own",
]

[[package]]
name = "own"
version = "0.1.0"
dependencies = [
 "only-for-tests",
]

[[package]]
name = "kit"
version = "1.0.0"
source = "registry"
checksum = "aa"
dependencies = [
 "macros 2.0.0",
]

[[package]]
name = "macros"
version = "1.0.0"
source = "registry"

[[package]]
name = "macros"
version = "2.0.0"
source = "registry"

[[package]]
name = "only-for-tests"
version = "3.0.0"
source = "registry"
"#;

    fn names_and_versions(lock: &str) -> Vec<String> {
        let entries = entries_of("programs", lock).unwrap();
        entries
            .iter()
            .map(|e| {
                format!(
                    "{} {}",
                    value(e, "name").unwrap(),
                    value(e, "version").unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn takes_what_the_programs_need_and_nothing_else() {
        assert_eq!(names_and_versions(LOCK), ["kit 1.0.0", "macros 2.0.0"]);
    }

    #[test]
    fn a_checksum_is_part_of_an_entry() {
        let other = LOCK.replace("\"aa\"", "\"bb\"");
        assert_ne!(
            entries_of("programs", LOCK).unwrap(),
            entries_of("programs", &other).unwrap()
        );
    }

    #[test]
    fn a_missing_entry_is_named() {
        let other = LOCK.replace("name = \"kit\"", "name = \"kid\"");
        assert_eq!(
            entries_of("programs", &other).unwrap_err().to_string(),
            "Cargo.lock has no entry for kit"
        );
    }

    #[test]
    fn items_do_not_run_into_each_other() {
        let of = |items: &[(&str, &str)]| {
            let mut hash = Sha256::new();
            items
                .iter()
                .for_each(|(name, bytes)| item(&mut hash, name, bytes.as_bytes()));
            hex(&hash.finalize())
        };
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "bc"), ("", "d")]));
    }
}
