//! Traffic-control filters at ingress.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::tc::TcAttribute;

use super::Network;
use crate::Result;

impl Network {
    /// The tc filters at an interface's ingress, as (priority, handle).
    pub(crate) fn ingress_filters(&self, iface: &str) -> Result<Vec<(u16, u32)>> {
        let index = self.index(iface)?.cast_signed();
        let filters: Vec<_> = self.wait(
            self.handle
                .traffic_filter(index)
                .get()
                .ingress()
                .execute()
                .try_collect(),
        )?;
        // tcm_info holds the priority in its upper half, the protocol in its lower one.
        Ok(filters
            .iter()
            .map(|filter| {
                (
                    (filter.header.info >> 16) as u16,
                    u32::from(filter.header.handle),
                )
            })
            .collect())
    }

    /// Whether the interface has a clsact qdisc, which holds filters at ingress and egress.
    pub(crate) fn has_clsact(&self, iface: &str) -> Result<bool> {
        let index = self.index(iface)?.cast_signed();
        let all: Vec<_> = self.wait(self.handle.qdisc().get().execute().try_collect())?;
        Ok(all.iter().any(|qdisc| {
            qdisc.header.index == index
                && qdisc
                    .attributes
                    .iter()
                    .any(|a| matches!(a, TcAttribute::Kind(kind) if kind == "clsact"))
        }))
    }

    pub(crate) fn delete_clsact(&self, iface: &str) -> Result<()> {
        let mut qdisc = self.handle.qdisc();
        let mut request = qdisc.del(self.index(iface)?.cast_signed());
        let header = &mut request.message_mut().header;
        (header.handle, header.parent) = (0xffff_0000.into(), 0xffff_fff1.into());
        self.wait(request.execute())
    }
}
