//! Other hosts of a test: threads with network namespaces of their own, joined to the test's by veth pairs.

use super::ip;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use std::any::Any;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

type Work = Box<dyn FnOnce() + Send>;

/// A host.
pub(crate) struct Host {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    /// Its id for `ip ... netns`.
    id: i32,
}

impl Host {
    /// A host with nothing but `lo`.
    pub(crate) fn new() -> Self {
        let (work, jobs) = mpsc::channel::<Work>();
        let (id, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ip("link set lo up");
            let _ = id.send(gettid().as_raw());
            jobs.iter().for_each(|job| job());
        });
        let id = told.recv().expect("the host begins");
        Self {
            work: Some(work),
            thread: Some(thread),
            id,
        }
    }

    /// Joins it to the calling thread's network namespace: `here` with its address (and length), `there` with its own.
    pub(crate) fn join(&self, here: (&str, &str), there: (&str, &str)) {
        let ((name, address), (its_name, its_address)) = (here, there);
        ip(&format!(
            "link add {name} type veth peer name {its_name} netns {}",
            self.id
        ));
        ip(&format!("addr add {address} dev {name}"));
        ip(&format!("link set {name} up"));
        let (its_name, its_address) = (its_name.to_owned(), its_address.to_owned());
        self.run(move || {
            ip(&format!("addr add {its_address} dev {its_name}"));
            ip(&format!("link set {its_name} up"));
        });
    }

    /// Runs `job` there and waits for its end.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel::<Result<T, Box<dyn Any + Send>>>();
        self.begin(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            let _ = done.send(outcome);
        });
        match result.recv().expect("the host runs") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Has `job` run there, after those before it.
    pub(crate) fn begin(&self, job: impl FnOnce() + Send + 'static) {
        let work = self.work.as_ref().expect("open until it is dropped");
        work.send(Box::new(job)).expect("the host runs");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
