//! The binary: settings, exit codes, and everything on one computer.

mod dev;
mod memory;
mod settings;
