//! One tenant never sees, changes or guesses another: by the catalogue, by rows, by routes.

mod catalog;
mod isolation;
mod rows;
