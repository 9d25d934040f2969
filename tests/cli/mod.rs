//! The binary: settings, exit codes, and everything on one computer.

mod connect;
mod dev;
mod gate;
mod keys;
mod memory;
mod settings;
