//! Where the time of a call goes.

use std::time::Instant;

/// When a request came and how long it took to find out whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// When it came.
    pub started: Instant,
    /// Time of authentication, in microseconds.
    pub auth_us: i64,
}

impl Measure {
    /// Starts with the request.
    pub fn start() -> Self {
        Self { started: Instant::now(), auth_us: 0 }
    }

    /// Authentication is done.
    #[must_use]
    pub fn authenticated(self) -> Self {
        Self { auth_us: micros(self.started), ..self }
    }
}

/// Microseconds since then.
pub(super) fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}
