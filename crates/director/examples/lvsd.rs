//! The director alone, as this crate's tests start it; what is installed is the `lvsx` binary by the name `lvsd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lvsx_director::main(std::env::args_os().skip(1).collect())
}
