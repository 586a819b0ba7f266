//! A request as the command line that makes it: all that options can say.

use lvsx_ipvs::{
    DestinationKey, DestinationSettings, ForwardingMethod, Netmask, Request, ServiceFlags,
    ServiceKey, ServiceSettings, SyncDaemon, SyncRole,
};
use std::fmt::Write;

use crate::{names, protocol, save, values};

/// What stands before lines that are not ipvsadm's. `ipvsadm-restore` 1.31 skips lines that begin so.
pub(crate) const OURS: &str = "#lvsx";

/// The line, numbers for names; `None` where no option says it.
pub(crate) fn line(request: &Request) -> Option<String> {
    Some(match request {
        Request::NewService(key, settings) => format!("-A {}", service(key, settings)?),
        Request::SetService(key, settings) => format!("-E {}", service(key, settings)?),
        Request::DeleteService(key) => format!("-D {}", save::service_option(key, true)?),
        Request::NewDestination(service, key, settings) => {
            format!("-a {} {}", server(service, key)?, forwarding(settings)?)
        }
        Request::SetDestination(service, key, settings) => {
            format!("-e {} {}", server(service, key)?, forwarding(settings)?)
        }
        Request::DeleteDestination(service, key) => format!("-d {}", server(service, key)?),
        Request::SetTimeouts(timeouts) => {
            format!(
                "--set {} {} {}",
                timeouts.tcp, timeouts.tcp_fin, timeouts.udp
            )
        }
        Request::NewDaemon(wanted) => daemon(wanted)?,
        Request::DeleteDaemon(SyncRole::Master) => "--stop-daemon master".to_owned(),
        Request::DeleteDaemon(SyncRole::Backup) => "--stop-daemon backup".to_owned(),
        Request::Flush => "-C".to_owned(),
        Request::Zero(None) => "-Z".to_owned(),
        Request::Zero(Some(key)) => format!("-Z {}", save::service_option(key, true)?),
        Request::SetSetting(name, value) => format!("{OURS} sysctl {name} = {value}"),
        Request::EditMarks(edits) => {
            let lines = edits.lines().map(|edit| format!("{OURS} mark {edit}"));
            lines.collect::<Vec<_>>().join("\n")
        }
        _ => return None,
    })
}

fn service(key: &ServiceKey, settings: &ServiceSettings) -> Option<String> {
    let scheduler = settings.scheduler.as_deref();
    let mut text = save::service_option(key, true)?;
    // Writing to a String cannot fail.
    let _ = write!(text, " -s {}", scheduler.unwrap_or("none"));
    let flags = settings.flags.flags;
    if flags.contains(ServiceFlags::PERSISTENT) {
        let _ = write!(text, " -p {}", settings.timeout);
    }
    if settings.netmask != Netmask::host(key.family()) {
        let _ = match settings.netmask {
            Netmask::V4(mask) => write!(text, " -M {mask}"),
            Netmask::V6(prefix) => write!(text, " -M {prefix}"),
        };
    }
    if let Some(engine) = &settings.engine {
        let _ = write!(text, " --pe {engine}");
    }
    if flags.contains(ServiceFlags::ONE_PACKET) {
        text.push_str(" -o");
    }
    let names = values::scheduler_flag_names(scheduler, flags);
    if !names.is_empty() {
        let _ = write!(text, " -b {names}");
    }
    Some(text)
}

fn server(service: &ServiceKey, key: &DestinationKey) -> Option<String> {
    let protocol = match service {
        ServiceKey::Address { protocol, .. } => *protocol,
        ServiceKey::Mark { .. } => protocol::TCP,
    };
    let service = save::service_option(service, true)?;
    let server = names::endpoint(key.addr, key.port, protocol, true);
    Some(format!("{service} -r {server}"))
}

fn forwarding(settings: &DestinationSettings) -> Option<String> {
    let mut text = match settings.method {
        ForwardingMethod::Masquerade => "-m".to_owned(),
        ForwardingMethod::Tunnel => "-i".to_owned(),
        ForwardingMethod::DirectRouting | ForwardingMethod::Local => "-g".to_owned(),
        ForwardingMethod::Bypass | ForwardingMethod::Other(_) => return None,
    };
    let _ = write!(text, " -w {}", settings.weight as i32);
    for (option, threshold) in [
        ("-x", settings.upper_threshold),
        ("-y", settings.lower_threshold),
    ] {
        if threshold != 0 {
            let _ = write!(text, " {option} {threshold}");
        }
    }
    text.push_str(&save::tunnel(settings)?);
    Some(text)
}

fn daemon(daemon: &SyncDaemon) -> Option<String> {
    // A name that a file would not be read with: one that begins a comment, say.
    let is_word = daemon.interface.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_word || daemon.interface.is_empty() || daemon.interface.starts_with('#') {
        return None;
    }
    let role = match daemon.role {
        SyncRole::Master => "master",
        SyncRole::Backup => "backup",
    };
    let mut text = format!(
        "--start-daemon {role} --mcast-interface {}",
        daemon.interface
    );
    let _ = write!(text, " --syncid {}", daemon.sync_id);
    for (option, number) in [
        ("--sync-maxlen", daemon.max_length),
        ("--mcast-port", daemon.port),
        ("--mcast-ttl", daemon.ttl.into()),
    ] {
        if number != 0 {
            let _ = write!(text, " {option} {number}");
        }
    }
    if let Some(group) = daemon.group {
        let _ = write!(text, " --mcast-group {group}");
    }
    Some(text)
}
