//! The binary as a library: commands, configuration, wiring. The suite and the benchmark use the same wiring as `main`.

pub mod background;
pub mod commands;
pub mod config;
pub mod lifecycle;
pub mod services;
pub mod telemetry;
mod terminal;
pub mod wiring;
