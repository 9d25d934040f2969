//! Clients that members make by hand, for applications that can do neither of the other ways, and for services.

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::{
    client_metadata::{Authentication, ClientMetadata, MAX_REDIRECT_URIS},
    redirect_uri,
};

use super::{Client, ClientKind, ClientState, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    error::{Error, Result},
    ids::{AgentId, ClientId, TenantId},
    oauth::ticket::{self, Kind},
    random,
    secret::Plaintext,
};

/// Beginning of their ids, before the tenant's.
const PREFIX: &str = "tl_client_";
const TENANT: usize = 26;
const LENGTH: usize = 16;

/// What a member says of a client.
#[derive(Debug, Clone)]
pub struct NewClient {
    name: String,
    redirect_uris: Vec<String>,
    authentication: Authentication,
    agent: Option<AgentId>,
}

/// A client just made, with the only copy of its secret.
#[derive(Debug)]
pub struct CreatedClient {
    /// Its id in the tenant.
    pub id: ClientId,
    /// As it shows itself.
    pub client_id: String,
    /// For people.
    pub name: String,
    /// Its secret, if it has one.
    pub secret: Option<Plaintext>,
}

/// A new secret of a client.
#[derive(Debug)]
pub struct CreatedSecret {
    /// The client, as it shows itself.
    pub client_id: String,
    /// The only copy.
    pub secret: Plaintext,
}

impl NewClient {
    /// Reads a form. Redirect URIs stand on lines of their own; a client without any is a service, which acts as one agent.
    pub fn parse(name: &str, redirect_uris: &str, has_secret: bool, agent: Option<AgentId>) -> Result<Self> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "expected 1 to 64 characters"));
        }
        let redirect_uris: Vec<String> = redirect_uris.split_whitespace().map(str::to_owned).collect();
        if redirect_uris.len() > MAX_REDIRECT_URIS {
            return Err(Error::invalid("redirect_uris", format!("expected at most {MAX_REDIRECT_URIS}")));
        }
        for uri in &redirect_uris {
            redirect_uri::judge(uri).map_err(|refused| Error::invalid("redirect_uris", format!("{uri}: {refused}")))?;
        }
        if redirect_uris.is_empty() && (agent.is_none() || !has_secret) {
            return Err(Error::invalid("redirect_uris", "enter at least one; a service without any needs an agent and a secret"));
        }
        let authentication = if has_secret { Authentication::ClientSecret } else { Authentication::None };
        Ok(Self { name: name.to_owned(), redirect_uris, authentication, agent })
    }
}

fn compact(tenant: TenantId) -> String {
    tenant.to_string().trim_start_matches("ten_").to_owned()
}

/// Makes a client.
pub async fn add(platform: &Platform, actor: &Member, new: NewClient) -> Result<CreatedClient> {
    actor.require(Permission::ManageKeys)?;
    let now = platform.clock.now();
    let id = ClientId::new(now);
    let client_id = format!("{PREFIX}{}_{}", compact(actor.tenant), random::base62(LENGTH));
    let secret = (new.authentication == Authentication::ClientSecret).then(|| ticket::generate(Kind::Secret, actor.tenant));
    let row = store::NewRow {
        id,
        client_id: &client_id,
        kind: ClientKind::Manual,
        name: &new.name,
        state: ClientState::Approved,
        authentication: new.authentication,
        redirect_uris: &new.redirect_uris,
        secret: secret.as_ref().map(Plaintext::digest),
        agent: new.agent,
        by: Some(actor.user),
    };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::insert(&mut tx, &row, now).await?;
    audit::append(&mut tx, now, actor, &Event::ClientAdded(id)).await?;
    tx.commit().await?;
    Ok(CreatedClient { id, client_id, name: new.name, secret })
}

/// Gives a client a new secret; the old one is refused from now on.
pub async fn replace_secret(platform: &Platform, actor: &Member, id: ClientId) -> Result<CreatedSecret> {
    actor.require(Permission::ManageKeys)?;
    let now: DateTime<Utc> = platform.clock.now();
    let secret = ticket::generate(Kind::Secret, actor.tenant);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let client_id = store::replace_secret(&mut tx, id, secret.digest()).await?.ok_or(Error::not_found("client"))?;
    audit::append(&mut tx, now, actor, &Event::ClientSecretReplaced(id)).await?;
    tx.commit().await?;
    Ok(CreatedSecret { client_id, secret })
}

/// Its id names its tenant.
pub(super) async fn find(platform: &Platform, client_id: &str) -> Result<Option<Client>> {
    let Some(rest) = client_id.strip_prefix(PREFIX).filter(|rest| rest.is_ascii() && rest.len() == TENANT + 1 + LENGTH) else {
        return Ok(None);
    };
    let Ok(tenant) = format!("ten_{}", &rest[..TENANT]).parse::<TenantId>() else { return Ok(None) };
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(row) = store::find(&mut tx, client_id).await? else { return Ok(None) };
    tx.commit().await?;
    if row.kind() != ClientKind::Manual || row.state() != ClientState::Approved {
        return Ok(None);
    }
    let metadata = ClientMetadata {
        client_name: row.name.clone(),
        redirect_uris: row.redirect_uris.clone(),
        authentication: row.authentication()?,
        jwks: row.jwks.clone().map(|jwks| jwks.0),
        jwks_uri: None,
    };
    let client = Client::of_metadata(client_id.to_owned(), ClientKind::Manual, metadata, row.secret());
    Ok(Some(Client { home: Some((tenant, row.id, row.agent_id)), ..client }))
}
