//! Pins apart from every director's, for tests and benchmarks that load programs of their own.

use super::Pins;
use anyhow::Result;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of such pins, which goes when this is dropped: it must outlive the programs, whose stages would lose each
/// other without it.
pub struct Apart(PathBuf);

impl Apart {
    /// Makes pins in a folder of their own.
    ///
    /// # Errors
    /// The folder cannot be made, or no bpffs mounted there.
    pub fn make() -> Result<(Pins, Self)> {
        let apart = Self::folder()?;
        let pins = Pins::of(&apart.0, lvsx_ipvs::cookie()?);
        pins.prepare(&apart.0)?;
        pins.make()?;
        Ok((pins, apart))
    }

    fn folder() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lvsx-bpf-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = umount2(&self.0.join("bpf"), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.0);
    }
}
