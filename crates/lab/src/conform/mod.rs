//! Does the director decide exactly as the kernel's IPVS does?
//!
//! A scenario is a text of commands, packets and pauses. It is played on several planes, the kernel's own IPVS among
//! them, and what comes of each step must be the same on all. What the kernel answered is kept below each step of the
//! scenarios in the repository.
//!
//! Reading order: [`scenario`] and [`parse`] (the text), [`addresses`] and [`packet`] (who sends what), [`traffic`] (what
//! hosts send, given what reached them), [`read`] and [`listing`] (what came out, in words), [`play`] (a scenario on a
//! plane), [`plane`] (the planes), [`generate`] (scenarios by category and seed), [`shrink`] (the smallest that differs),
//! `judge` (what is equal), [`run`] (everything together).

pub mod addresses;
pub mod file;
pub mod generate;
mod judge;
pub mod listing;
pub mod packet;
pub mod parse;
pub mod plane;
pub mod play;
pub mod read;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod traffic;

pub use run::main;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How a comparison ends: 0 equal, 1 different, 2 it could not be made, which is printed.
pub(crate) fn verdict(name: &str, is_equal: anyhow::Result<bool>) -> std::process::ExitCode {
    match is_equal {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}

/// Does `work` for each item, `at_once` at a time, and gives the results in the items' order.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    at_once: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            while let Some((index, item)) = take(items, &next) {
                done.push((index, work(item)));
            }
            done
        };
        let workers: Vec<_> = (0..at_once.min(items.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<(usize, R)>>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}
