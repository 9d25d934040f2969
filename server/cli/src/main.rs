//! Parses the command line, runs a command, and tells by the exit code how it went.

use std::process::ExitCode;

use clap::Parser as _;

// Many short-lived buffers on many threads: glibc's allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    trunkline::commands::run(trunkline::commands::Arguments::parse())
}
