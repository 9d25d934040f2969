//! From what a request shows to a caller, or to nothing.

use std::sync::Arc;

use super::{
    Caller, Shown,
    credential::{Credential, Holder},
};
use crate::{
    Platform,
    agents::BearerKey,
    catalog::snapshot::Current,
    handshake::Fault,
    oauth::{self, AccessToken, Endpoint, Proven, Unproven, Unverified},
};

/// Nobody we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No such credential, or not any more.
    Invalid,
    /// The proof of possession is not taken.
    Unproven,
    /// It cannot be found out now.
    Unavailable,
}

/// Finds out whose request this is, at the endpoint of that tenant or of one of its toolsets.
pub async fn authenticate(
    platform: &Platform,
    slug: &str,
    toolset: Option<&str>,
    shown: Shown<'_>,
) -> Result<Caller, Unauthenticated> {
    let caller = identify(platform, slug, toolset, shown).await;
    if matches!(caller, Err(Unauthenticated::Invalid | Unauthenticated::Unproven)) {
        platform.metrics.failed_authentications.inc();
    }
    caller
}

async fn identify(platform: &Platform, slug: &str, toolset: Option<&str>, shown: Shown<'_>) -> Result<Caller, Unauthenticated> {
    // By their form: guesses and typing errors cost no look-up.
    let bearer = match shown.bearer {
        Some(bearer) => match BearerKey::parse(bearer) {
            // A key is bound to nothing that could be proven.
            Some(_) if shown.proof.is_some() => return Err(Unauthenticated::Invalid),
            Some(key) => Some(Bearer::Key(key)),
            None => Some(Bearer::Token(verified(platform, bearer, shown.proof).await?)),
        },
        None => None,
    };
    let snapshot = platform.snapshots.get(platform, slug).await.map_err(|error| {
        tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
        Unauthenticated::Unavailable
    })?;
    let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
    let credential = match bearer {
        Some(Bearer::Key(bearer)) => {
            let key = snapshot.key(bearer.lookup(), &bearer.digest()).ok_or(Unauthenticated::Invalid)?;
            Credential::Key(Arc::clone(key))
        }
        Some(Bearer::Token(token)) => Credential::Token(token),
        None => {
            let certificate = shown.certificate.ok_or(Unauthenticated::Invalid)?;
            Credential::Certificate(Holder::find(platform, &snapshot, certificate).ok_or(Unauthenticated::Invalid)?)
        }
    };
    Caller::with(platform, snapshot, credential, shown.certificate.cloned(), slug.into(), toolset)
}

/// Why a credential was refused at that endpoint, as far as it can be told to those who operate it.
pub async fn why_refused(
    platform: &Platform,
    slug: &str,
    toolset: Option<&str>,
    shown: Shown<'_>,
    why: Unauthenticated,
) -> Fault {
    if why == Unauthenticated::Unproven {
        return Fault::NotProven;
    }
    let Some(bearer) = shown.bearer else { return Fault::NotCertified };
    if BearerKey::parse(bearer).is_none() {
        let token = match oauth::verify(platform, bearer).await {
            Ok(token) => token,
            Err(_) if oauth::is_one_of_ours(platform, bearer) => return Fault::ExpiredOrRevoked,
            Err(_) => return Fault::NotACredential,
        };
        let is_for = |toolset| token.audience == Endpoint::url_of(platform, slug, toolset);
        if !is_for(toolset) && !is_for(None) {
            return Fault::OtherResource;
        }
        let is_bound_otherwise = token.binding.key.is_some() != shown.proof.is_some();
        if is_bound_otherwise || !Credential::Token(token).is_shown_with(shown.certificate.map(Arc::as_ref)) {
            return Fault::NotProven;
        }
    }
    let snapshot = platform.snapshots.get(platform, slug).await.ok().flatten();
    let counts = |snapshot: &Current| {
        shown.certificate.is_some_and(|shown| snapshot.certificates.verify(shown, platform.clock.now()).is_some())
    };
    let is_uncertified = snapshot.is_some_and(|snapshot| snapshot.certificates.is_required() && !counts(&snapshot));
    if is_uncertified { Fault::NotCertified } else { Fault::ExpiredOrRevoked }
}

enum Bearer {
    Key(BearerKey),
    Token(Arc<AccessToken>),
}

/// The token, if it is one of ours and came under the scheme it was issued for (RFC 9449 §7.1).
pub(super) async fn verified(
    platform: &Platform,
    text: &str,
    proof: Option<Proven<'_>>,
) -> Result<Arc<AccessToken>, Unauthenticated> {
    let token = oauth::verify(platform, text).await.map_err(|unverified| match unverified {
        Unverified::Invalid => Unauthenticated::Invalid,
        Unverified::Unavailable => Unauthenticated::Unavailable,
    })?;
    let (wanted, proof) = match (&token.binding.key, proof) {
        (None, None) => return Ok(token),
        (Some(wanted), Some(proof)) => (wanted, proof),
        _ => return Err(Unauthenticated::Invalid),
    };
    match oauth::prove(platform, proof, Some((text, wanted))).await {
        Ok(_) => Ok(token),
        Err(Unproven::Invalid(_)) => Err(Unauthenticated::Unproven),
        Err(Unproven::Failed(error)) => {
            tracing::warn!(%error, "it cannot be found out whether a proof was used before");
            Err(Unauthenticated::Unavailable)
        }
    }
}
