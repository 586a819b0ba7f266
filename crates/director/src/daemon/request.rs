//! How sockets put datagrams to the one task that owns the director, and get its answers.

use lvsx_ipvs::Rights;
use tokio::sync::{mpsc, oneshot};

/// A client's datagram, and where its answers go.
pub(super) struct Request {
    /// The datagram, as it came.
    pub(super) datagram: Vec<u8>,
    /// What the client may ask for.
    pub(super) rights: Rights,
    /// The netlink port it came from, which answers name.
    pub(super) port: Option<u32>,
    /// Takes the answers, in order.
    pub(super) answers: oneshot::Sender<Vec<Vec<u8>>>,
}

/// The way to the director.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Request>);

/// Requests that wait at most; then sockets wait.
const WAITING: usize = 64;

impl Desk {
    /// A way to the director, and the director's end of it.
    #[must_use]
    pub(super) fn open() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// The answers to a datagram. `None`: the director is ending.
    pub(super) async fn ask(
        &self,
        rights: Rights,
        datagram: Vec<u8>,
        port: Option<u32>,
    ) -> Option<Vec<Vec<u8>>> {
        let (answers, receiver) = oneshot::channel();
        self.0
            .send(Request {
                datagram,
                rights,
                port,
                answers,
            })
            .await
            .ok()?;
        receiver.await.ok()
    }
}
