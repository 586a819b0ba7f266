//! Weights from load under real traffic, by both schedulers that heed weights: `lvsx lab nat --slow` is the long form. Needs root.

use lvsx_lab::{Narrator, slow};

#[test]
fn a_slow_server_gets_less_and_a_quick_one_its_share_again() -> anyhow::Result<()> {
    let binary = env!("CARGO_BIN_EXE_lvsx").into();
    slow::briefly(binary, ["wrr", "wlc"], &Narrator::aloud())
}
