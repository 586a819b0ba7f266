//! What was found: a fault, what was seen of it, and the cure.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::Fault;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which fault it is.
    pub fault: Fault,
    /// What was seen, with the names and addresses in question.
    pub what: String,
    /// The one command that cures it. Words in capitals stand for what only a person knows.
    pub cure: String,
    /// Where the command is to be run.
    pub place: Place,
}

/// A machine, as far as it is known from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This one.
    Here,
    /// The one of this address.
    At(IpAddr),
    /// The one of this hardware address.
    Of([u8; 6]),
    /// The one at the other end of this machine's cable.
    Opposite,
}

impl Finding {
    /// A finding whose cure is for this machine.
    pub(crate) fn here(fault: Fault, what: String, cure: String) -> Self {
        Self {
            fault,
            what,
            cure,
            place: Place::Here,
        }
    }

    /// The same with the cure for another machine.
    pub(crate) fn on(self, place: Place) -> Self {
        Self { place, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.fault, self.what)?;
        writeln!(f, "  why   {}", self.fault.why())?;
        match self.place {
            Place::Here => writeln!(f, "  cure  {}", self.cure),
            place => writeln!(f, "  cure  {}   # on {place}", self.cure),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("this machine"),
            Self::At(address) => address.fmt(f),
            Self::Of([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Opposite => f.write_str("the machine at the other end of the cable"),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            fault: Fault,
            what: &'a str,
            why: &'a str,
            cure: &'a str,
            place: Option<String>,
        }
        let place = (self.place != Place::Here).then(|| self.place.to_string());
        Fields {
            fault: self.fault,
            what: &self.what,
            why: self.fault.why(),
            cure: &self.cure,
            place,
        }
        .serialize(serializer)
    }
}
