//! The set-ups of this machine and what they changed, in a file, so that another process can take
//! them back: also after this one was killed half-way.
//!
//! Each change is in the file before it is made. The file is replaced as a whole (rename), so it is
//! never half written; it lies in /run, and so does not outlive a reboot, as the changes do not.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::Setup;
use crate::{Change, Error, Journal, Network, Outcome, PlannedStep, Result, Step};

const FILE: &str = "journal.json";

/// The set-ups of a machine, open for changes; nobody else can change them meanwhile.
#[derive(Debug)]
pub struct Register {
    folder: PathBuf,
    kept: Kept,
    _lock: Flock<File>,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    setups: Vec<Setup>,
    journal: Journal,
}

impl Register {
    /// Opens the register in `folder`, which is made where it is missing: one a network namespace.
    ///
    /// # Errors
    /// When the folder is not this user's alone, the register is in use, or its file is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |error: io::Error| Error::Journal(format!("{}: {error}", folder.display()));
        take_folder(folder).map_err(failed)?;
        let opened = File::open(folder).map_err(failed)?;
        let lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let folder = folder.display();
            Error::Journal(format!(
                "in {folder} is in use by another process: wait for its end"
            ))
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            kept: read(folder)?,
            _lock: lock,
        })
    }

    /// What is set up, by the register in `folder`; nothing where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn setups(folder: &Path) -> Result<Vec<Setup>> {
        read(folder).map(|kept| kept.setups)
    }

    /// The changes that [`Register::down`] would undo, newest first, by the register in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn changes(folder: &Path, virtual_address: Option<IpAddr>) -> Result<Vec<Change>> {
        let mut kept = read(folder)?;
        kept.setups.retain(|setup| !leaves(setup, virtual_address));
        let needed = kept.needed();
        let mut changes = kept.journal.changes;
        changes.retain(|change| !needed.contains(&change.step));
        changes.reverse();
        Ok(changes)
    }

    /// Sets the machine up, telling `observe` of each step. What is so already stays out of the
    /// register, unless an earlier set-up of it made it so.
    ///
    /// # Errors
    /// When the set-up does not fit, contradicts another one, or a step fails; what this call had
    /// changed is undone then.
    pub fn up(
        &mut self,
        setup: &Setup,
        network: &Network,
        observe: impl FnMut(&PlannedStep, Outcome),
    ) -> Result<()> {
        setup.fits(network)?;
        self.contradiction(setup)?;
        let before = self.kept.journal.changes.len();
        let is_new = !self.kept.setups.contains(setup);
        if is_new {
            self.kept.setups.push(setup.clone());
        }
        let note = |change| {
            self.kept.journal.changes.push(change);
            write(&self.folder, &self.kept)
        };
        let done = setup.plan().apply_noting(network, note, observe);
        if done.is_err() {
            let changes = self.kept.journal.changes.split_off(before);
            // The failure is what the caller has to hear of.
            let _ = Journal { changes }.undo(network, |_| ());
            if is_new {
                self.kept.setups.pop();
            }
        }
        self.settle().and(done)
    }

    /// Another set-up of the same virtual address, or another gateway, would fight with this one.
    fn contradiction(&self, setup: &Setup) -> Result<()> {
        let fights = |other: &&Setup| match (setup, *other) {
            (Setup::Masquerade { gateway, .. }, Setup::Masquerade { gateway: other, .. })
                if gateway.is_ipv4() == other.is_ipv4() && gateway != other =>
            {
                true
            }
            (setup, other) => setup.virtual_address() == other.virtual_address() && setup != other,
        };
        match self.kept.setups.iter().find(fights) {
            None => Ok(()),
            Some(other) => {
                let (address, method) = (other.virtual_address(), other.method());
                Err(Error::Unfit(format!(
                    "{address} is set up here by {method} otherwise: first `lvsx realserver down --vip {address}`"
                )))
            }
        }
    }

    /// Takes back the set-up of one virtual address, or all, telling `observe` of each change undone,
    /// newest first. What a set-up that stays needs too stays with it. It goes on after a failure,
    /// and keeps in the register what could not be undone.
    ///
    /// # Errors
    /// [`Error::Unfit`] when others are set up but not this one; the first undo that failed.
    pub fn down(
        &mut self,
        virtual_address: Option<IpAddr>,
        network: &Network,
        mut observe: impl FnMut(&Change),
    ) -> Result<()> {
        let leaves = |setup: &Setup| virtual_address.is_none_or(|is| is == setup.virtual_address());
        let (leaving, staying): (Vec<_>, Vec<_>) = self.kept.setups.drain(..).partition(leaves);
        self.kept.setups = staying;
        if let (true, false, Some(address)) = (
            leaving.is_empty(),
            self.kept.setups.is_empty(),
            virtual_address,
        ) {
            return Err(self.unknown(address));
        }
        let needed = self.kept.needed();
        let mut result = Ok(());
        let mut kept = Vec::new();
        for change in self.kept.journal.changes.drain(..).rev() {
            if needed.contains(&change.step) {
                kept.push(change);
                continue;
            }
            match change.undo(network) {
                Ok(()) => observe(&change),
                Err(error) => {
                    result = result.and(Err(error));
                    kept.push(change);
                }
            }
        }
        kept.reverse();
        self.kept.journal.changes = kept;
        self.settle().and(result)
    }

    fn unknown(&self, address: IpAddr) -> Error {
        let known: Vec<_> = self
            .kept
            .setups
            .iter()
            .map(|setup| setup.virtual_address().to_string())
            .collect();
        Error::Unfit(format!(
            "{address} is not set up here; set up are: {}",
            known.join(", ")
        ))
    }

    /// Writes the file, or removes it when there is nothing to remember.
    fn settle(&self) -> Result<()> {
        if !self.kept.setups.is_empty() || !self.kept.journal.changes.is_empty() {
            return write(&self.folder, &self.kept);
        }
        match fs::remove_file(self.folder.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Journal(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}

impl Kept {
    /// The steps of all set-ups.
    fn needed(&self) -> Vec<Step> {
        let plans = self.setups.iter().flat_map(|setup| setup.plan().steps);
        plans.map(|planned| planned.step).collect()
    }
}

/// Whether a set-up goes when this virtual address, or all, is taken back.
fn leaves(setup: &Setup, virtual_address: Option<IpAddr>) -> bool {
    virtual_address.is_none_or(|address| address == setup.virtual_address())
}

/// A folder in which nothing is kept goes.
impl Drop for Register {
    fn drop(&mut self) {
        // One that holds a journal stays: only an empty one can be removed so.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Makes the folder, for this user alone.
fn take_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::other(
            "not a folder of this user; remove it and start again",
        ));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn read(folder: &Path) -> Result<Kept> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(Error::Journal(format!("{}: {error}", path.display()))),
    };
    serde_json::from_slice(&text).map_err(|error| {
        let path = path.display();
        Error::Journal(format!(
            "{path} is damaged ({error}): undo by hand what it names, and remove it"
        ))
    })
}

fn write(folder: &Path, kept: &Kept) -> Result<()> {
    let (path, new) = (folder.join(FILE), folder.join("journal.new"));
    let text =
        serde_json::to_vec_pretty(kept).map_err(|error| Error::Journal(error.to_string()))?;
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| Error::Journal(format!("{}: {error}", path.display())))
}
