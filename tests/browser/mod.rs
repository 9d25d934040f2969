//! What only a browser shows: scripts run, pages change by themselves, and the content policy is obeyed.

mod driver;
mod first_call;
mod function;
mod import;
mod log;
mod pages;
mod people;
mod publishing;
