//! One hop of a client on its way from an URL to its first call, as it is kept: no secret, no address, nothing a client could use to write
//! more than its place.

use serde::{Deserialize, Serialize};

/// Longest name or detail that is kept, in characters.
const LONGEST: usize = 120;

/// A hop, in the order in which a client makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// It came to the endpoint without a credential that works and was told where to get one.
    Challenge,
    /// It read what the endpoint is (RFC 9728).
    ResourceMetadata,
    /// It read what the authorization server is (RFC 8414).
    ServerMetadata,
    /// It registered (RFC 7591), or its metadata document was read.
    Registration,
    /// A browser came to the authorization endpoint.
    Authorize,
    /// A person decided.
    Consent,
    /// It asked for tokens with its code, or with a credential of its own.
    Token,
    /// It asked for new tokens.
    Refresh,
    /// It came to the endpoint with a token.
    Call,
}

/// Why a hop failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The bearer is neither a key nor a token of ours, or it has typing errors.
    NotACredential,
    /// The key or token was good once.
    ExpiredOrRevoked,
    /// The token is for another endpoint.
    OtherResource,
    /// The token is bound to a key or a certificate that the client did not show.
    NotProven,
    /// The certificate counts for nobody here, or there is none and the tenant wants one.
    NotCertified,
    /// The address it used is not the one this installation has.
    OtherOrigin,
    /// It looked for metadata where there is none.
    NoSuchMetadata,
    /// What it registered is not acceptable; the detail says what.
    RegistrationInvalid,
    /// Too many registrations from there.
    TooMany,
    /// Its metadata document could not be read.
    DocumentUnreachable,
    /// Its metadata document is not acceptable; the detail says why.
    DocumentInvalid,
    /// Nobody knows the client, or not any more.
    UnknownClient,
    /// The tenant does not let this client in, or not yet.
    ClientNotAdmitted,
    /// It did not prove to be the client.
    ClientAuthentication,
    /// It wants to be answered where it has not registered.
    RedirectMismatch,
    /// It sent no PKCE challenge, or not by S256.
    NoChallenge,
    /// It asked for a resource that is not one of ours.
    UnknownResource,
    /// None of the scopes it asked for can be given.
    NoScope,
    /// The person said no.
    Denied,
    /// The person may not let a client act here.
    NotAllowed,
    /// The code is too old.
    CodeExpired,
    /// The code was used before.
    CodeUsed,
    /// The verifier does not fit the challenge.
    VerifierMismatch,
    /// An old refresh token came again after its successor was used.
    RefreshReused,
    /// It may not ask for tokens in this way; the detail says why.
    ClientUnfit,
    /// The agent is suspended, or not there any more.
    AgentStopped,
    /// The grant was revoked or has ended.
    GrantEnded,
    /// What the client brought to be exchanged is not taken; the detail says why.
    AssertionRefused,
    /// The token lacks a scope.
    InsufficientScope,
    /// The request is malformed; the detail says how.
    Malformed,
}

/// A hop as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Which hop.
    pub hop: Hop,
    /// Why it failed; `None`: it went well.
    pub fault: Option<Fault>,
    /// Ties together what comes from one place. Says nothing about the place.
    pub place: String,
    /// What the program calls itself.
    pub program: String,
    /// The client, once it has an id.
    pub client_id: Option<String>,
    /// The grant, once there is one.
    pub grant: Option<String>,
    /// What is worth telling beside it, in words.
    pub detail: Option<String>,
    /// How often in a row.
    pub times: u32,
}

impl Step {
    /// Without what cannot be shown, and not longer than its place.
    pub(super) fn tidy(mut self) -> Self {
        self.program = tidy(&self.program);
        self.client_id = self.client_id.as_deref().map(tidy);
        self.detail = self.detail.as_deref().map(tidy);
        self
    }

    /// The same again?
    pub(super) fn repeats(&self, before: &Self) -> bool {
        (self.hop, self.fault, &self.place, &self.client_id, &self.grant)
            == (before.hop, before.fault, &before.place, &before.client_id, &before.grant)
    }
}

fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_hidden(*c)).take(LONGEST).collect()
}

/// Turns the direction of text, or is not seen.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
