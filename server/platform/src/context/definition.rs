//! What a tool costs by being offered.

use std::sync::{Arc, OnceLock};

use super::encoding::{Count, count};

/// A definition as the newest revision lists it, which says most. Counted once, when first needed.
#[derive(Debug)]
pub struct Definition {
    json: Arc<str>,
    count: OnceLock<Count>,
}

impl Definition {
    /// The definition that stands so in a list.
    pub fn new(json: Arc<str>) -> Self {
        Self { json, count: OnceLock::new() }
    }

    /// Its tokens. Never on a thread of the runtime.
    pub fn count(&self) -> Count {
        *self.count.get_or_init(|| count(&[&self.json]))
    }
}
