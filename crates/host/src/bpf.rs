//! The BPF object that holds the real server's decapsulation, as bytes.

use std::fmt;

/// A compiled BPF object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Object(pub &'static [u8]);

/// The object of this build: committed, and rebuilt by `cargo xtask ebpf`.
pub const OBJECT: Object = Object(aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ebpf/lvsx.bpf.o"
)));

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} bytes)", self.0.len())
    }
}
