//! `trunkline connect` through the real binary: in front of the platform, in front of servers of every revision, and below an
//! independent client.

mod clients;
mod platform;
mod servers;
mod usage;
