//! What a tenant thinks of clients: whom its members may use, and what happens when it changes its mind.

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::redirect_uri;

use super::{Client, ClientKind, ClientState, ListedClient, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    db::TenantTx,
    error::{Error, Result},
    ids::ClientId,
    oauth::{Revoked, grant, revocation::finish},
};

/// Hosts of one policy.
const MOST_HOSTS: usize = 100;

/// Which clients members may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// All that are not blocked.
    #[default]
    Any,
    /// Those whose document or redirect URI stands on a listed host.
    Listed,
    /// Those that somebody has approved.
    Approval,
}

impl Admission {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Listed => "listed",
            Self::Approval => "approval",
        }
    }

    /// From a form or from what was stored.
    pub fn parse(text: &str) -> Result<Self> {
        let known = [Self::Any, Self::Listed, Self::Approval].into_iter().find(|one| one.as_str() == text);
        known.ok_or_else(|| Error::invalid("admission", "expected any, listed or approval"))
    }
}

/// The whole policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientPolicy {
    /// Which clients.
    pub admission: Admission,
    /// Hosts, for `Listed`.
    pub hosts: Vec<String>,
}

impl ClientPolicy {
    /// Reads a form. Hosts stand on lines of their own or are separated by commas.
    pub fn parse(admission: &str, hosts: &str) -> Result<Self> {
        let admission = Admission::parse(admission)?;
        let hosts: Vec<String> =
            hosts.split([',', ' ', '\n', '\r', '\t']).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase).collect();
        let is_host = |host: &String| {
            host.len() <= 253
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
                && !host.starts_with('.')
        };
        if hosts.len() > MOST_HOSTS || !hosts.iter().all(is_host) {
            return Err(Error::invalid("hosts", format!("expected at most {MOST_HOSTS} host names, such as app.example")));
        }
        if admission == Admission::Listed && hosts.is_empty() {
            return Err(Error::invalid("hosts", "enter at least one host, or nobody can use any client"));
        }
        Ok(Self { admission, hosts })
    }

    /// A client met for the first time.
    fn first_state(&self, client: &Client, redirect: &str) -> ClientState {
        match self.admission {
            Admission::Any => ClientState::Approved,
            Admission::Approval => ClientState::Pending,
            Admission::Listed if self.lists(client, redirect) => ClientState::Approved,
            Admission::Listed => ClientState::Blocked,
        }
    }

    /// A document speaks for its host; who registered itself can be told by where the answer goes only.
    fn lists(&self, client: &Client, redirect: &str) -> bool {
        let host = client.host().unwrap_or_else(|| redirect_uri::shown_host(redirect));
        let host = host.split(':').next().unwrap_or_default();
        self.hosts.iter().any(|listed| listed == host)
    }
}

/// The client as the tenant knows it, made known if it is new; and whether members may use it. A client that is not on the list is not kept.
pub(in crate::oauth) async fn meet(
    tx: &mut TenantTx,
    now: DateTime<Utc>,
    actor: &Member,
    client: &Client,
    redirect: &str,
) -> Result<(Option<ClientId>, ClientState)> {
    let policy = store::policy(tx).await?;
    if let Some(row) = store::find(tx, &client.client_id).await? {
        let off_list =
            policy.admission == Admission::Listed && client.kind != ClientKind::Manual && !policy.lists(client, redirect);
        let state = if off_list { ClientState::Blocked } else { row.state() };
        return Ok((Some(row.id), state));
    }
    let state = policy.first_state(client, redirect);
    if state == ClientState::Blocked || client.kind == ClientKind::Manual {
        return Ok((None, ClientState::Blocked));
    }
    let id = ClientId::new(now);
    let row = store::NewRow {
        id,
        client_id: &client.client_id,
        kind: client.kind,
        name: &client.name,
        state,
        redirect_uris: &[],
        proof: store::StoredProof::default(),
        agent: None,
        by: Some(actor.user),
    };
    // Two members may bring it at the same time.
    let id = store::insert_new(tx, &row, now).await?;
    audit::append(tx, now, actor, &Event::ClientMet(id)).await?;
    Ok((Some(id), state))
}

/// Clients that the tenant knows, the latest first; at most 500.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<ListedClient>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx, platform.clock.now()).await
}

/// The tenant's policy.
pub async fn policy(platform: &Platform, actor: &Member) -> Result<ClientPolicy> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::policy(&mut tx).await
}

/// Changes it. What was granted before stays.
pub async fn set_policy(platform: &Platform, actor: &Member, policy: &ClientPolicy) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = store::policy(&mut tx).await?;
    store::set_policy(&mut tx, policy).await?;
    let difference = Difference::default().of("admission", before.admission.as_str(), policy.admission.as_str()).of(
        "hosts",
        &before.hosts,
        &policy.hosts,
    );
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ClientPolicyChanged(actor.tenant, difference)).await?;
    tx.commit().await
}

/// Lets members use a client.
pub async fn approve(platform: &Platform, actor: &Member, id: ClientId) -> Result<()> {
    actor.require(Permission::ManageAgents)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::set_state(&mut tx, id, ClientState::Approved).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ClientApproved(id)).await?;
    tx.commit().await
}

/// Lets nobody use a client any more, and ends everything it was granted.
pub async fn block(platform: &Platform, actor: &Member, id: ClientId) -> Result<Revoked> {
    actor.require(Permission::ManageAgents)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    end(&mut tx, now, actor, id).await?;
    finish(platform, tx).await
}

/// The same in the transaction at hand.
pub(in crate::oauth) async fn end(tx: &mut TenantTx, now: DateTime<Utc>, actor: &Member, id: ClientId) -> Result<()> {
    store::set_state(tx, id, ClientState::Blocked).await?;
    for grant in grant::store::live_of_client(tx, id).await? {
        grant::end(tx, now, Some(actor), grant, "client_blocked").await?;
    }
    audit::append(tx, now, actor, &Event::ClientBlocked(id)).await
}

/// A client that somebody has named beforehand, made known if it is new. `None`: it may not be used.
pub(in crate::oauth) async fn meet_named(tx: &mut TenantTx, now: DateTime<Utc>, client: &Client) -> Result<Option<ClientId>> {
    if let Some(row) = store::find(tx, &client.client_id).await? {
        return Ok((row.state() == ClientState::Approved).then_some(row.id));
    }
    if client.kind == ClientKind::Manual {
        return Ok(None);
    }
    let id = ClientId::new(now);
    let row = store::NewRow {
        id,
        client_id: &client.client_id,
        kind: client.kind,
        name: &client.name,
        state: ClientState::Approved,
        redirect_uris: &[],
        proof: store::StoredProof::default(),
        agent: None,
        by: None,
    };
    let id = store::insert_new(tx, &row, now).await?;
    audit::append_all(tx, now, None, &[Event::ClientMet(id)]).await?;
    Ok(Some(id))
}
