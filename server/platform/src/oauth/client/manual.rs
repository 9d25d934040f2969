//! Clients that members make by hand, for applications that can do neither of the other ways, and for services.

use chrono::{DateTime, Utc};
use serde_json::Value;
use trunkline_protocol::oauth::{
    client_metadata::{Authentication, ClientMetadata, MAX_REDIRECT_URIS},
    redirect_uri,
};

use super::{Client, ClientKind, ClientState, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    certificates::CertificateName,
    error::{Error, Result},
    ids::{AgentId, ClientId, TenantId},
    oauth::{
        published, signed,
        ticket::{self, Kind},
    },
    random,
    secret::Plaintext,
};

/// Beginning of their ids, before the tenant's.
const PREFIX: &str = "tl_client_";
const TENANT: usize = 26;
const LENGTH: usize = 16;
/// Largest key set that is entered by hand, in bytes.
const MAX_KEYS: usize = 32 * 1024;

/// What a member says of a client.
#[derive(Debug, Clone)]
pub struct NewClient {
    name: String,
    redirect_uris: Vec<String>,
    proof: NewProof,
    agent: Option<AgentId>,
}

/// How a new client will prove who it is.
#[derive(Debug, Clone)]
pub enum NewProof {
    /// Not at all.
    Nothing,
    /// By a secret that is made for it.
    Secret,
    /// By a key of its own: a key set.
    Keys(Value),
    /// By a key of its own, in the key set at that address.
    KeysAt(String),
    /// By a certificate with that name.
    Certificate(CertificateName),
}

impl NewProof {
    /// Reads a form: the way, and what belongs to it. `keys` is a JSON Web Key Set or the address of one.
    pub fn parse(way: &str, keys: &str, certificate_name: &str) -> Result<Self> {
        match way {
            "none" => Ok(Self::Nothing),
            "client_secret" => Ok(Self::Secret),
            "private_key_jwt" => Self::of_keys(keys.trim()),
            "tls_client_auth" => CertificateName::parse(certificate_name).map(Self::Certificate),
            _ => Err(Error::invalid("proof", "expected none, client_secret, private_key_jwt or tls_client_auth")),
        }
    }

    fn of_keys(keys: &str) -> Result<Self> {
        let refuse = |why: &str| Error::invalid("keys", why);
        if keys.starts_with("https://") || keys.starts_with("http://") {
            return Ok(Self::KeysAt(keys.to_owned()));
        }
        if keys.len() > MAX_KEYS {
            return Err(refuse("expected at most 32 KiB"));
        }
        let set: Value =
            serde_json::from_str(keys).map_err(|_| refuse("enter a JSON Web Key Set, or the https address of one"))?;
        let is_set = |keys: &Vec<Value>| (1..=16).contains(&keys.len()) && keys.iter().all(|key| signed::read_key(key).is_some());
        if !set.get("keys").and_then(Value::as_array).is_some_and(is_set) {
            return Err(refuse("expected {\"keys\": […]} with 1 to 16 public keys; a private key does not belong here"));
        }
        Ok(Self::Keys(set))
    }

    fn authentication(&self) -> Authentication {
        match self {
            Self::Nothing => Authentication::None,
            Self::Secret => Authentication::ClientSecret,
            Self::Keys(_) | Self::KeysAt(_) => Authentication::PrivateKeyJwt,
            Self::Certificate(_) => Authentication::TlsClientAuth,
        }
    }

    fn to_stored(&self, secret: Option<&Plaintext>) -> store::StoredProof<'_> {
        let mut stored = store::StoredProof { authentication: self.authentication(), ..store::StoredProof::default() };
        stored.secret = secret.map(Plaintext::digest);
        match self {
            Self::Nothing | Self::Secret => {}
            Self::Keys(keys) => stored.jwks = Some(keys),
            Self::KeysAt(url) => stored.jwks_uri = Some(url),
            Self::Certificate(name) => stored.certificate_name = Some(name.as_str()),
        }
        stored
    }
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
    pub fn parse(name: &str, redirect_uris: &str, proof: NewProof, agent: Option<AgentId>) -> Result<Self> {
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
        if redirect_uris.is_empty() && matches!(proof, NewProof::Nothing) {
            return Err(Error::invalid(
                "redirect_uris",
                "enter at least one; a service without any needs a way to prove who it is",
            ));
        }
        Ok(Self { name: name.to_owned(), redirect_uris, proof, agent })
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
    if let NewProof::KeysAt(url) = &new.proof {
        published::check(platform, url).map_err(|why| Error::invalid("keys", why))?;
    }
    let secret = matches!(new.proof, NewProof::Secret).then(|| ticket::generate(Kind::Secret, actor.tenant));
    let row = store::NewRow {
        id,
        client_id: &client_id,
        kind: ClientKind::Manual,
        name: &new.name,
        state: ClientState::Approved,
        redirect_uris: &new.redirect_uris,
        proof: new.proof.to_stored(secret.as_ref()),
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
        jwks_uri: row.jwks_uri.clone(),
    };
    let client = Client::of_metadata(client_id.to_owned(), ClientKind::Manual, metadata, row.secret());
    Ok(Some(Client { home: Some((tenant, row.id, row.agent_id)), certificate_name: row.certificate_name, ..client }))
}
