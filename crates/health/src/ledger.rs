//! Which weights the operator configured, and which we set.
//!
//! Both stand in the same place of the director's table. A weight found there that is not the one we set last is the operator's
//! (`ipvsadm -e ... -w`), and what is configured from then on. What we set is written down before it is set, so whoever takes up
//! our work after a crash, in the middle of a change too, still knows what is configured.

use lvsx_ipvs::{DestinationKey, ServiceKey};
use std::collections::BTreeMap;

/// A destination of a service.
pub type Place = (ServiceKey, DestinationKey);

/// What is known of the weight in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the operator wants.
    pub configured: u32,
    /// What stood there when it was last looked at.
    pub found: u32,
    /// What we have set, or were about to set.
    pub set: u32,
}

/// All accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: BTreeMap<Place, Account>,
}

impl Ledger {
    /// Accounts that were kept.
    #[must_use]
    pub fn of(accounts: impl IntoIterator<Item = (Place, Account)>) -> Self {
        let accounts = accounts.into_iter().collect();
        Self { accounts }
    }

    /// All accounts, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (&Place, &Account)> {
        self.accounts.iter()
    }

    /// Takes note of a weight that stands in the table. The configured one.
    pub fn see(&mut self, place: Place, weight: u32) -> u32 {
        let account = self.accounts.entry(place).or_insert(Account {
            configured: weight,
            found: weight,
            set: weight,
        });
        if weight != account.set && weight != account.found {
            account.configured = weight;
            account.set = weight;
        }
        account.found = weight;
        account.configured
    }

    /// The configured weight of a place that was seen.
    #[must_use]
    pub fn configured(&self, place: &Place) -> Option<u32> {
        self.accounts.get(place).map(|account| account.configured)
    }

    /// Takes note of what is about to be set.
    pub fn intend(&mut self, place: &Place, weight: u32) {
        if let Some(account) = self.accounts.get_mut(place) {
            account.set = weight;
        }
    }

    /// Forgets all places but these.
    pub fn keep(&mut self, is_there: impl Fn(&Place) -> bool) {
        self.accounts.retain(|place, _| is_there(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let service = ServiceKey::Address {
            protocol: 6,
            addr: [10, 0, 0, 1].into(),
            port: 80,
        };
        let server = DestinationKey {
            addr: [10, 0, 0, 2].into(),
            port: 80,
        };
        (service, server)
    }

    #[test]
    fn what_we_set_is_not_what_is_configured() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.see(place(), 3), 3);
        ledger.intend(&place(), 0);
        assert_eq!(ledger.see(place(), 0), 3);
        ledger.intend(&place(), 48);
        assert_eq!(ledger.see(place(), 48), 3);
    }

    #[test]
    fn what_the_operator_sets_is() {
        let mut ledger = Ledger::default();
        ledger.see(place(), 3);
        ledger.intend(&place(), 0);
        ledger.see(place(), 0);
        assert_eq!(ledger.see(place(), 7), 7);
        assert_eq!(ledger.see(place(), 0), 0, "quiesced by hand");
        assert_eq!(ledger.see(place(), 0), 0);
    }

    #[test]
    fn a_change_that_was_cut_short_is_ours() {
        let mut ledger = Ledger::default();
        ledger.see(place(), 3);
        ledger.intend(&place(), 48);
        ledger.see(place(), 48);
        ledger.intend(&place(), 0);
        let mut after = Ledger::of(ledger.accounts().map(|(place, account)| (*place, *account)));
        assert_eq!(after.see(place(), 48), 3, "it was not set any more");
        assert_eq!(after.see(place(), 0), 3, "or it was");
    }

    #[test]
    fn a_place_that_is_gone_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.see(place(), 3);
        ledger.intend(&place(), 0);
        ledger.keep(|_| false);
        assert_eq!(ledger.see(place(), 0), 0);
    }
}
