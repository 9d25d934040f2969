//! Limits: exact under load, free when refused, and what holds of them without Redis.

mod rate;
mod redis_away;
