//! agent
/// The usual port of agents.
pub const PORT: u16 = 9707;
