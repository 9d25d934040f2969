//! Runs JavaScript functions, one at a time, in a process that has given up everything else.
//!
//! Four walls, from the inside: the engine (QuickJS) has no way out but our imports; it is WebAssembly, so that a fault of the engine stays in its
//! memory; that memory is a copy made for one call; and the process around it has no files, no sockets and no environment (`confine`).
//! The other end is a pipe (`wire`). Nothing here knows tenants, SQL or HTTP: what a function asks for is asked at the other end.

mod confine;
mod engine;
mod guest;
mod host;
mod process;
mod run;
pub mod wire;

pub use confine::Confinement;
pub use process::serve;

/// What one call may use. Who writes a function reads these numbers, so they are the same everywhere.
pub mod limits {
    use std::time::Duration;

    /// Memory of the engine and of all it holds, in bytes.
    pub const MEMORY_BYTES: usize = 64 * 1024 * 1024;
    /// Processor time of the code; waiting is none.
    pub const BUSY: Duration = Duration::from_secs(5);
    /// What a function gives back, in bytes.
    pub const OUTPUT_BYTES: usize = 1024 * 1024;
    /// Requests that a call makes.
    pub const REQUESTS: u32 = 32;
    /// Body of one request, and of its answer, in bytes.
    pub const BODY_BYTES: usize = 1024 * 1024;
    /// Timers that wait at the same time.
    pub const TIMERS: usize = 256;
    /// What a call logs, in bytes. What does not fit is counted.
    pub const LOG_BYTES: usize = 64 * 1024;
    /// Lines that a call logs.
    pub const LOG_LINES: usize = 1000;
    /// The code itself, in bytes.
    pub const CODE_BYTES: usize = 256 * 1024;
    /// Stack of the code, in bytes: some thousand calls deep.
    pub const STACK_BYTES: u32 = 512 * 1024;
}
