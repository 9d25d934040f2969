//! Error codes: RFC 6749 §4.1.2.1 and §5.2, RFC 7591 §3.2.2, RFC 8707 §2.

/// A code of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client is not known, or did not prove who it is.
    InvalidClient,
    /// The code, the token or the assertion does not work (any more).
    InvalidGrant,
    /// This client may not use this grant type.
    UnauthorizedClient,
    /// No such grant type here.
    UnsupportedGrantType,
    /// No such response type here.
    UnsupportedResponseType,
    /// Nothing of the scope can be granted.
    InvalidScope,
    /// The resource is not one of ours.
    InvalidTarget,
    /// The person, or their organisation, said no.
    AccessDenied,
    /// Nobody is signed in, and nobody may be asked.
    LoginRequired,
    /// Consent is missing, and nobody may be asked.
    ConsentRequired,
    /// A registration with a redirect URI that is not taken.
    InvalidRedirectUri,
    /// A registration that does not fit.
    InvalidClientMetadata,
    /// Revocation of a kind of token that is not there.
    UnsupportedTokenType,
    /// The proof of possession is not taken (RFC 9449 §5).
    InvalidDpopProof,
    /// Something that is needed is away.
    TemporarilyUnavailable,
    /// Our fault.
    ServerError,
}

impl ErrorCode {
    /// As the answer writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The status of an answer that is not a redirect.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
            _ => 400,
        }
    }
}

/// Why exactly, for whoever operates the server: clients are told less, so that nobody learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody knows the client.
    UnknownClient,
    /// It did not prove to be the client.
    ClientAuthentication,
    /// The client's metadata document could not be read.
    DocumentUnreachable,
    /// The client's metadata document is not acceptable.
    DocumentInvalid,
    /// The answer would go where the client has not registered.
    RedirectMismatch,
    /// No PKCE challenge, or not by S256.
    NoChallenge,
    /// The tenant does not let the client in.
    ClientNotAdmitted,
    /// The person may not let clients act.
    NotAllowed,
    /// The code is too old, or not known.
    CodeExpired,
    /// The code was used before.
    CodeUsed,
    /// The verifier does not fit the challenge.
    VerifierMismatch,
    /// An old refresh token came again.
    RefreshReused,
    /// The grant or its refresh token has ended, or is not known.
    GrantEnded,
    /// The agent is suspended, or not there any more.
    AgentStopped,
    /// The client did not prove to have the key that its token is bound to.
    NotProven,
    /// The token or assertion that was brought to be exchanged is not taken.
    AssertionRefused,
}

/// A refusal: its code, and for the client's developer what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct OAuthError {
    /// The code.
    pub code: ErrorCode,
    /// In a sentence, printable ASCII without `"` and `\` (RFC 6749 §5.2).
    pub description: String,
    /// Why exactly. Not told to the client.
    pub cause: Option<Cause>,
}

impl OAuthError {
    /// An error with that description; what RFC 6749 does not allow in one is left out.
    pub fn new(code: ErrorCode, description: impl AsRef<str>) -> Self {
        let allowed = |c: &char| matches!(*c, ' '..='~') && !matches!(*c, '"' | '\\');
        Self { code, description: description.as_ref().chars().filter(allowed).take(300).collect(), cause: None }
    }

    /// The same, with its exact cause.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// The body of an answer.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.code.as_str(), "error_description": self.description })
    }
}

/// A parameter is missing, repeated or malformed.
pub fn invalid_request(description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}
