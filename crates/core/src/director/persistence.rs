//! Persistence: the template that says where a client's new connections of a service go, and which connections it controls.
//!
//! ```text
//! open -> template -> (none that serves: open picks -> keep opens one -> template) -> join -> send
//! ```

use super::crossing::{
    BY_TEMPLATE, Crossing, SINGLE, WITHOUT_TEMPLATE, controller, keep_controller, keep_picked,
    service,
};
use super::family::Family;
use super::first::{FTP, Opening, after_opening, first_count};
use super::out::{Bound, bound as kept, keep_destination};
use super::verdict::Verdict;
use super::{Flow, clients_again};
use crate::conn::{self, Controller, Entry, Opened, Peer, Want};
use crate::env::Env;
use crate::event::Event;
use crate::generation::live;
use crate::generation::{DestinationLine, RootLine, ServiceLine};
use crate::packet::Packet;
use crate::state::{State, UDP};

/// Service flag: persistent.
pub(super) const PERSISTENT: u32 = 1;

/// Service flag: each UDP packet is scheduled on its own.
const ONE_PACKET: u32 = 4;

/// Whether a packet of this protocol opens no connection but is one of its own.
#[inline(always)]
pub(super) fn is_one_packet(service: &ServiceLine, protocol: u8) -> bool {
    service.flags & ONE_PACKET != 0 && protocol == UDP
}

/// Looks for the client's template, counts the new connection that it will control, and takes its destination.
#[inline(always)]
pub(super) fn template_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let mut want = nothing::<F>();
    seek::<F, P, E>(packet, env, &mut want);
    if want.is_none() {
        return Err(Verdict::drop(Event::DropInconsistent));
    }
    let crossing = Crossing::of(env)?;
    let template = conn::find_template(env, &want, env.now());
    let mut followed = LOST;
    if template.is_some() && serves::<F, E>(env, &crossing.root(env)?, template) {
        followed = follow::<F, P, E>(packet, env, template.0);
    }
    let (picked, next) = match followed {
        LOST => (WITHOUT_TEMPLATE, F::OPEN),
        JOINED => (BY_TEMPLATE, F::JOIN),
        _ => (BY_TEMPLATE | SINGLE, F::SEND),
    };
    keep_picked(env, picked);
    Err(Verdict::next(next))
}

/// [`follow`]: the template's life ended meanwhile.
const LOST: u64 = 0;

/// [`follow`]: the packet opens a connection, which the template counts already.
const JOINED: u64 = 1;

/// [`follow`]: the packet is scheduled on its own and opens none.
const ALONE: u64 = 2;

/// What is looked for to find the client's template.
#[inline(never)]
fn seek<F: Family, P: Packet, E: Env>(packet: &P, env: &E, want: &mut Want<F::Entry>) {
    if let Ok((flow, _)) = clients_again::<F, P, E>(packet, env)
        && let Ok(block) = service(env)
        && let Some(head) = env.config(block)
    {
        *want = wanted(env, &flow, &ServiceLine::decode(head));
    }
}

#[inline(always)]
fn nothing<F: Family>() -> Want<F::Entry> {
    Want::none((F::address([0; 2]), 0))
}

/// The key of the client's template and its virtual end: of its own port, the packet's; else of all ports of the address; of
/// a service by mark, of the mark.
#[inline(always)]
fn wanted<F: Family, E: Env>(env: &E, flow: &Flow<F>, service: &ServiceLine) -> Want<F::Entry> {
    let (source, destination) = F::ends(&flow.header);
    let client = F::network(source, service.netmask);
    let geometry = F::Entry::geometry(env);
    if service.mark != 0 {
        let mark = F::address([u64::from(service.mark.to_be()), 0]);
        return Want::template(geometry, 0, client, (mark, 0));
    }
    let port = if has_own_port(flow, service) {
        service.port
    } else {
        0
    };
    let protocol = F::protocol(&flow.header);
    Want::template(geometry, protocol, client, (destination, port))
}

/// Whether the packet's template is of the service's port alone. FTP's is of all ports, for its data connections.
#[inline(always)]
fn has_own_port<F: Family>(flow: &Flow<F>, service: &ServiceLine) -> bool {
    service.mark == 0
        && service.port != 0
        && service.port != FTP
        && service.port == flow.ports.destination
}

/// Whether the template's destination takes new connections; a template whose destination does not is never found again.
#[inline(always)]
fn serves<F: Family, E: Env>(env: &E, root: &RootLine, template: Controller) -> bool {
    let Some(hit) = template.find::<F::Entry, E>(env) else {
        return false;
    };
    let id = hit.entry.id();
    let is_refused = !root.is_available(env, id)
        || root.settings.expire_quiescent_template && live::is_quiesced(env, id);
    if is_refused {
        conn::retire::<F::Entry, E>(env, template);
    }
    !is_refused
}

/// Binds the packet to the template's destination: [`LOST`], [`JOINED`] or [`ALONE`].
#[inline(never)]
fn follow<F: Family, P: Packet, E: Env>(packet: &P, env: &E, template: u64) -> u64 {
    let template = Controller(template);
    let Ok((flow, _)) = clients_again::<F, P, E>(packet, env) else {
        return LOST;
    };
    let Ok(block) = service(env) else {
        return LOST;
    };
    let Some(head) = env.config(block) else {
        return LOST;
    };
    let service = ServiceLine::decode(head);
    let Some(hit) = template.find::<F::Entry, E>(env) else {
        return LOST;
    };
    let bound = bound(env, block, &flow, &service, hit.entry);
    if !hit.holds() {
        return LOST;
    }
    keep_destination(env, &bound);
    keep_controller(env, template);
    let now = env.now();
    if is_one_packet(&service, F::protocol(&flow.header)) {
        if !conn::renew::<F::Entry, E>(env, template, now.0) {
            return LOST;
        }
        conn::pass_by(env, bound.id);
        return ALONE;
    }
    if conn::control::<F::Entry, E>(env, template, now) {
        JOINED
    } else {
        LOST
    }
}

/// What the template says of the packet: its destination as it is configured now, or, of a destination of another service
/// that shares the template, as the template has it.
#[inline(always)]
fn bound<F: Family, E: Env>(
    env: &E,
    block: u32,
    flow: &Flow<F>,
    service: &ServiceLine,
    template: &F::Entry,
) -> Bound<F> {
    let id = template.id();
    let place = env.destination(id).map_or(u32::MAX, |line| {
        line[live::destination::PLACE].peek() as u32
    });
    let line = if place < service.destinations {
        env.config(block.wrapping_add(1).wrapping_add(place))
    } else {
        None
    };
    let packets = flow.ports.destination;
    let is_own = service.mark == 0 && service.port != 0 && packets == service.port;
    let (address, own) = template.dest();
    let mut bound = Bound {
        id,
        method: template.method(),
        far: (address, if is_own && own != 0 { own } else { packets }),
        side: Peer::Virtual,
    };
    if let Some(line) = line {
        let listed = DestinationLine::decode(line);
        if listed.id == id {
            bound.method = listed.method;
            bound.far = (
                F::address(listed.address),
                if is_own && listed.port != 0 {
                    listed.port
                } else {
                    packets
                },
            );
        }
    }
    bound
}

/// Opens the client's template to the destination that [`super::open`] picked; [`template_stage`] then finds it.
#[inline(always)]
pub(super) fn keep_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let mut opening = Opening::<F>::none();
    begin::<F, P, E>(packet, env, &mut opening);
    let Opening { want, new } = &opening;
    if want.is_none() {
        return Err(Verdict::drop(Event::DropInconsistent));
    }
    Err(match conn::open(env, want, new, env.now()) {
        // Whoever was quicker opened it to a destination of his.
        Opened::New | Opened::Exists => Verdict::next(F::TEMPLATE),
        Opened::Contended => Verdict::drop(Event::DropContended),
        Opened::Full => Verdict::drop(Event::DropTableFull),
    })
}

/// What is written to open the client's template.
#[inline(never)]
fn begin<F: Family, P: Packet, E: Env>(packet: &P, env: &E, opening: &mut Opening<F>) {
    let Ok((flow, crossing)) = clients_again::<F, P, E>(packet, env) else {
        return;
    };
    let Ok(block) = service(env) else {
        return;
    };
    let Ok(root) = crossing.root(env) else {
        return;
    };
    let Some(head) = env.config(block) else {
        return;
    };
    let Some(line) = env.config(crossing.picked) else {
        return;
    };
    let service = ServiceLine::decode(head);
    let picked = DestinationLine::decode(line);
    let port = if has_own_port(&flow, &service) {
        picked.port
    } else {
        0
    };
    let new = &mut opening.new;
    new.dest = (F::address(picked.address), port);
    new.id = picked.id;
    new.method = picked.method;
    new.timeout = root.ticks(env, service.timeout);
    new.deadline = env.now().after(new.timeout);
    opening.want = wanted(env, &flow, &service);
}

/// Opens the packet's connection to the destination of the template that controls it.
#[inline(always)]
pub(super) fn join_stage<F: Family, P: Packet, E: Env>(
    packet: &mut P,
    env: &E,
    _family: F,
) -> Result<Verdict, Verdict> {
    let mut opening = Opening::<F>::none();
    follow_up(packet, env, &mut opening);
    opening.new.controller = controller(env)?;
    opening.new.timeout = first_count(env) as u32;
    let Opening { want, new } = &opening;
    if want.is_none() {
        return Err(Verdict::drop(Event::DropInconsistent));
    }
    let opened = conn::open(env, want, new, env.now());
    if opened != Opened::New {
        conn::release::<F::Entry, E>(env, new.controller);
    } else if new.state == State::ESTABLISHED {
        conn::assure::<F::Entry, E>(env, new.controller);
    }
    Err(after_opening::<F, E>(env, opened))
}

/// What is written to open the connection that a template controls.
#[inline(never)]
fn follow_up<F: Family, P: Packet, E: Env>(packet: &P, env: &E, opening: &mut Opening<F>) {
    let Ok((flow, crossing)) = clients_again::<F, P, E>(packet, env) else {
        return;
    };
    let Ok(root) = crossing.root(env) else {
        return;
    };
    let Ok((bound, _)) = kept::<F, E>(env, Peer::Virtual) else {
        return;
    };
    *opening = Opening::connection(env, &root, &flow, &bound, crossing.origin);
}
