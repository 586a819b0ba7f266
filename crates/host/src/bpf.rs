//! The BPF object that holds the real server's decapsulation, as bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A compiled BPF object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Object(pub &'static [u8]);

/// The object of this build: committed, and rebuilt by `cargo xtask ebpf`.
pub const OBJECT: Object = Object(aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ebpf/lvsx.bpf.o"
)));

/// Written down is only that there was one: undo needs no program.
impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Read again it is the object of this build.
impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| OBJECT)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} bytes)", self.0.len())
    }
}
