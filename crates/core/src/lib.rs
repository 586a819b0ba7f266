//! The director's decisions, as pure code: no clock, no I/O, no allocation, no unsafe.
//!
//! The same source runs as XDP program, as tc program and on the host over a byte vector. Reading order:
//!
//! 1. [`director`]: what happens to a packet, top to bottom;
//! 2. [`packet`] and [`mod@env`]: the two traits through which it sees the packet and the world;
//! 3. [`generation`]: the configuration as packets read it; [`conn`]: the connection table;
//! 4. [`sched`], [`state`], [`forward`]: one file an idea;
//! 5. [`event`]: the name of everything that can happen to a packet.
//!
//! Addresses and ports are kept as they lie on the wire ("raw"): a `u32` or `u16` loaded from the packet without a byte
//! swap. Code that needs their numeric value says so with `from_be`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

/// Version of the layout of all shared tables, and of what crosses stages; part of the path of their pins.
pub const LAYOUT: u32 = 8;

pub mod conn;
pub mod director;
pub mod env;
pub mod event;
pub mod forward;
pub mod generation;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod packet;
pub mod sched;
pub mod state;
pub mod tick;
pub mod wire;
