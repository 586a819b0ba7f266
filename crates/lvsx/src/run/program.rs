//! The program that is to be run: where it is, and by which way it can be carried.

use std::env;
use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

/// As much of a program as its headers take, and the notes that its compiler left.
const HEAD: u64 = 8192;
/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// Interpreters that are scripts themselves, as deep as the kernel follows them.
const DEPTH: usize = 5;

/// How a program is carried to lvsd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A library is loaded into it.
    Library,
    /// Its sockets are supervised.
    Supervisor,
}

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

/// The way for a program: the library where the loader would load it and the program would meet it, else the supervisor. Of a
/// script its interpreter counts. What cannot be read is left to `exec`.
///
/// # Errors
/// There is no way: why, and what else to do.
pub(super) fn way(path: &Path) -> Result<Way, &'static str> {
    let mut path = path.to_path_buf();
    let mut head = head(&path);
    for _ in 0..DEPTH {
        let Some(interpreter) = interpreter(&head) else {
            break;
        };
        head = self::head(&interpreter);
        path = interpreter;
    }
    let way = way_by(&head)?;
    let changes_user = fs::metadata(&path).is_ok_and(|found| {
        found.permissions().mode() & SET_ID != 0 && found.uid() != geteuid().as_raw()
    });
    match changes_user {
        false => Ok(way),
        // Nobody else can look into it.
        true if geteuid().is_root() => Ok(Way::Supervisor),
        true => Err(
            "it changes its user when it starts (set-user-id), and cannot be looked into then: run it as that user",
        ),
    }
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(HEAD).read_to_end(&mut head);
    }
    head
}

/// The interpreter that the first line of a script names.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let name = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    (!name.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// The way for a program that begins so.
fn way_by(head: &[u8]) -> Result<Way, &'static str> {
    let Some(segments) = Segments::of(head)? else {
        return Ok(Way::Library);
    };
    const INTERPRETER: u32 = 3;
    const NOTE: u32 = 4;
    // Its C library's loader; that of others than glibc would not find what ours needs.
    let is_glibc = segments.clone().any(|(kind, bytes)| {
        let name = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
        kind == INTERPRETER && name.to_bytes().windows(8).any(|part| part == b"ld-linux")
    });
    // Programs of Go ask the kernel themselves, also those that load a C library for other things.
    let is_go = segments.clone().any(|(kind, bytes)| {
        kind == NOTE && bytes.windows(GO_NOTE.len()).any(|part| part == GO_NOTE)
    });
    match is_glibc && !is_go {
        true => Ok(Way::Library),
        false => Ok(Way::Supervisor),
    }
}

/// What a note of Go's linker has in its middle: the type of the note (the build's id), and its owner.
const GO_NOTE: &[u8] = b"\x04\0\0\0Go\0\0";

/// The kind and the bytes of each segment that a program's header lists, as far as they are in its head.
#[derive(Clone)]
struct Segments<'a> {
    head: &'a [u8],
    at: usize,
    size: usize,
    left: u16,
}

impl<'a> Segments<'a> {
    /// `None`: it is no ELF file, a script of none but shells perhaps.
    fn of(head: &'a [u8]) -> Result<Option<Self>, &'static str> {
        if !head.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        if head.get(4) != Some(&2) {
            return Err("it is a 32-bit program, and those cannot be carried");
        }
        Ok(Some(Self {
            head,
            at: long(head, 32),
            size: usize::from(half(head, 54)),
            left: half(head, 56),
        }))
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.head.get(self.at..)?.get(..56)?;
        self.at = self.at.saturating_add(self.size);
        let kind = u32::from(half(header, 0)) | u32::from(half(header, 2)) << 16;
        let begin = long(header, 8).min(self.head.len());
        let end = begin.saturating_add(long(header, 32)).min(self.head.len());
        Some((kind, self.head.get(begin..end).unwrap_or_default()))
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> usize {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        let mut own = fs::read(env::current_exe().expect("a path")).expect("this program");
        own.truncate(HEAD as usize);
        own
    }

    #[test]
    fn this_test_loads_libraries_and_a_shell_too() {
        assert_eq!(way_by(&own()), Ok(Way::Library));
        assert_eq!(
            way(&find(OsStr::new("sh")).expect("a shell")),
            Ok(Way::Library)
        );
        assert_eq!(
            way_by(b"echo a script without a first line\n"),
            Ok(Way::Library)
        );
        assert_eq!(way_by(b""), Ok(Way::Library));
    }

    #[test]
    fn a_script_goes_the_way_of_its_interpreter() {
        assert_eq!(interpreter(b"#! /bin/sh -e\necho"), Some("/bin/sh".into()));
        assert_eq!(
            interpreter(b"#!/usr/bin/env python3\n"),
            Some("/usr/bin/env".into())
        );
        assert_eq!(interpreter(b"#!\n"), None);
        assert_eq!(interpreter(b"echo"), None);
        let folder = env::temp_dir().join(format!("lvsx-way-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        let mut program = own();
        // No segments: as little as a static program says of a loader.
        program[56..58].fill(0);
        let (tool, script) = (folder.join("tool"), folder.join("script"));
        fs::write(&tool, program).expect("ours");
        fs::write(&script, format!("#!{}\n", tool.display())).expect("ours");
        assert_eq!(way(&tool), Ok(Way::Supervisor));
        assert_eq!(way(&script), Ok(Way::Supervisor));
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn programs_of_go_and_of_other_c_libraries_are_supervised() {
        // A header with one segment behind it.
        let program = |kind: u8, bytes: &[u8]| {
            let mut head = b"\x7fELF\x02".to_vec();
            head.resize(120, 0);
            (head[32], head[54], head[56]) = (64, 56, 1);
            (head[64], head[72], head[96]) = (kind, 120, bytes.len() as u8);
            head.extend(bytes);
            head
        };
        let way = |kind, bytes| way_by(&program(kind, bytes));
        assert_eq!(way(3, b"/lib64/ld-linux-x86-64.so.2\0"), Ok(Way::Library));
        assert_eq!(way(3, b"/lib/ld-musl-x86_64.so.1\0"), Ok(Way::Supervisor));
        assert_eq!(way(1, b""), Ok(Way::Supervisor));
        let note = [&b"\x04\0\0\0\x53\0\0\0"[..], GO_NOTE].concat();
        assert_eq!(way(4, &note), Ok(Way::Supervisor));
        let mut of_32_bits = program(1, b"");
        of_32_bits[4] = 1;
        assert!(way_by(&of_32_bits).is_err_and(|why| why.contains("32-bit")));
    }

    #[test]
    fn programs_are_found_by_their_names() {
        assert!(find(OsStr::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find(OsStr::new("no such program")), None);
        assert_eq!(find(OsStr::new("/nowhere/sh")), None);
    }
}
