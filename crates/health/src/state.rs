//! What outlives lvsx-check as long as the director's tables do: configured weights, and who was down.

use crate::config::check::{Through, Whom};
use crate::config::{display_service, parse_destination, parse_service};
use crate::ledger::{Account, Ledger};
use crate::watch::Subject;
use anyhow::{Context, Result, bail};
use lvsx_ipvs::DestinationKey;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The user's own folder, the file in it, and the lock that makes a second lvsx-check impossible.
const FOLDER: &str = "state";
const NAME: &str = "weights.json";
const LOCK: &str = "lock";

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Text {
    weights: Vec<Weight>,
    down: Vec<Down>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Weight {
    service: String,
    server: String,
    configured: u32,
    found: u32,
    set: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Down {
    check: String,
    address: IpAddr,
    port: u16,
    through: Option<By>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct By {
    service: String,
    server: String,
}

impl By {
    fn of(through: &Through) -> Self {
        Self {
            service: display_service(&through.service),
            server: display_server(&through.server),
        }
    }

    fn read(&self) -> Result<Through, String> {
        Ok(Through {
            service: parse_service(&self.service)?,
            server: parse_destination(&self.server)?,
        })
    }
}

fn display_server(server: &DestinationKey) -> String {
    SocketAddr::new(server.addr, server.port).to_string()
}

/// The file, and its lock while this is alive.
pub struct File {
    path: PathBuf,
    written: Option<Text>,
    _lock: Flock<fs::File>,
}

impl File {
    /// The file of this network namespace.
    ///
    /// # Errors
    /// No lvsd has run here; another lvsx-check runs here; the folder is another user's.
    pub fn of_namespace() -> Result<Self> {
        let folder = lvsx_ipvs::check_dir()?.join(FOLDER);
        let at = || folder.display().to_string();
        if !folder.exists() {
            bail!(
                "{}: it is not there; start lvsd first, which makes it",
                at()
            );
        }
        let lock = fs::File::create(folder.join(LOCK)).with_context(|| {
            format!(
                "{}; start lvsd with `--check-user` and the user of [process]",
                at()
            )
        })?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                path: folder.join(NAME),
                written: None,
                _lock: lock,
            }),
            Err((_, Errno::EWOULDBLOCK)) => {
                bail!(
                    "another lvsx-check runs in this network namespace ({} is locked)",
                    at()
                )
            }
            Err((_, error)) => Err(error).with_context(at),
        }
    }

    /// What was written last; nothing where nothing was.
    ///
    /// # Errors
    /// The file is there and cannot be understood.
    pub fn read(&self) -> Result<(Ledger, BTreeSet<Subject>)> {
        let at = || {
            format!(
                "{}: remove it, and look at the weights with `ipvsadm -Ln`",
                self.path.display()
            )
        };
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            other => other.with_context(at)?,
        };
        let text: Text = serde_json::from_slice(&text).with_context(at)?;
        let accounts = text.weights.iter().map(|weight| {
            let place = (
                parse_service(&weight.service)?,
                parse_destination(&weight.server)?,
            );
            let account = Account {
                configured: weight.configured,
                found: weight.found,
                set: weight.set,
            };
            Ok((place, account))
        });
        let accounts: Result<Vec<_>, String> = accounts.collect();
        let accounts = accounts.map_err(anyhow::Error::msg).with_context(at)?;
        let down = text.down.into_iter().map(|down| {
            let whom = Whom {
                address: down.address,
                port: down.port,
                through: down.through.as_ref().map(By::read).transpose()?,
            };
            Ok(Subject {
                check: down.check,
                whom,
            })
        });
        let down: Result<_, String> = down.collect();
        let down = down.map_err(anyhow::Error::msg).with_context(at)?;
        Ok((Ledger::of(accounts), down))
    }

    /// Writes it in one piece, if it is another than before.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write<'a>(
        &mut self,
        ledger: &Ledger,
        down: impl Iterator<Item = &'a Subject>,
    ) -> Result<()> {
        let weights = ledger
            .accounts()
            .map(|((service, server), account)| Weight {
                service: display_service(service),
                server: display_server(server),
                configured: account.configured,
                found: account.found,
                set: account.set,
            });
        let down = down.map(|subject| Down {
            check: subject.check.clone(),
            address: subject.whom.address,
            port: subject.whom.port,
            through: subject.whom.through.as_ref().map(By::of),
        });
        let text = Text {
            weights: weights.collect(),
            down: down.collect(),
        };
        if self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        let at = || self.path.display().to_string();
        let next = self.path.with_extension("new");
        fs::write(&next, serde_json::to_vec_pretty(&text)?).with_context(at)?;
        fs::rename(next, &self.path).with_context(at)?;
        self.written = Some(text);
        Ok(())
    }
}
