//! Becoming a user without rights.

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, chdir, getgroups, setgid, setgroups, setuid};

/// Becomes the user of this name, for good. A process that was not started by root stays who it is.
///
/// # Errors
/// There is no such user; it is root.
pub(crate) fn become_user(name: &str) -> Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let user = User::from_name(name)?
        .with_context(|| format!("[process]: user = \"{name}\": there is no such user; `useradd --system {name}` makes it"))?;
    if user.uid.is_root() {
        bail!(
            "[process]: user = \"{name}\": that is root; what servers answer shall not be read by root, name another user"
        );
    }
    chdir("/")?;
    setgroups(&[])?;
    setgid(user.gid)?;
    // From root to another, this gives up all capabilities (capabilities(7)).
    setuid(user.uid)?;
    let is_done =
        Uid::current() == user.uid && Gid::current() == user.gid && getgroups()?.is_empty();
    if !is_done || setuid(Uid::from_raw(0)).is_ok() {
        bail!("the rights of root could not be given up");
    }
    Ok(())
}
