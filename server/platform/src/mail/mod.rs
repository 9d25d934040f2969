//! Being written.

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {}

/// Where letters go.
#[derive(Debug, Clone)]
pub struct Mailer;
