//! Pages for people: accounts, forms, members, and what every answer carries.

mod accounts;
mod audit;
mod forms;
mod headers;
mod members;
mod scripts;
