//! Connections: what a client that goes away leaves behind.

mod cancel;
