//! Is `ipvsadm` the same, byte for byte?
//!
//! The same command lines go through Debian's `ipvsadm` on the kernel's IPVS (in user-mode Linux), through ours on that
//! kernel, and through ours on lvsd. Standard output, standard error, the exit code, and what the director then holds
//! must be the same.
//!
//! Reading order: [`mod@line`] (a command line and what came of it), [`generate`] (the lines), [`director`] (whom they are
//! put to), [`play`], `judge` (what is equal), [`run`] (everything together).

pub mod director;
pub mod generate;
mod judge;
pub mod line;
pub mod play;
pub mod run;
mod scale;

pub use run::main;
