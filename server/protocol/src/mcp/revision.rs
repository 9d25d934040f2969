//! Revisions of the protocol answer questions; nobody compares their dates.

use crate::jsonrpc::ErrorObject;

/// A revision that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revision {
    /// Streamable HTTP, batches.
    V2025_03_26,
    /// Structured output, elicitation, no batches, handshake.
    V2025_06_18,
    /// The last one with a handshake.
    V2025_11_25,
    /// Stateless: no handshake, metadata in each request.
    V2026_07_28,
}

impl Revision {
    /// All of them, newest first, as they are offered.
    pub const ALL: [Self; 4] = [Self::V2026_07_28, Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26];
    /// What a handshake settles on when it asks for something unknown.
    pub const LATEST_WITH_HANDSHAKE: Self = Self::V2025_11_25;
    /// What a request without a header and without a session speaks.
    pub const WITHOUT_HEADER: Self = Self::V2025_03_26;

    /// Its date, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that date, if it is served.
    pub fn find(date: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == date)
    }

    /// Does it begin with `initialize`? If not, every request carries its own metadata.
    pub fn has_handshake(self) -> bool {
        self != Self::V2026_07_28
    }

    /// Does every request name it in a header?
    pub fn has_version_header(self) -> bool {
        self != Self::V2025_03_26
    }

    /// May a body be an array of messages?
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// Do streams begin with an event that has an id and no data, so that they can be resumed from the start?
    pub fn has_priming_event(self) -> bool {
        self == Self::V2025_11_25
    }

    /// Do tools have an output schema, and results structured content?
    pub fn has_structured_content(self) -> bool {
        self != Self::V2025_03_26
    }

    /// May structured content be any JSON value, and not only an object?
    pub fn has_free_structured_content(self) -> bool {
        !self.has_handshake()
    }

    /// Can a client be asked for input?
    pub fn has_elicitation(self) -> bool {
        self != Self::V2025_03_26
    }

    /// Are arguments mirrored into headers where the schema says so?
    pub fn has_mirrored_arguments(self) -> bool {
        !self.has_handshake()
    }

    /// Error code of a resource that does not exist.
    pub fn resource_not_found_code(self) -> i64 {
        if self.has_handshake() { super::RESOURCE_NOT_FOUND } else { crate::jsonrpc::INVALID_PARAMS }
    }

    /// An error of another revision in the codes of this one.
    #[must_use]
    pub fn fit_error(self, error: ErrorObject) -> ErrorObject {
        let code = match error.code {
            super::RESOURCE_NOT_FOUND => self.resource_not_found_code(),
            // Asking by URL through an error exists in one revision only.
            super::URL_ELICITATION_REQUIRED if self == Self::V2025_11_25 => super::URL_ELICITATION_REQUIRED,
            super::URL_ELICITATION_REQUIRED => crate::jsonrpc::INTERNAL_ERROR,
            // The range that the stateless revision reserves means nothing to older clients.
            -32_099..=-32_020 if self.has_handshake() => crate::jsonrpc::INTERNAL_ERROR,
            code => code,
        };
        ErrorObject { code, ..error }
    }

    /// HTTP status of an error.
    pub fn error_status(self, code: i64) -> u16 {
        match code {
            _ if self.has_handshake() => 200,
            super::HEADER_MISMATCH | super::MISSING_CAPABILITY | super::UNSUPPORTED_VERSION => 400,
            crate::jsonrpc::METHOD_NOT_FOUND => 404,
            _ => 200,
        }
    }

    /// Do results say `resultType`, `ttlMs`, `cacheScope`?
    pub fn has_result_metadata(self) -> bool {
        !self.has_handshake()
    }

    /// Does a client that closes the stream of a call cancel it?
    pub fn disconnect_cancels(self) -> bool {
        !self.has_handshake()
    }
}
