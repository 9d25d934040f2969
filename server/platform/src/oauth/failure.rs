//! Why a request of a client is not granted: by the rules of OAuth, or because something of ours failed.

use trunkline_protocol::oauth::error::{ErrorCode, OAuthError};

use crate::error::{Error, ErrorKind};

/// Either kind of failure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client did something wrong, or may not.
    #[error(transparent)]
    Refused(#[from] OAuthError),
    /// Something of ours failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Failure {
    /// A refusal.
    pub fn refuse(code: ErrorCode, description: impl AsRef<str>) -> Self {
        Self::Refused(OAuthError::new(code, description))
    }

    /// As a client is told it. What failed on our side is told by its kind only.
    pub fn to_oauth(&self) -> OAuthError {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Failed(error) => match error.kind() {
                ErrorKind::Unavailable(_) | ErrorKind::Exhausted { .. } => {
                    OAuthError::new(ErrorCode::TemporarilyUnavailable, error.to_string())
                }
                ErrorKind::Internal => OAuthError::new(ErrorCode::ServerError, "something failed on our side"),
                ErrorKind::Denied(_) => OAuthError::new(ErrorCode::AccessDenied, error.to_string()),
                _ => OAuthError::new(ErrorCode::InvalidRequest, error.to_string()),
            },
        }
    }
}
