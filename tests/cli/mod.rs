//! The binary: settings, exit codes, and everything on one computer.

mod connect;
mod dev;
mod keys;
mod memory;
mod settings;
