//! What is kept of calls: each exactly once, whatever happens to Postgres.

mod entries;
mod postgres_away;
mod prices;
