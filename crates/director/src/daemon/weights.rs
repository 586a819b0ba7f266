//! The folder of the health checks, and in it the socket on which their user may read the tables and set weights.
//!
//! The folder is root's, so that nobody can put something else in the socket's place; `state` in it belongs to the user of
//! the checks, who keeps there what must outlive him: configured weights, as long as the tables that they are for.

use super::unix::{Door, Listener};
use crate::options::CHECK_USER;
use anyhow::{Context, Result, bail};
use lvsx_ipvs::Rights;
use lvsx_ipvs::transport::WEIGHTS_NAME;
use nix::unistd::{Gid, Uid, User, fchown};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The folder of the user's own.
const STATE: &str = "state";

/// Makes the folder and listens in it. `user`: whom the socket is for; without a name [`CHECK_USER`], or root alone where
/// there is no such user.
///
/// # Errors
/// A user named explicitly is not there; the files cannot be made.
pub(super) fn listen(user: Option<&str>) -> Result<Listener> {
    let guest = guest(user)?;
    let folder = lvsx_ipvs::check_dir()?;
    let above = folder.parent().context("a folder above")?;
    for made in [above, &folder] {
        make(made, 0o755)?;
    }
    let state = folder.join(STATE);
    make(&state, 0o700)?;
    if let Some(user) = &guest {
        hand_over(&state, user.uid, user.gid).with_context(|| state.display().to_string())?;
    }
    let door = Door {
        guest: guest.map(|user| user.uid),
        rights: Rights::Weights,
    };
    Listener::bind(&folder.join(WEIGHTS_NAME), door)
}

/// Removes the folder.
///
/// # Errors
/// Those of the files.
pub(super) fn remove() -> io::Result<()> {
    match fs::remove_dir_all(lvsx_ipvs::check_dir()?) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn guest(user: Option<&str>) -> Result<Option<User>> {
    let name = user.unwrap_or(CHECK_USER);
    match User::from_name(name)? {
        None if user.is_some() => {
            bail!("--check-user {name}: there is no such user; `useradd --system {name}` makes it")
        }
        found => Ok(found),
    }
}

fn make(folder: &Path, mode: u32) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| folder.display().to_string());
        }
        _ => {}
    }
    let opened = open(folder).with_context(|| folder.display().to_string())?;
    Ok(opened.set_permissions(Permissions::from_mode(mode))?)
}

fn hand_over(folder: &Path, user: Uid, group: Gid) -> io::Result<()> {
    Ok(fchown(open(folder)?, Some(user), Some(group))?)
}

/// The folder itself, never what a link leads to.
fn open(folder: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(folder)
}
