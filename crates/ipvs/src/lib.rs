//! The IPVS generic-netlink messages, for all who speak to a director.
//!
//! Reading order: [`model`] what is spoken about; [`director`] what a director can be asked;
//! [serve in, datagrams out.

mod attr;
pub mod client;
mod codec;
pub mod consts;
pub mod director;
pub mod errno;
pub mod mark;
mod message;
pub mod model;
pub mod namespace;
mod nlctrl;
pub mod reply;
pub mod request;
pub mod rights;
pub mod serve;
pub mod stage;
pub mod transport;

pub use client::{Client, ClientError};
pub use codec::table::{Listed, Snapshot};
pub use director::{Applying, Director, Fault};
pub use errno::{Errno, Refused};
pub use mark::{MarkChange, MarkEdit, MarkRule, PortRange, Prefix};
pub use model::{
    Destination, DestinationKey, DestinationSettings, Family, FlagChange, ForwardingMethod, Info,
    Lead, Netmask, Row, Service, ServiceFlags, ServiceKey, ServiceSettings, Stats, SyncDaemon,
    SyncRole, Timeouts, Tunnel, TunnelType,
};
pub use namespace::{check_dir, cookie, namespace_dir, pins_dir, register_dir, run_dir};
pub use reply::Reply;
pub use request::Request;
pub use rights::Rights;
pub use serve::{answer, answer_as, answer_port, changes};
pub use stage::Stage;
pub use transport::{Choice, ConnectError, Transport};
