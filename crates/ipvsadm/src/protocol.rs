//! The protocols of the command line.

pub(crate) const TCP: u16 = 6;
pub(crate) const UDP: u16 = 17;
pub(crate) const SCTP: u16 = 132;

/// The name of a protocol in the services database.
pub(crate) const fn name(protocol: u16) -> Option<&'static str> {
    match protocol {
        TCP => Some("tcp"),
        UDP => Some("udp"),
        SCTP => Some("sctp"),
        _ => None,
    }
}
