//! An application's own load: a number from 0 to 1 that it writes, or that a command says.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most of what it says that is read.
const ANSWER_MAX: u64 = 64;

/// Where an application's load is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Application {
    /// In a file.
    File(PathBuf),
    /// In what a command says, which the shell runs.
    Command(String),
}

impl Application {
    /// Its load, if there is one: no number from 0 to 1 is none, nor is what a command says that fails or takes too long.
    pub async fn load(&self) -> Option<f64> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path).ok()?,
            Self::Command(command) => said(command).await?,
        };
        let load: f64 = text.trim().parse().ok()?;
        (0.0..=1.0).contains(&load).then_some(load)
    }
}

async fn said(command: &str) -> Option<String> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()?;
    let mut running = Running(child);
    timeout(PATIENCE, running.finish()).await.ok()?
}

/// A command, which ends with this, and all that it started with it.
struct Running(Child);

impl Running {
    async fn finish(&mut self) -> Option<String> {
        let mut answer = String::new();
        let output = self.0.stdout.take()?;
        output
            .take(ANSWER_MAX)
            .read_to_string(&mut answer)
            .await
            .ok()?;
        self.0.wait().await.ok()?.success().then_some(answer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its number is its group's, and not another's while it was not waited for.
        if let Some(pid) = self.0.id() {
            let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn commands_say_a_load_or_nothing() {
        let load = async |command: &str| Application::Command(command.to_owned()).load().await;
        assert_eq!(load("echo 0.25").await, Some(0.25));
        assert_eq!(load("echo 1.5").await, None);
        assert_eq!(load("echo 0.5; false").await, None);
        assert_eq!(load("yes 0.5").await, None);
        assert_eq!(load("no-such-command").await, None);
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended_with_all_it_started() {
        let begin = Instant::now();
        let command = Application::Command("sleep 61 & sleep 61".to_owned());
        assert_eq!(command.load().await, None);
        assert!(begin.elapsed() < PATIENCE * 3, "{:?}", begin.elapsed());
    }
}
