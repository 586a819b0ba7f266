//! The program that is to be run: where it is, and whether a library can be loaded into it.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

/// As much of a program as its headers take.
const HEAD: u64 = 4096;
/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// The program of this name: a path, or what `PATH` leads to.
pub(super) fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

/// Whether the loader would load a library into a program.
///
/// # Errors
/// It would not: why, and what else to do. What cannot be read is left to `exec`.
pub(super) fn check(path: &Path) -> Result<(), &'static str> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(HEAD).read_to_end(&mut head);
    }
    if let Some(why) = fault(&head) {
        return Err(why);
    }
    let changes_user = fs::metadata(path).is_ok_and(|found| {
        found.permissions().mode() & SET_ID != 0 && found.uid() != geteuid().as_raw()
    });
    match changes_user {
        true => Err(
            "it changes its user when it starts (set-user-id), and then loads no libraries: run it as that user",
        ),
        false => Ok(()),
    }
}

/// Why no library can be loaded into a program that begins so. Scripts are for their interpreters.
fn fault(head: &[u8]) -> Option<&'static str> {
    const INTERPRETER: u32 = 3;
    let half = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    if head.get(4) != Some(&2) {
        return Some("it is a 32-bit program, and the library is none");
    }
    let begin = word(32)? as usize;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let mut kinds = (0..count).map(|index| word(begin.saturating_add(index * size)));
    match kinds.any(|kind| kind == Some(INTERPRETER)) {
        true => None,
        false => Some(
            "it is linked statically (as programs in Go are), and loads no libraries; it can only ask the kernel",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_can_be_carried_and_a_script_too() {
        let own = env::current_exe().expect("a path");
        assert_eq!(check(&own), Ok(()));
        assert_eq!(fault(b"#!/bin/sh\n"), None);
        assert_eq!(fault(b""), None);
    }

    #[test]
    fn what_cannot_be_carried_is_told() {
        let own = fs::read(env::current_exe().expect("a path")).expect("this program");
        let mut head = own[..HEAD as usize].to_vec();
        head[56] = 0;
        head[57] = 0;
        assert!(fault(&head).is_some_and(|why| why.contains("statically")));
        head[4] = 1;
        assert!(fault(&head).is_some_and(|why| why.contains("32-bit")));
    }

    #[test]
    fn programs_are_found_by_their_names() {
        assert!(find(OsStr::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find(OsStr::new("no such program")), None);
        assert_eq!(find(OsStr::new("/nowhere/sh")), None);
    }
}
