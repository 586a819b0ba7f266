//! The library, and a place from which the loader takes it.
//!
//! A file in a folder of root's, so that every program further down finds it too: in the run folder, or, since many systems
//! forbid running anything from `/run`, in `/var/lib/lvsx`. Where there is neither (another user, a machine that cannot be
//! written to), a file in memory that the program inherits; programs that it starts with all descriptors closed are then not
//! carried.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, statvfs};

/// The library, as the build script compiled it.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liblvsx_preload.so"));

/// Where it may be besides the run folder.
const STATE_DIR: &str = "/var/lib/lvsx";

/// Puts the library somewhere, if it is not there already: its path.
///
/// # Errors
/// Not even in memory.
pub(super) fn place() -> io::Result<PathBuf> {
    let folders = [lvsx_ipvs::run_dir(), PathBuf::from(STATE_DIR)];
    match folders.iter().find_map(|folder| place_in(folder).ok()) {
        Some(path) => Ok(path),
        None => in_memory(),
    }
}

/// # Errors
/// The folder is not fit for it, or not ours to write to.
fn place_in(folder: &Path) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    // Whoever may write there, or owns it, would run in our place.
    if !found.is_dir() || !is_ours(&found) || found.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if statvfs(folder)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Libraries of several versions do not meet.
    let path = folder.join(format!("liblvsx_preload-{:016x}.so", digest(LIBRARY)));
    let is_there = fs::symlink_metadata(&path)
        .is_ok_and(|found| found.is_file() && is_ours(&found))
        && fs::read(&path)? == LIBRARY;
    if !is_there {
        let temporary = folder.join(format!("liblvsx_preload-{}.new", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let mut file = File::create_new(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        file.write_all(LIBRARY)?;
        fs::rename(&temporary, &path)?;
    }
    Ok(path)
}

fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw()
}

fn in_memory() -> io::Result<PathBuf> {
    // Not closed on exec: the loader opens it by this number.
    let mut file = File::from(memfd_create("liblvsx_preload", MFdFlags::empty())?);
    file.write_all(LIBRARY)?;
    Ok(PathBuf::from(format!(
        "/proc/self/fd/{}",
        file.into_raw_fd()
    )))
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The panic handler of the library writes this; the linker leaves it out while nothing can reach it.
    #[test]
    fn no_panic_is_reachable_in_the_library() {
        let mark = b"a panic is reachable";
        assert!(LIBRARY.starts_with(b"\x7fELF"));
        assert!(!LIBRARY.windows(mark.len()).any(|bytes| bytes == mark));
    }

    #[test]
    fn it_is_put_where_nobody_else_may_write() {
        let folder = std::env::temp_dir().join(format!("lvsx-library-{}", std::process::id()));
        let path = place_in(&folder).expect("a folder of our own");
        assert_eq!(fs::read(&path).expect("it is there"), LIBRARY);
        fs::write(&path, b"changed").expect("it is ours");
        assert_eq!(place_in(&folder).expect("again"), path);
        assert_eq!(fs::read(&path).expect("it is there"), LIBRARY);
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("it is ours");
        assert!(place_in(&folder).is_err());
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn in_memory_it_is_whole_too() {
        let path = in_memory().expect("a file in memory");
        assert_eq!(fs::read(path).expect("this process has it"), LIBRARY);
    }
}
