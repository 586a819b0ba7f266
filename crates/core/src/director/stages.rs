//! The stages as planes call them: each a program in BPF; on planes without tail calls all one after another.

use super::convert::convert_stage;
use super::family::{V4, V6};
use super::fast::fast_stage;
use super::first::{bind_stage, open_stage, send_stage};
use super::fragment::{cut_stage, raise_stage};
use super::local::{answer_stage, local_stage, own_stage};
use super::out::{encapsulate_stage, on_stage, refuse_stage};
use super::persistence::{join_stage, keep_stage, template_stage};
use super::related::{carry_stage, elsewhere_stage, relate_stage};
use super::stray::tell_stage;
use super::syn::syn_stage;
use super::verdict::{Action, MOST_STAGES, Stage, Verdict, conclude};
use super::{find_stage, found_stage, overflow_stage};
use crate::env::Env;
use crate::event::Event;
use crate::packet::Packet;

/// A stage of either family: two functions, so that each is a program of its own.
macro_rules! stages {
    ($($(#[$doc:meta])* $stage:ident, $stage6:ident: $body:path;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $stage<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
            conclude(env, $body(packet, env, V4))
        }

        #[doc = concat!("[`", stringify!($stage), "`] of IPv6.")]
        #[inline(always)]
        pub fn $stage6<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
            conclude(env, $body(packet, env, V6))
        }
    )*};
}

stages! {
    /// Connections in their two sets.
    find, find6: find_stage;
    /// Connections in the overflow area.
    overflow, overflow6: overflow_stage;
    /// Packets of connections in the overflow area.
    found, found6: found_stage;
    /// These packets on their way.
    on, on6: on_stage;
    /// First packets: service and destination.
    open, open6: open_stage;
    /// First packets: opens the connection.
    bind, bind6: bind_stage;
    /// First packets of persistent services: the client's template.
    template, template6: template_stage;
    /// First packets of persistent services: opens the client's template.
    keep, keep6: keep_stage;
    /// First packets of persistent services: opens the connection.
    join, join6: join_stage;
    /// First packets: on their way.
    send, send6: send_stage;
    /// Packets of tunnels other than IPv4 in IPv4.
    encapsulate, encapsulate6: encapsulate_stage;
    /// Packets that are answered with an ICMP error.
    refuse, refuse6: refuse_stage;
    /// ICMP packets: those that are errors about packets of connections.
    relate, relate6: relate_stage;
    /// These errors, on their way.
    carry, carry6: carry_stage;
    /// Fragments that concern the director.
    raise, raise6: raise_stage;
    /// Packets that may be replies for sockets of this host, or of them.
    answer, answer6: answer_stage;
    /// Packets of connections to or from this host's own stack.
    local, local6: local_stage;
    /// Packets of masqueraded servers that belong to no connection.
    tell, tell6: tell_stage;
}

/// Packets of connections, as most packets are: every packet's first stage.
#[inline(always)]
pub fn fast<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, fast_stage(packet, env))
}

/// Connections' first packets, as most are.
#[inline(always)]
pub fn syn<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, syn_stage(packet, env))
}

/// What sockets of this host send, where it leaves: the first stage there.
#[inline(always)]
pub fn own<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, own_stage(packet, env))
}

/// ICMP errors about packets of the director's own tunnels over IPv4. IPVS knows none over IPv6.
#[inline(always)]
pub fn convert<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, convert_stage(packet, env))
}

/// ICMP errors about IPv6 connections that may live in the overflow area: [`relate6`] has no room for that on BPF's stack.
#[inline(always)]
pub fn elsewhere6<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, elsewhere_stage(packet, env, V6))
}

/// Packets ready to leave that are longer than their way.
#[inline(always)]
pub fn cut<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    conclude(env, cut_stage(packet, env))
}

/// All stages one after another, for planes without tail calls.
pub fn handle<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    handle_from(Verdict::next(Stage::Fast), packet, env)
}

/// The same of a packet that a socket of this host sent, where it leaves.
pub fn handle_own<P: Packet, E: Env>(packet: &mut P, env: &E) -> Verdict {
    handle_from(own(packet, env), packet, env)
}

/// What becomes of a packet of which a stage made this.
pub fn handle_from<P: Packet, E: Env>(first: Verdict, packet: &mut P, env: &E) -> Verdict {
    if first.action() != Action::Next {
        return first;
    }
    let mut stage = first.stage();
    for _ in 0..MOST_STAGES {
        let verdict = match stage {
            Stage::Fast => fast(packet, env),
            Stage::Overflow => overflow(packet, env),
            Stage::Find => find(packet, env),
            Stage::Open => open(packet, env),
            Stage::Bind => bind(packet, env),
            Stage::Send => send(packet, env),
            Stage::Found => found(packet, env),
            Stage::On => on(packet, env),
            Stage::Encapsulate => encapsulate(packet, env),
            Stage::Refuse => refuse(packet, env),
            Stage::Find6 => find6(packet, env),
            Stage::Overflow6 => overflow6(packet, env),
            Stage::Open6 => open6(packet, env),
            Stage::Bind6 => bind6(packet, env),
            Stage::Send6 => send6(packet, env),
            Stage::Found6 => found6(packet, env),
            Stage::On6 => on6(packet, env),
            Stage::Encapsulate6 => encapsulate6(packet, env),
            Stage::Refuse6 => refuse6(packet, env),
            Stage::Relate => relate(packet, env),
            Stage::Relate6 => relate6(packet, env),
            Stage::Convert => convert(packet, env),
            Stage::Carry => carry(packet, env),
            Stage::Carry6 => carry6(packet, env),
            Stage::Template => template(packet, env),
            Stage::Template6 => template6(packet, env),
            Stage::Keep => keep(packet, env),
            Stage::Keep6 => keep6(packet, env),
            Stage::Join => join(packet, env),
            Stage::Join6 => join6(packet, env),
            Stage::Raise => raise(packet, env),
            Stage::Raise6 => raise6(packet, env),
            Stage::Cut => cut(packet, env),
            Stage::Answer => answer(packet, env),
            Stage::Answer6 => answer6(packet, env),
            Stage::Local => local(packet, env),
            Stage::Local6 => local6(packet, env),
            Stage::Tell => tell(packet, env),
            Stage::Tell6 => tell6(packet, env),
            Stage::Elsewhere6 => elsewhere6(packet, env),
            Stage::Syn => syn(packet, env),
        };
        if verdict.action() != Action::Next {
            return verdict;
        }
        stage = verdict.stage();
    }
    conclude(env, Err(Verdict::drop(Event::DropTailCall)))
}
