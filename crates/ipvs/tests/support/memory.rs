//! A director that keeps what it is told and forwards nothing: the reference model of the dialogue.

use lvsx_ipvs::{
    Applying, Destination, DestinationKey, DestinationSettings, Director, Errno, Family, Fault,
    Info, Lead, MarkEdit, MarkRule, Netmask, Refused, Request, Service, ServiceFlags, ServiceKey,
    ServiceSettings, Stage, Stats, SyncDaemon, SyncRole, Timeouts, mark,
};

/// Schedulers it knows.
const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "sh", "mh", "dh", "sed", "nq", "ovf", "fo",
];
/// 2^31-1 ticks at 250 a second.
const LONGEST_TIMEOUT: u32 = i32::MAX as u32 / 250;

#[derive(Default)]
pub(crate) struct MemoryDirector {
    pub(crate) stage: Stage,
    pub(crate) services: Vec<(Service, Vec<Destination>)>,
    pub(crate) timeouts: Timeouts,
    pub(crate) daemons: Vec<SyncDaemon>,
    pub(crate) connections: Vec<u8>,
    pub(crate) amemthresh: i32,
    pub(crate) marks: Vec<MarkRule>,
}

impl MemoryDirector {
    pub(crate) fn new() -> Self {
        Self {
            timeouts: Timeouts {
                tcp: 900,
                tcp_fin: 120,
                udp: 300,
            },
            ..Self::default()
        }
    }

    /// Takes a change alone.
    pub(crate) fn take(&mut self, change: &Request) -> Result<(), Refused> {
        let done = match change {
            Request::NewService(key, settings) => self.new_service(key, settings),
            Request::SetService(key, settings) => self.set_service(key, settings),
            Request::DeleteService(key) => self.delete_service(key),
            Request::NewDestination(service, key, settings) => {
                self.new_destination(service, key, settings)
            }
            Request::SetDestination(service, key, settings) => {
                self.set_destination(service, key, settings)
            }
            Request::DeleteDestination(service, key) => self.delete_destination(service, key),
            Request::NewDaemon(daemon) => self.new_daemon(daemon),
            Request::DeleteDaemon(role) => self.delete_daemon(*role),
            Request::SetTimeouts(timeouts) => self.set_timeouts(timeouts),
            Request::Zero(key) => self.zero(key.as_ref()),
            Request::Flush => self.flush(),
            Request::SetSetting(name, value) => return self.set_setting(name, value),
            Request::EditMarks(lines) => {
                let edits = mark::edits(lines).map_err(|why| Refused::new(Errno::EINVAL, why))?;
                return self.edit_marks(&edits);
            }
            _ => Err(Errno::EINVAL),
        };
        Ok(done?)
    }

    fn place(&self, key: &ServiceKey) -> Result<usize, Errno> {
        self.services
            .iter()
            .position(|(service, _)| service.key == *key)
            .ok_or(Errno::ESRCH)
    }

    fn check(key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        let scheduler = settings.scheduler.as_deref().unwrap_or("rr");
        let engine = settings.engine.as_deref().unwrap_or("sip");
        if !SCHEDULERS.contains(&scheduler) || engine != "sip" {
            return Err(Errno::ENOENT);
        }
        match (key.family(), settings.netmask) {
            (Family::V6, Netmask::V6(prefix)) if !(1..=128).contains(&prefix) => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }
}

fn service(key: &ServiceKey, settings: &ServiceSettings, old: ServiceFlags) -> Service {
    Service {
        key: *key,
        scheduler: settings.scheduler.clone(),
        engine: settings.engine.clone(),
        flags: settings.flags.applied_to(old).union(ServiceFlags::HASHED),
        timeout: settings.timeout,
        netmask: settings.netmask,
        stats: Stats::default(),
    }
}

impl Director for MemoryDirector {
    fn new_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        if self.place(key).is_ok() {
            return Err(Errno::EEXIST);
        }
        Self::check(key, settings)?;
        let service = service(key, settings, ServiceFlags::default());
        self.services.push((service, Vec::new()));
        Ok(())
    }

    fn set_service(&mut self, key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Errno> {
        let place = self.place(key)?;
        Self::check(key, settings)?;
        let stored = &mut self.services[place].0;
        *stored = Service {
            stats: stored.stats,
            ..service(key, settings, stored.flags)
        };
        Ok(())
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        self.services.remove(self.place(key)?);
        Ok(())
    }

    fn services(&self) -> Vec<Service> {
        self.services
            .iter()
            .map(|(service, _)| service.clone())
            .collect()
    }

    fn service(&self, key: &ServiceKey) -> Result<Service, Errno> {
        Ok(self.services[self.place(key)?].0.clone())
    }

    fn new_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        let place = self.place(service)?;
        let destinations = &mut self.services[place].1;
        if destinations.iter().any(|stored| stored.key == *key) {
            return Err(Errno::EEXIST);
        }
        if key.addr.is_multicast() || key.addr.is_unspecified() {
            return Err(Errno::EINVAL);
        }
        let (key, settings) = (*key, *settings);
        let stats = Stats::default();
        destinations.insert(
            0,
            Destination {
                key,
                settings,
                active: 0,
                inactive: 0,
                persistent: 0,
                stats,
            },
        );
        Ok(())
    }

    fn set_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
        settings: &DestinationSettings,
    ) -> Result<(), Errno> {
        let place = self.place(service)?;
        let mut destinations = self.services[place].1.iter_mut();
        let stored = destinations
            .find(|stored| stored.key == *key)
            .ok_or(Errno::ENOENT)?;
        stored.settings = *settings;
        Ok(())
    }

    fn delete_destination(
        &mut self,
        service: &ServiceKey,
        key: &DestinationKey,
    ) -> Result<(), Errno> {
        let place = self.place(service)?;
        let destinations = &mut self.services[place].1;
        let at = destinations
            .iter()
            .position(|stored| stored.key == *key)
            .ok_or(Errno::ENOENT)?;
        destinations.remove(at);
        Ok(())
    }

    fn end_connections(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        let place = self.place(service)?;
        let destinations = &mut self.services[place].1;
        let stored = destinations.iter_mut().find(|stored| stored.key == *key);
        let stored = stored.ok_or(Errno::ENOENT)?;
        (stored.active, stored.inactive, stored.persistent) = (0, 0, 0);
        Ok(())
    }

    fn lead(&mut self, service: &ServiceKey, key: &DestinationKey, _: &Lead) -> Result<(), Errno> {
        let listed = self.destinations(service)?;
        let found = listed.iter().any(|stored| stored.key == *key);
        found.then_some(()).ok_or(Errno::ENOENT)
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<Destination>, Errno> {
        Ok(self.services[self.place(service)?].1.clone())
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), Errno> {
        let only = key.map(|key| self.place(key)).transpose()?;
        for (place, (service, destinations)) in self.services.iter_mut().enumerate() {
            if only.is_none_or(|only| only == place) {
                service.stats = Stats::default();
                destinations
                    .iter_mut()
                    .for_each(|stored| stored.stats = Stats::default());
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.services.clear();
        Ok(())
    }

    fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        let Timeouts { tcp, tcp_fin, udp } = *timeouts;
        if [tcp, tcp_fin, udp]
            .iter()
            .any(|seconds| *seconds > LONGEST_TIMEOUT)
        {
            return Err(Errno::EINVAL);
        }
        let or = |new, old| if new == 0 { old } else { new };
        let old = self.timeouts;
        self.timeouts = Timeouts {
            tcp: or(tcp, old.tcp),
            tcp_fin: or(tcp_fin, old.tcp_fin),
            udp: or(udp, old.udp),
        };
        Ok(())
    }

    fn info(&self) -> Info {
        Info {
            version: Info::VERSION,
            connection_table_size: 4096,
        }
    }

    fn daemons(&self) -> Vec<SyncDaemon> {
        let mut daemons = self.daemons.clone();
        daemons.sort_by_key(|daemon| daemon.role);
        daemons
    }

    fn new_daemon(&mut self, daemon: &SyncDaemon) -> Result<(), Errno> {
        if self
            .daemons
            .iter()
            .any(|running| running.role == daemon.role)
        {
            return Err(Errno::EEXIST);
        }
        let or = |wanted: u16, default| if wanted == 0 { default } else { wanted };
        self.daemons.push(SyncDaemon {
            max_length: or(daemon.max_length, 1472),
            group: daemon.group.or(Some([224, 0, 0, 81].into())),
            port: or(daemon.port, 8848),
            ttl: daemon.ttl.max(1),
            ..daemon.clone()
        });
        Ok(())
    }

    fn delete_daemon(&mut self, role: SyncRole) -> Result<(), Errno> {
        let at = self.daemons.iter().position(|daemon| daemon.role == role);
        self.daemons.remove(at.ok_or(Errno::ESRCH)?);
        Ok(())
    }

    fn settings(&self) -> String {
        format!("amemthresh = {}\n", self.amemthresh)
    }

    fn set_setting(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        if name != "amemthresh" {
            return Err(Refused::new(
                Errno::ENOENT,
                format!("{name} does not exist"),
            ));
        }
        self.amemthresh = value
            .parse()
            .map_err(|_| Refused::new(Errno::EINVAL, format!("`{value}` is not a number")))?;
        Ok(())
    }

    fn marks(&self) -> Vec<MarkRule> {
        self.marks.clone()
    }

    fn edit_marks(&mut self, edits: &[MarkEdit]) -> Result<(), Refused> {
        let mut marks = self.marks.clone();
        for edit in edits {
            match edit {
                MarkEdit::Add(rule) => marks.push(rule.clone()),
                MarkEdit::Flush => marks.clear(),
                MarkEdit::Delete(rule) => {
                    let place = marks.iter().rposition(|other| other == rule);
                    let missing = || Refused::new(Errno::ENOENT, format!("no rule `{rule}`"));
                    marks.remove(place.ok_or_else(missing)?);
                }
            }
        }
        self.marks = marks;
        Ok(())
    }

    fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn apply(&mut self, changes: &[Request], how: Applying) -> Vec<Fault> {
        let mut next = Self {
            stage: Stage::default(),
            services: self.services.clone(),
            timeouts: self.timeouts,
            daemons: self.daemons.clone(),
            connections: self.connections.clone(),
            amemthresh: self.amemthresh,
            marks: self.marks.clone(),
        };
        let taken = changes.iter().enumerate();
        let faults: Vec<Fault> = taken
            .filter_map(|(change, request)| {
                let refused = next.take(request).err()?;
                Some(Fault { change, refused })
            })
            .collect();
        if faults.is_empty() && how != Applying::Trial {
            next.stage = std::mem::take(&mut self.stage);
            *self = next;
        }
        faults
    }

    fn proc_text(&self, name: &str) -> Option<Vec<u8>> {
        (name == "ip_vs_conn").then(|| self.connections.clone())
    }

    fn status(&self) -> String {
        format!("{{\"services\":{}}}", self.services.len())
    }
}
