//! Operations that want a token which is fetched for the tenant itself.

use std::collections::BTreeMap;

use crate::{
    catalog::{Carrier, ClientSecret, Operation, snapshot::LoadedTool},
    connections::{Asked, ClientTokens, Refused},
    egress::Egress,
    execution::Run,
    secret::Plaintext,
};

/// A token, and how to get rid of it.
pub(super) struct Fetched {
    pub(super) token: Plaintext,
    client: OwnedAsked,
}

/// Why there is no answer.
pub(super) struct Failed {
    pub(super) run: Run,
    /// The token endpoint does not take the client's secret. Nothing was sent to the API.
    pub(super) is_refused: bool,
}

impl From<Run> for Failed {
    fn from(run: Run) -> Self {
        Self { run, is_refused: false }
    }
}

struct OwnedAsked {
    credential: crate::ids::CredentialId,
    token_url: url::Url,
    id: String,
    secret: Plaintext,
    scopes: Vec<String>,
}

impl OwnedAsked {
    fn asked(&self) -> Asked<'_> {
        Asked {
            credential: self.credential,
            token_url: &self.token_url,
            client_id: &self.id,
            secret: &self.secret,
            scopes: &self.scopes,
        }
    }
}

/// The token that the operation wants, if it wants one and its secret was entered for that endpoint.
pub(super) async fn fetch(
    tokens: &ClientTokens,
    egress: &Egress,
    tool: &LoadedTool,
    operation: &Operation,
    secrets: &BTreeMap<String, String>,
) -> Result<Option<Fetched>, Failed> {
    let Some(client) = wanted(tool, operation, secrets) else { return Ok(None) };
    match tokens.get(egress, &client.asked()).await {
        Ok(token) => Ok(Some(Fetched { token, client })),
        Err(Refused::Away(error)) => {
            Err(Failed::from(Run::unsent("token_refused", format!("The API's token endpoint failed: {error}."))))
        }
        Err(refused) => {
            let text = format!(
                "The API's token endpoint gives no token: {refused}. The tool's owner has to enter its client's secret again."
            );
            Err(Failed { run: Run::unsent("token_refused", text), is_refused: true })
        }
    }
}

fn wanted(tool: &LoadedTool, operation: &Operation, secrets: &BTreeMap<String, String>) -> Option<OwnedAsked> {
    let credential = tool.tool.version.credential?;
    operation.security.iter().find_map(|proof| {
        let Carrier::ClientCredentials { token_url, scopes } = &proof.carrier else { return None };
        let sealed: ClientSecret = serde_json::from_str(secrets.get(&proof.scheme)?).ok()?;
        let (id, secret) = sealed.pair.split_once(':').filter(|_| sealed.token_url == *token_url)?;
        Some(OwnedAsked {
            credential,
            token_url: token_url.clone(),
            id: id.to_owned(),
            secret: Plaintext::new(secret.to_owned()),
            scopes: scopes.clone(),
        })
    })
}

impl Fetched {
    /// The API did not take it.
    pub(super) async fn forget(&self, tokens: &ClientTokens) {
        tokens.forget(&self.client.asked(), &self.token).await;
    }
}
