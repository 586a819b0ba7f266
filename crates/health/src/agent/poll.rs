//! Asking a server's agent, again and again.
//!
//! What answers is not trusted: it gets a time and a length, and no more than weights can come of it.

use super::reply::{self, Reply};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest answer that is read.
const ANSWER_MAX: usize = 4096;
/// What is asked, which makes our agents tell their load; others take no notice.
const QUESTION: &[u8] = b"lvs1\n";

/// What an agent said, or that it did not.
#[derive(Debug)]
pub struct Heard {
    /// The agent.
    pub agent: SocketAddr,
    /// The first line.
    pub reply: Option<Reply>,
    /// The load.
    pub load: Option<f64>,
}

/// Asks as long as this lives.
pub struct Poll(JoinHandle<()>);

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Poll {
    /// Asks `agent` every `interval`, and waits no longer than `patience` for an answer.
    #[must_use]
    pub fn start(
        agent: SocketAddr,
        interval: Duration,
        patience: Duration,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        Self(tokio::spawn(async move {
            let mut next = Instant::now();
            loop {
                sleep_until(next).await;
                let mut answer = Vec::new();
                // What has come when the time is over counts.
                let _ = timeout(patience, ask(agent, &mut answer)).await;
                let news = Heard {
                    agent,
                    reply: reply::parse(&answer),
                    load: reply::load(&answer),
                };
                if heard.send(news).await.is_err() {
                    return;
                }
                next = (next + interval).max(Instant::now());
            }
        }))
    }
}

async fn ask(agent: SocketAddr, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(agent).await?;
    // Agents that do not read may have closed already; what they said is there all the same.
    let _ = stream.write_all(QUESTION).await;
    let mut rest = stream.take(ANSWER_MAX as u64);
    while rest.read_buf(answer).await? != 0 && reply::load(answer).is_none() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What is heard of an agent that does `behave` with each connection.
    async fn heard<F: Future<Output = ()> + Send + 'static>(behave: fn(TcpStream) -> F) -> Heard {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let agent = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(behave(stream));
            }
        });
        let (sender, mut receiver) = mpsc::channel(1);
        let _poll = Poll::start(
            agent,
            Duration::from_secs(60),
            Duration::from_millis(100),
            sender,
        );
        receiver.recv().await.expect("a poll reports")
    }

    #[tokio::test]
    async fn agents_of_every_kind_are_survived() {
        let ours = heard(|mut stream| async move {
            let _ = stream.write_all(b"up ready\nlvs1 load=0.5 cpu=0.5\n").await;
            // It leaves the connection open.
            std::future::pending::<()>().await;
        });
        let ours = ours.await;
        assert_eq!(ours.load, Some(0.5));
        assert!(ours.reply.is_some());

        let does_not_read =
            heard(|mut stream| async move { drop(stream.write_all(b"75%\n").await) }).await;
        assert_eq!(
            does_not_read.reply.and_then(|reply| reply.percent),
            Some(75)
        );

        let hangs = heard(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        assert_eq!(hangs.await.reply, None);

        let hangs_later = heard(|mut stream| async move {
            let _ = stream.write_all(b"drain\n").await;
            std::future::pending::<()>().await;
        });
        assert!(hangs_later.await.reply.is_some());

        let floods =
            heard(
                |mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} },
            );
        assert_eq!(floods.await.reply, None);

        let rubbish =
            heard(
                |mut stream| async move { drop(stream.write_all(&[0xff, 0, 7, b'\n', 0]).await) },
            )
            .await;
        let rubbish = rubbish.reply.expect("a line it is");
        assert!(rubbish.unknown.is_some() && rubbish.percent.is_none());

        let leaves = heard(|stream| async move { drop(stream) });
        assert_eq!(leaves.await.reply, None);
    }
}
