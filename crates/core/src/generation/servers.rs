//! The ends of masqueraded real servers, for `nat_icmp_send`: keys of a kind of their own in the table of services, which leads
//! to the line of a destination. They are there only while the setting is on.

use super::{DestinationLine, RootLine, ServiceKey};
use crate::env::Tables;

/// Protocol of a server of a service by mark, which has no protocol.
pub const ANY_PROTOCOL: u8 = 0;

impl RootLine {
    /// Id of the masqueraded destination whose end this is (address as lines hold it, raw port), of a service of this protocol
    /// or of one by mark. `family` as in `AF_INET`.
    #[inline(always)]
    pub fn server<T: Tables>(
        &self,
        tables: &T,
        family: u8,
        protocol: u8,
        address: [u64; 2],
        port: u16,
    ) -> Option<u32> {
        let of = |protocol| {
            let key = ServiceKey::server(self.seed, family, protocol, address, port);
            let line = tables.config(self.service(tables, key)?)?;
            let found = DestinationLine::decode(line);
            let is_it = found.family == family && found.address == address && found.port == port;
            is_it.then_some(found.id)
        };
        match of(protocol) {
            None if self.kinds.marked => of(ANY_PROTOCOL),
            found => found,
        }
    }
}
