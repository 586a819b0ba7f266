//! What a sender may ask a director for.

use crate::director::Director;
use crate::errno::{Errno, Refused};
use crate::model::{DestinationKey, DestinationSettings, ServiceKey};
use crate::request::Request;

/// What a sender may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything: root.
    All,
    /// What health checks need: to read services, destinations, timeouts and the version; to change the weight of a
    /// destination, its other settings repeated as they are; to end the connections of a destination of weight 0; to lead
    /// connections of this host to a destination.
    Weights,
}

impl Rights {
    /// Whether a request is granted.
    ///
    /// # Errors
    /// `EPERM`, with what is refused and why.
    pub(crate) fn check(self, request: &Request, director: &impl Director) -> Result<(), Refused> {
        match (self, request) {
            (Self::All, _) => Ok(()),
            (
                Self::Weights,
                Request::Services
                | Request::Service(_)
                | Request::Destinations(_)
                | Request::Table { .. }
                | Request::Timeouts
                | Request::Info
                | Request::Lead(..),
            ) => Ok(()),
            (Self::Weights, Request::SetDestination(service, key, wanted)) => {
                match settings(director, service, key) {
                    Some(found)
                        if DestinationSettings {
                            weight: found.weight,
                            ..*wanted
                        } != found =>
                    {
                        refused(
                            "only a destination's weight may be changed here; its other settings are others by now",
                        )
                    }
                    // The director knows better why one cannot be changed that is not there.
                    _ => Ok(()),
                }
            }
            (Self::Weights, Request::EndConnections(service, key)) => {
                match settings(director, service, key) {
                    Some(found) if found.weight != 0 => {
                        refused("only connections of a destination with weight 0 may be ended here")
                    }
                    _ => Ok(()),
                }
            }
            (Self::Weights, _) => refused(
                "only reading the tables and setting weights is allowed here; ask as root, by the director's own socket",
            ),
        }
    }
}

fn refused(why: &str) -> Result<(), Refused> {
    Err(Refused::new(Errno::EPERM, why.to_owned()))
}

fn settings(
    director: &impl Director,
    service: &ServiceKey,
    key: &DestinationKey,
) -> Option<DestinationSettings> {
    let listed = director.destinations(service).ok()?;
    let found = listed
        .into_iter()
        .find(|destination| destination.key == *key)?;
    Some(found.settings)
}
