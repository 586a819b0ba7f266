//! What a scheduler must make of ten connections of one client, one after the other, to two
//! servers of weight 1.

use std::collections::HashSet;

/// How the pages must follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Each server's page follows the other's.
    Alternate,
    /// All pages come from one server.
    OneServer(&'static str),
    /// Each connection may go to either server.
    Either(&'static str),
}

impl Expectation {
    /// What the scheduler of this name must do, by the kernel's rules; a name that is not known here
    /// leaves it open.
    #[must_use]
    pub fn of(scheduler: &str) -> Self {
        match scheduler {
            "rr" | "wrr" | "lc" | "wlc" => Self::Alternate,
            "sh" | "mh" => Self::OneServer("the source address alone decides"),
            "dh" => Self::OneServer("the destination address alone decides"),
            "lblc" | "lblcr" => Self::OneServer("the destination address keeps its server"),
            "fo" => Self::OneServer("the greatest weight takes all"),
            "sed" | "nq" | "ovf" => Self::OneServer(
                "only active connections count, and none is left when the next one opens",
            ),
            _ => Self::Either("chance decides, or the rule is not known to this lab"),
        }
    }

    /// The expectation in words.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Alternate => "the two servers' pages alternate".to_owned(),
            Self::OneServer(why) => format!("all pages come from one server: {why}"),
            Self::Either(why) => format!("every page comes from one of the servers: {why}"),
        }
    }

    /// Whether the pages are as expected; each must be one of `servers`.
    #[must_use]
    pub fn holds(self, pages: &[String], servers: &[String]) -> bool {
        let known = !pages.is_empty() && pages.iter().all(|page| servers.contains(page));
        let different = pages.iter().collect::<HashSet<_>>().len();
        known
            && match self {
                Self::Alternate => {
                    different == servers.len() && pages.windows(2).all(|pair| pair[0] != pair[1])
                }
                Self::OneServer(_) => different == 1,
                Self::Either(_) => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_judged() {
        let page = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let servers = page("ab");
        let (alternate, one) = (Expectation::of("rr"), Expectation::of("sh"));
        assert!(alternate.holds(&page("ababab"), &servers));
        assert!(!alternate.holds(&page("abba"), &servers));
        assert!(!alternate.holds(&page("aaaa"), &servers));
        assert!(!alternate.holds(&[], &servers));
        assert!(one.holds(&page("bbbb"), &servers));
        assert!(!one.holds(&page("bbab"), &servers));
        assert!(!one.holds(&page("cccc"), &servers));
        assert!(Expectation::of("twos").holds(&page("abba"), &servers));
        assert!(!Expectation::of("twos").holds(&page("abca"), &servers));
    }
}
