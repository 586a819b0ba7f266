//! The director's tables, and the way to them: a thread of its own asks, so that a director that is slow holds up no check.

use crate::config::check::Through;
use anyhow::{Result, anyhow};
use lvsx_ipvs::transport::WEIGHTS_NAME;
use lvsx_ipvs::{
    Client, ClientError, Destination, DestinationKey, DestinationSettings, Lead, Request,
    ServiceKey, Transport,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use tokio::sync::oneshot;

/// Services with their destinations.
pub type Table = BTreeMap<ServiceKey, BTreeMap<DestinationKey, Row>>;

/// A destination of a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its settings.
    pub settings: DestinationSettings,
    /// Connections that count as active.
    pub active: u32,
    /// New connections a second.
    pub rate: u64,
}

impl From<&Destination> for Row {
    fn from(destination: &Destination) -> Self {
        Self {
            settings: destination.settings,
            active: destination.active,
            rate: destination.stats.connection_rate,
        }
    }
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the director of this network namespace.
#[derive(Clone)]
pub struct Director(mpsc::Sender<Work>);

impl Director {
    /// The director by its socket for weights.
    ///
    /// # Errors
    /// The network namespace has no cookie; no thread can be made.
    pub fn open() -> Result<Self> {
        let path = lvsx_ipvs::check_dir()?.join(WEIGHTS_NAME);
        let (sender, receiver) = mpsc::channel::<Work>();
        thread::Builder::new()
            .name("director".to_owned())
            .spawn(move || {
                let mut connection = Connection { path, client: None };
                receiver.into_iter().for_each(|work| work(&mut connection));
            })?;
        Ok(Self(sender))
    }

    /// All services with their destinations.
    ///
    /// # Errors
    /// The director does not answer.
    pub async fn read(&self) -> Result<Table> {
        self.ask(|client| {
            let mut table = Table::new();
            for service in client.services()? {
                let rows = client.destinations(&service.key)?;
                let rows = rows
                    .iter()
                    .map(|destination| (destination.key, Row::from(destination)));
                table.insert(service.key, rows.collect());
            }
            Ok(table)
        })
        .await
    }

    /// Sets a destination's weight; its other settings are said again as they are known.
    ///
    /// # Errors
    /// The director does not answer, or refuses because they are others by now.
    pub async fn set(
        &self,
        service: ServiceKey,
        key: DestinationKey,
        settings: DestinationSettings,
    ) -> Result<()> {
        self.ask(move |client| {
            client
                .call(&Request::SetDestination(service, key, settings))
                .map(drop)
        })
        .await
    }

    /// Ends the connections of a destination of weight 0.
    ///
    /// # Errors
    /// The director does not answer, or refuses.
    pub async fn end_connections(&self, service: ServiceKey, key: DestinationKey) -> Result<()> {
        self.ask(move |client| client.end_connections(&service, &key))
            .await
    }

    /// Leads a connection that this host is about to open.
    ///
    /// # Errors
    /// The director does not answer, or refuses.
    pub async fn lead(&self, through: Through, lead: Lead) -> Result<()> {
        self.ask(move |client| client.lead(&through.service, &through.server, &lead))
            .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T> {
        let (answered, answer) = oneshot::channel();
        let work = move |connection: &mut Connection| drop(answered.send(connection.ask(question)));
        let ended = || anyhow!("the thread that asks the director has ended");
        self.0.send(Box::new(work)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

struct Connection {
    path: PathBuf,
    client: Option<Client>,
}

impl Connection {
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        if self.client.is_none() {
            let transport = Transport::director(&self.path).map_err(|error| {
                anyhow!(
                    "{}: {error}; lvsd must run in this network namespace, and let this user in (`lvsd --check-user`)",
                    self.path.display()
                )
            })?;
            self.client = Some(Client::new(transport));
        }
        let Some(client) = &mut self.client else {
            return Err(anyhow!("no connection"));
        };
        question(client).map_err(|error| {
            if !matches!(error, ClientError::Refused(_) | ClientError::Explained(_)) {
                self.client = None;
            }
            error.into()
        })
    }
}
