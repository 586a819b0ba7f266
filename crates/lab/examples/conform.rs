//! `conform`: does the director decide as the kernel's IPVS does? Run by `cargo xtask conform`. An example, so that the
//! workspace has one binary.

fn main() -> std::process::ExitCode {
    lvsx_lab::conform::main(std::env::args_os().skip(1).collect())
}
