//! Limits: who may do how much. `attempts` slows down guessing on public pages; tool calls come next.

pub mod attempts;

/// Settings of the limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits on attempts on the public pages.
    pub attempts: attempts::Settings,
}
