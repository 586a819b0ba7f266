//! `--proc DIR`: the files of `/proc/net`, for programs that read them from another folder (`node_exporter --path.procfs
//! DIR`). Each is replaced in one piece. They go when the director ends: what nobody writes any more must not be taken for
//! the present.

use crate::control::Control;
use crate::proc;
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, spawn_blocking};

/// The files that are short.
const SHORT: [&str; 4] = ["ip_vs", "ip_vs_stats", "ip_vs_stats_percpu", "ip_vs_app"];
/// The file with all connections, a line each.
const CONNECTIONS: &str = "ip_vs_conn";
/// Between two lists of all connections.
const CONNECTIONS_INTERVAL: Duration = Duration::from_secs(10);

/// The folder `DIR/net`.
pub(super) struct Files {
    folder: PathBuf,
    /// The list of connections that is being written, and when it was begun.
    listing: Option<(JoinHandle<()>, Instant)>,
}

impl Files {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let folder = folder.join("net");
        fs::create_dir_all(&folder).with_context(|| format!("--proc {}", folder.display()))?;
        Ok(Self {
            folder,
            listing: None,
        })
    }

    /// Writes all of them as they are now. The list of connections may be long, so a thread of its own writes it.
    pub(super) fn write(&mut self, control: &Control) {
        for name in SHORT {
            let text = proc::text(control, name).unwrap_or_default();
            tell(&self.folder.join(name), replace(&self.folder, name, &text));
        }
        let is_due = self.listing.as_ref().is_none_or(|(thread, begun)| {
            thread.is_finished() && begun.elapsed() >= CONNECTIONS_INTERVAL
        });
        if is_due {
            let (folder, tables, clock) = (
                self.folder.clone(),
                control.tables().clone(),
                control.clock(),
            );
            let thread = spawn_blocking(move || {
                let text = proc::connections(&tables, clock);
                tell(
                    &folder.join(CONNECTIONS),
                    replace(&folder, CONNECTIONS, &text),
                );
            });
            self.listing = Some((thread, Instant::now()));
        }
    }

    /// Removes them.
    pub(super) async fn remove(self) {
        if let Some((thread, _)) = self.listing {
            let _ = thread.await;
        }
        for name in SHORT.iter().chain([&CONNECTIONS]) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

fn replace(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    fs::rename(temporary, folder.join(name))
}

fn tell(path: &Path, written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!("{}: {error}", path.display());
    }
}
