//! Event streams: at once, alive, and what becomes of those that nobody reads.

mod leaving;
mod opening;
mod unread;
