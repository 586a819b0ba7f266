//! `parity`: is `ipvsadm` the same as Debian's, byte for byte? Run by `cargo xtask parity`. An example, so that the
//! workspace has one binary.

fn main() -> std::process::ExitCode {
    lvsx_lab::parity::main(std::env::args_os().skip(1).collect())
}
