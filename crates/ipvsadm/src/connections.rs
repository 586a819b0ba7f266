//! The listing of connection entries, from the text of `/proc/net/ip_vs_conn`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::failure::Failure;
use crate::line::Format;
use crate::{names, protocol};

/// Name of the text.
pub(crate) const FILE: &str = "ip_vs_conn";

/// One line of the text.
pub(crate) struct Row<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) client: (IpAddr, u16),
    pub(crate) virt: (IpAddr, u16),
    pub(crate) dest: (IpAddr, u16),
    pub(crate) state: &'a str,
    /// Seconds.
    pub(crate) expires: u32,
    /// The persistence engine and its data; empty without one.
    pub(crate) engine: &'a str,
    pub(crate) data: &'a str,
}

impl<'a> Row<'a> {
    /// Nine fields, or eleven with those of a persistence engine.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let protocol = fields.next()?;
        let mut endpoint = || Some((address(fields.next()?)?, port(fields.next()?)?));
        let (client, virt, dest) = (endpoint()?, endpoint()?, endpoint()?);
        let (state, expires) = (fields.next()?, fields.next()?.parse().ok()?);
        let (engine, data) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        Some(Self {
            protocol,
            client,
            virt,
            dest,
            state,
            expires,
            engine,
            data,
        })
    }
}

/// Eight hexadecimal digits, or IPv6 in groups.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return Some(addr.into());
    }
    u32::from_str_radix(text, 16)
        .ok()
        .map(|bits| Ipv4Addr::from(bits).into())
}

fn port(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 16).ok()
}

/// The entries of a text, in its order; a failure in place of a line of another form.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Result<Row<'_>, Failure>> {
    // The first line is the title.
    text.lines().skip(1).map(|line| {
        let unexpected = || Failure::Listing(format!("unexpected input from /proc/net/{FILE}"));
        Row::parse(line).ok_or_else(unexpected)
    })
}

/// Lists the entries of a text, in its order.
///
/// # Errors
/// A line of another form ends the listing.
pub(crate) fn list(out: &mut impl Write, text: &str, format: &Format) -> Result<(), Failure> {
    writeln!(out, "IPVS connection entries")?;
    let [state, source, virt, dest] = ["state", "source", "virtual", "destination"];
    write!(out, "pro expire {state:<11} {source:<18} {virt:<18} ")?;
    if format.persistent {
        let [engine, data] = ["pe name", "pe_data"];
        writeln!(out, "{dest:<18} {engine:<16} {data}")?;
    } else {
        writeln!(out, "{dest}")?;
    }
    for row in rows(text) {
        write_row(out, &row?, format)?;
    }
    Ok(())
}

fn write_row(out: &mut impl Write, row: &Row<'_>, format: &Format) -> std::io::Result<()> {
    let number = match row.protocol {
        "TCP" => protocol::TCP,
        "UDP" => protocol::UDP,
        "SCTP" => protocol::SCTP,
        _ => 0,
    };
    let name = |(addr, port)| names::endpoint(addr, port, number, format.numeric);
    let expires = format!("{:02}:{:02}", row.expires / 60, row.expires % 60);
    let (client, virt, dest) = (name(row.client), name(row.virt), name(row.dest));
    let Row {
        protocol,
        state,
        engine,
        data,
        ..
    } = row;
    write!(
        out,
        "{protocol:<3} {expires:<6} {state:<11} {client:<18} {virt:<18} "
    )?;
    if format.persistent && !engine.is_empty() {
        writeln!(out, "{dest:<16} {engine:<18} {data}")
    } else {
        writeln!(out, "{dest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NUMERIC: Format = Format {
        numeric: true,
        stats: false,
        rate: false,
        thresholds: false,
        persistent: false,
        tunnels: false,
        exact: false,
        unsorted: false,
        json: false,
    };

    fn listed(text: &str, format: &Format) -> Result<String, Failure> {
        let mut out = Vec::new();
        list(&mut out, text, format)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn entries_of_both_families() {
        let text = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A010002 C2D0 0A090001 0050 0A030002 0050 CLOSE             2
UDP 20010db8000000000000000000000001 0001 0A090001 0050 0A030002 0050 NONE        899 sip abc
";
        assert!(listed(text, &NUMERIC).is_err(), "IPv6 needs its colons");
        let text = text.replace(
            "20010db8000000000000000000000001",
            "2001:0db8:0000:0000:0000:0000:0000:0001",
        );
        assert_eq!(
            listed(&text, &NUMERIC).unwrap(),
            "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 00:02  CLOSE       10.1.0.2:49872     10.9.0.1:80        10.3.0.2:80
UDP 14:59  NONE        [2001:db8::1]:1    10.9.0.1:80        10.3.0.2:80
"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_listed_or_refused(text: String) {
            let _ = listed(&format!("title\n{text}"), &NUMERIC);
        }
    }
}
