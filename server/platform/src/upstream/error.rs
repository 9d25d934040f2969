//! Why an upstream gave nothing usable.

use trunkline_protocol::jsonrpc::ErrorObject;

use crate::egress::EgressError;

/// What the caller can be told. Never has the upstream's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The address is private, or the URL is not one that may be used.
    #[error("the address is not allowed")]
    Refused,
    /// No connection, no name, no TLS.
    #[error("the server could not be reached")]
    Unreachable,
    /// Not in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// An answer, an event or a list beyond its bound.
    #[error("the server's answer is too large")]
    TooLarge,
    /// Not what the protocol allows; the text says what.
    #[error("the server does not keep to the protocol: {0}")]
    Broken(&'static str),
    /// 401: the credential is missing or wrong.
    #[error("the server does not accept the credential")]
    Unauthorized,
    /// 403: the credential is not enough.
    #[error("the server does not allow it with this credential")]
    Forbidden,
    /// Another status, without an answer in the protocol.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The caller gave up.
    #[error("the request was cancelled")]
    Cancelled,
    /// As many sessions are in use as this process may have.
    #[error("too many sessions with servers are in use")]
    Busy,
}

impl From<EgressError> for UpstreamError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Refused => Self::Refused,
            EgressError::Unreachable => Self::Unreachable,
            EgressError::Timeout => Self::Timeout,
            EgressError::TooLarge => Self::TooLarge,
            EgressError::Broken => Self::Broken("its answer is not HTTP or was cut short"),
        }
    }
}

/// A failure that may be mended by asking differently. If not, the error inside is the caller's.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing to mend.
    Upstream(UpstreamError),
    /// The session is not known there any more; the request did not run.
    SessionGone(UpstreamError),
    /// It may speak another era than we thought; the request did not run. If it does not, the answer inside is the caller's.
    OtherEra(UpstreamError, Option<ErrorObject>),
}

impl Fault {
    /// What the caller is told.
    pub(super) fn error(self) -> UpstreamError {
        match self {
            Self::Upstream(error) | Self::SessionGone(error) | Self::OtherEra(error, _) => error,
        }
    }
}

impl<E: Into<UpstreamError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Upstream(error.into())
    }
}
