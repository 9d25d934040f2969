//! Tokens for the tenant itself (RFC 6749 §4.4): where an API's description asks for OAuth client credentials. Fetched when first needed, kept in
//! memory until shortly before they run out, and never stored.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use url::Url;

use super::exchange::{Client, Refused, tokens};
use crate::{egress::Egress, ids::CredentialId, secret::Plaintext};

/// Tokens that are kept, of all tenants.
const MOST: usize = 20_000;
/// A token's life where nobody says it.
const USUAL_LIFE: Duration = Duration::from_mins(5);
/// So long before its end a token is not used any more, at most half its life.
const BEFORE_END: Duration = Duration::from_secs(30);

/// Where tokens are, and what for.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The sealed secret that this client stands in: no two tenants share one.
    pub credential: CredentialId,
    /// The token endpoint.
    pub token_url: &'a Url,
    /// The client.
    pub client_id: &'a str,
    /// Its secret.
    pub secret: &'a Plaintext,
    /// What is asked for.
    pub scopes: &'a [String],
}

/// A token, and until when it is used.
#[derive(Debug, Clone)]
struct Held {
    token: Plaintext,
    until: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<Held>>>;

/// The tokens of this replica.
#[derive(Debug, Default)]
pub struct ClientTokens(Mutex<HashMap<[u8; 32], Slot>>);

impl ClientTokens {
    /// A token that works as far as is known; fetched by the first who needs it, while the others wait.
    pub(crate) async fn get(&self, egress: &Egress, asked: &Asked<'_>) -> Result<Plaintext, Refused> {
        let slot = self.slot(asked);
        let mut held = slot.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        let scopes = asked.scopes.join(" ");
        let mut fields = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            fields.push(("scope", &scopes));
        }
        let client = Client { id: asked.client_id, secret: asked.secret };
        let given = tokens(egress, asked.token_url, client, &fields).await?;
        let life = given.expires_in.and_then(|life| u64::try_from(life).ok()).map_or(USUAL_LIFE, Duration::from_secs);
        let until = Instant::now() + life.saturating_sub(BEFORE_END).max(life / 2);
        *held = Some(Held { token: given.access.clone(), until });
        Ok(given.access)
    }

    /// The API did not take that token: the next one who needs one gets another.
    pub(crate) async fn forget(&self, asked: &Asked<'_>, refused: &Plaintext) {
        let slot = self.slot(asked);
        let mut held = slot.lock().await;
        if held.as_ref().is_some_and(|held| held.token.reveal() == refused.reveal()) {
            *held = None;
        }
    }

    fn slot(&self, asked: &Asked<'_>) -> Slot {
        let mut hash = Sha256::new();
        for part in [
            &asked.credential.to_string(),
            asked.token_url.as_str(),
            asked.client_id,
            asked.secret.reveal(),
            &asked.scopes.join(" "),
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST {
            // Whoever is fetching keeps its place.
            slots.retain(|_, slot| slot.try_lock().is_err());
        }
        Arc::clone(slots.entry(hash.finalize().into()).or_default())
    }
}
