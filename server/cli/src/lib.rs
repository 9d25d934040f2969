//! The binary as a library: commands, configuration, wiring. The suite and the benchmark use the same wiring as `main`.

pub mod config;
