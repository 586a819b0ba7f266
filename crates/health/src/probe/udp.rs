//! A datagram, and what comes back.

use crate::config::check::Datagram;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Longest answer that is looked at.
const ANSWER_MAX: usize = 4096;

/// Sends a datagram by a socket that is not connected yet. An answer that begins otherwise than expected, an ICMP error, or no answer where one is expected is a
/// failure; where none is expected, silence until the time is over is a success.
pub(super) async fn ask(
    socket: UdpSocket,
    to: SocketAddr,
    datagram: &Datagram,
    within: Duration,
) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    socket.connect(to).await.map_err(failed)?;
    socket.send(&datagram.send).await.map_err(failed)?;
    let mut answer = [0; ANSWER_MAX];
    match (
        timeout(within, socket.recv(&mut answer)).await,
        &datagram.expect,
    ) {
        (Ok(Err(error)), _) => Err(error.to_string()),
        (Ok(Ok(length)), Some(expected)) if !answer[..length].starts_with(expected) => {
            Err("the answer begins otherwise".to_owned())
        }
        (Err(_), Some(_)) => Err(format!("no answer within {within:?}")),
        (Ok(Ok(_)), _) | (Err(_), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_silence_and_errors_are_told_apart() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = server.local_addr().expect("an address");
        let within = Duration::from_millis(300);
        let datagram = |expect: Option<&[u8]>| Datagram {
            send: b"ping".to_vec(),
            expect: expect.map(<[u8]>::to_vec),
        };
        let socket = async || UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let answer = tokio::spawn(async move {
            let mut buffer = [0; 16];
            for answer in [&b"pong 1"[..], b"what?"] {
                let (length, from) = server.recv_from(&mut buffer).await.expect("a datagram");
                assert_eq!(&buffer[..length], b"ping");
                server.send_to(answer, from).await.expect("it is sent");
            }
            server
        });
        assert_eq!(
            ask(socket().await, at, &datagram(Some(b"pong")), within).await,
            Ok(())
        );
        let other = ask(socket().await, at, &datagram(Some(b"pong")), within).await;
        assert!(other.expect_err("another answer").contains("otherwise"));
        let server = answer.await.expect("it ends");
        let silent = ask(socket().await, at, &datagram(Some(b"pong")), within / 10).await;
        assert!(silent.expect_err("silence").contains("no answer"));
        assert_eq!(
            ask(socket().await, at, &datagram(None), within / 10).await,
            Ok(())
        );
        drop(server);
        let closed = ask(socket().await, at, &datagram(None), within).await;
        assert!(closed.expect_err("nobody listens").contains("refused"));
    }
}
