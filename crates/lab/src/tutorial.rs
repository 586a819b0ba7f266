//! The tutorial's own lines, word for word.

use std::net::Ipv4Addr;

use lvsx_host::ForwardingMethod;

/// The service that the tutorial opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// The virtual address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
}

/// The service of each method's lab.
#[must_use]
pub const fn service(method: ForwardingMethod) -> VirtualService {
    let address = match method {
        ForwardingMethod::Masquerade => Ipv4Addr::new(8, 8, 8, 8),
        ForwardingMethod::Tunnel | ForwardingMethod::DirectRouting => {
            Ipv4Addr::new(192, 168, 1, 40)
        }
    };
    VirtualService { address, port: 80 }
}

/// The director's script, line by line.
#[must_use]
pub const fn script(method: ForwardingMethod) -> &'static [&'static str] {
    match method {
        ForwardingMethod::Masquerade => &[
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            "ipvsadm -C",
            "ipvsadm -At 8.8.8.8:80 -s rr",
            "ipvsadm -at 8.8.8.8:80 -r 192.168.1.46:80 -m",
            "ipvsadm -at 8.8.8.8:80 -r 192.168.1.47:80 -m",
        ],
        ForwardingMethod::Tunnel => &[
            "ipvsadm -C",
            "ipvsadm -At 192.168.1.40:80 -s rr",
            "ipvsadm -at 192.168.1.40:80 -r 192.168.1.46:80 -i",
            "ipvsadm -at 192.168.1.40:80 -r 192.168.1.47:80 -i",
        ],
        ForwardingMethod::DirectRouting => &[
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            "ipvsadm -C",
            "ipvsadm -At 192.168.1.40:80 -s rr",
            "ipvsadm -at 192.168.1.40:80 -r 192.168.1.46:80 -g",
            "ipvsadm -at 192.168.1.40:80 -r 192.168.1.47:80 -g",
        ],
    }
}

/// A line of the script with another scheduler than the tutorial's `rr`.
#[must_use]
pub fn with_scheduler(line: &str, scheduler: &str) -> String {
    match line.strip_suffix("-s rr") {
        Some(head) => format!("{head}-s {scheduler}"),
        None => line.to_owned(),
    }
}

/// The commands with which the tutorial looks at what happened.
pub const TEST: [&str; 2] = ["ipvsadm -L -c", "ipvsadm -L --stats"];

/// The tutorial's `/etc/sysconfig/ipvsadm`, which holds whole command lines.
pub const SERVICE_FILE: &str = "\
ipvsadm -A -t 172.16.4.200:80 -s rr
ipvsadm -a -t 172.16.4.200:80 -r 172.16.4.188:80 -m
ipvsadm -a -t 172.16.4.200:80 -r 172.16.4.198:80 -m
";
