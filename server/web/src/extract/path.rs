//! Parts of the path as typed values. What does not parse names nothing: 404, like an id that nobody has.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use trunkline_platform::{
    ids::{
        AgentId, AlertId, ApiId, CertificateNameId, ChangeId, ClientId, CredentialId, DefinitionId, EntryId, GrantId,
        InvitationId, KeyId, LimitId, OperationId, PasskeyId, SessionId, SourceId, ToolId, ToolVersionId, ToolsetId,
        TrustedIssuerId, UserId,
    },
    secret::Plaintext,
};

use crate::error::HtmlError;

/// A value with a name of its own in paths.
pub trait PathPart: Sized {
    /// The name, as in `{agent}`; also what is said to be missing.
    const NAME: &'static str;

    /// The value, if the text is one.
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! path_parts {
    ($($id:ident $name:literal)*) => {$(
        impl PathPart for $id {
            const NAME: &'static str = $name;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

path_parts! {
    AgentId "agent"
    AlertId "alert"
    ApiId "api"
    OperationId "operation"
    KeyId "key"
    ToolId "tool"
    ToolVersionId "version"
    SourceId "source"
    DefinitionId "definition"
    ChangeId "change"
    ToolsetId "toolset"
    CredentialId "credential"
    LimitId "limit"
    EntryId "call"
    ClientId "client"
    GrantId "grant"
    TrustedIssuerId "issuer"
    CertificateNameId "certificate_name"
    UserId "member"
    InvitationId "invitation"
    SessionId "session"
    PasskeyId "passkey"
}

/// The secret of a mailed link.
#[derive(Debug, Clone)]
pub struct Token(pub Plaintext);

impl PathPart for Token {
    const NAME: &'static str = "token";

    fn parse(text: &str) -> Option<Self> {
        let ours = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        ours.then(|| Self(Plaintext::new(text.to_owned())))
    }
}

/// That part of the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: PathPart> FromRequest for Path<T> {
    type Error = HtmlError;
    type Future = Ready<Result<Self, HtmlError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = request.match_info().get(T::NAME).and_then(T::parse);
        ready(value.map(Self).ok_or_else(|| HtmlError::not_found(T::NAME)))
    }
}
