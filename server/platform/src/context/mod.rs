//! What a call costs in its caller's model: the tokens of the tool's definition and of what the tool gave back, and their price. Beside the price of
//! the tool, never in it: no budget and no ledger knows of it.
//!
//! Counting takes longer than the rest of a call, so it happens after the answer: `Counter` has a thread of its own and a bounded queue, and the
//! record's writer puts what was counted into the entry. What was not counted is said so, and never as nothing.

mod counter;
mod definition;
mod encoding;
mod model;
mod output;

pub use counter::{Asked, Counter};
pub use definition::Definition;
pub use encoding::{COUNTED_BYTES, Count, ENCODING, count};
pub use model::Model;
pub use output::Output;
