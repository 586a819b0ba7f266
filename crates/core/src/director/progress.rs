//! What a packet does to its connection: state, timer, tally.

use super::Flow;
use super::family::Family;
use crate::conn::{self, Controller, Entry, Hit, Peer};
use crate::env::Env;
use crate::generation::defence::Defences;
use crate::generation::{RootLine, TIMEOUT_UDP, live};
use crate::state::{State, TCP, tcp};
use crate::tick::Tick;
use lvsx_platform::hide;

/// Tries to move an entry's state when other packets of the flow move it too.
const ADVANCE_TRIES: u64 = 4;

/// The packet's effect on state, activity and timer, and on the template that controls its connection: that is assured once a
/// TCP connection is established or a UDP server answers. Writes nothing when nothing changes, which within one tick is the
/// rule. `None`: the entry's life ended meanwhile.
#[inline(always)]
pub(super) fn advance<F: Family, E: Env>(
    env: &E,
    root: &RootLine,
    flow: &Flow<F>,
    hit: &Hit<'_, F::Entry>,
    id: u32,
    now: Tick,
) -> Option<()> {
    let mut control = hit.control;
    let mut tries = 0;
    while hide(tries) < ADVANCE_TRIES {
        let side = flow.want.side();
        let (state, active) = if F::protocol(&flow.header) == TCP {
            let state = tcp::next_by(
                root.settings.secure_tcp != 0 && Defences::in_force(env).secure_tcp,
                view(side, control.is_input_only()),
                flow.ports.flags,
                control.state(),
            );
            // Only a change of state moves the activity.
            let moved = state != control.state();
            (
                state,
                if moved {
                    state.is_active()
                } else {
                    control.is_active()
                },
            )
        } else {
            (control.state(), control.is_active())
        };
        let deadline = now.after(timeout(env, root, F::protocol(&flow.header), state));
        let mut wanted = control.advanced(state, active, deadline);
        if side == Peer::Server {
            wanted = wanted.with_output();
        }
        if wanted == control {
            if side == Peer::Server && F::protocol(&flow.header) != TCP {
                // Within a tick of the client's: it moves nothing else.
                let controller = Controller(hit.entry.controller().peek());
                conn::assure::<F::Entry, E>(env, controller);
            }
            return hit.holds().then_some(());
        }
        match hit.word.compare_exchange(control.0, wanted.0) {
            Ok(()) => {
                if active != control.is_active()
                    && let Some(line) = env.destination(id)
                {
                    let change =
                        live::weight_of(active).wrapping_sub(live::weight_of(control.is_active()));
                    line[live::destination::COUNTS].add(change);
                    live::moved(env, line);
                }
                let is_answered = if F::protocol(&flow.header) == TCP {
                    state == State::ESTABLISHED && control.state() != State::ESTABLISHED
                } else {
                    side == Peer::Server
                };
                if is_answered {
                    let controller = Controller(hit.entry.controller().peek());
                    conn::assure::<F::Entry, E>(env, controller);
                }
                return Some(());
            }
            Err(found) => {
                if !conn::Control(found).is_same_life(control) {
                    return None;
                }
                control = conn::Control(found);
            }
        }
        tries += 1;
    }
    // Others of the flow moved it in between each time; theirs stands.
    Some(())
}

#[inline(always)]
pub(super) fn view(side: Peer, input_only: bool) -> tcp::View {
    match side {
        Peer::Server => tcp::View::Output,
        Peer::Virtual if input_only => tcp::View::InputOnly,
        Peer::Virtual => tcp::View::Input,
    }
}

#[inline(always)]
pub(super) fn timeout<E: Env>(env: &E, root: &RootLine, protocol: u8, state: State) -> u32 {
    let index = if protocol == TCP {
        u32::from(state.0)
    } else {
        TIMEOUT_UDP as u32
    };
    root.timeout(env, index)
}

/// Adds the packet to its destination's tally of this CPU, which no other CPU writes.
#[inline(always)]
pub(super) fn tally<F: Family, E: Env>(env: &E, flow: &Flow<F>, id: u32) {
    tally_of(env, id, flow.want.side(), F::total(&flow.header));
}

/// Adds a packet of `total` bytes to destination `id`'s tally: [`Peer::Virtual`] one from the client's side.
#[inline(always)]
pub(super) fn tally_of<E: Env>(env: &E, id: u32, side: Peer, total: u32) {
    let Some(line) = env.tally(id) else { return };
    let (packets, bytes) = match side {
        Peer::Virtual => (live::tally::PACKETS_IN, live::tally::BYTES_IN),
        Peer::Server => (live::tally::PACKETS_OUT, live::tally::BYTES_OUT),
    };
    line[packets].poke(line[packets].peek().wrapping_add(1));
    line[bytes].poke(line[bytes].peek().wrapping_add(u64::from(total)));
}

/// Counts a connection that was opened to a destination.
#[inline(always)]
pub(super) fn count_connection<E: Env>(env: &E, id: u32) {
    if let Some(line) = env.tally(id) {
        let connections = &line[live::tally::CONNECTIONS];
        connections.poke(connections.peek().wrapping_add(1));
    }
}

/// Counts a connection that was opened to a destination, and its first packet of `total` bytes.
#[inline(always)]
pub(super) fn tally_first<E: Env>(env: &E, id: u32, total: u32) {
    count_connection(env, id);
    tally_of(env, id, Peer::Virtual, total);
}
