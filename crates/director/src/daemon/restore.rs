//! `--restore`: the table that a director begins with.

use crate::control::Control;
use lvsx_ipvs::{Applying, Director};
use lvsx_ipvsadm::{Rules, Wish, check, tell_notes};
use std::fs;
use std::path::Path;

/// Loads a file into a director that begins with nothing, in one step. With anything wrong in the file nothing of it is
/// loaded: a director that is there and empty can be told what to do, one that ended cannot.
pub(super) fn begin_with(file: &Path, control: &mut Control) {
    let name = file.display().to_string();
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!("--restore {name}: {error}; begins with an empty table");
            return;
        }
    };
    let mut rules = Rules::read(&name, &bytes);
    tell_notes(&rules, |note| tracing::warn!("--restore: {note}"));
    let wish = Wish::default();
    let how = match rules.is_wrong(wish) {
        true => Applying::Trial,
        false => Applying::Table,
    };
    let faults = control.apply(&rules.requests(), how);
    match check(&mut rules, faults, wish) {
        Ok(()) => {
            let services = control.config().services.len();
            tracing::info!("restored {services} services from {name}");
        }
        Err(wrong) => {
            for line in wrong.to_string().lines() {
                tracing::error!("--restore: {line}");
            }
            tracing::error!("--restore {name}: the file is wrong; begins with an empty table");
        }
    }
}
