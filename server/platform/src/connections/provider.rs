//! Whom people have their accounts with: the authorization server in front of a source, and our client there. Found by discovery, or entered
//! by hand.

use std::str::FromStr;

use url::Url;

use super::{
    discovery::{self, Found},
    store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    db::TenantTx,
    epoch,
    error::{Error, ErrorKind, FieldError, Result},
    ids::{SourceId, TenantId, UserId, uuid_v7},
    secret::Plaintext,
    vault,
};

/// Longest scopes and longest resource, in characters.
const MOST_TEXT: usize = 2_000;
/// Longest URL, client id and client secret.
const MOST_NAME: usize = 500;

/// How each person's own account is reached that a source asks for. Its secret is sealed.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Which source.
    pub source: SourceId,
    /// Where people's tokens go, and nowhere else: `scheme://host:port`.
    pub origin: String,
    /// Who the authorization server says it is. `None`: it was entered by hand, and nobody said.
    pub issuer: Option<String>,
    /// An answer of it that does not name it is not its.
    pub(super) names_itself: bool,
    /// Where people say yes.
    pub authorization_url: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: Url,
    /// Where tokens are revoked (RFC 7009), if anywhere.
    pub revocation_url: Option<Url>,
    /// Who we are there.
    pub client_id: String,
    pub(super) sealed: Option<Vec<u8>>,
    /// How we prove it.
    pub authentication: Authentication,
    /// What is asked for, separated by spaces.
    pub scopes: String,
    /// What the tokens are for (RFC 8707); empty: not said.
    pub resource: String,
    /// Whose account reads the source's lists.
    pub reader: Option<UserId>,
}

/// How we prove who we are at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all: a public client, whose proof is PKCE.
    None,
    /// In the `Authorization` header.
    Basic,
    /// In the form.
    Post,
}

impl Authentication {
    /// As OAuth writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

impl FromStr for Authentication {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::None, Self::Basic, Self::Post]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| Error::invalid("authentication", "expected one of none, client_secret_basic, client_secret_post"))
    }
}

/// What a person says of a provider. Empty URLs: it is to be found by asking the source. An empty client id: one is to be registered.
#[derive(Debug, Default)]
pub struct NewProvider {
    /// Its name for itself, if it is known.
    pub issuer: String,
    /// Where people say yes.
    pub authorization_url: String,
    /// Where codes are exchanged.
    pub token_url: String,
    /// Where tokens are revoked.
    pub revocation_url: String,
    /// Who we are there.
    pub client_id: String,
    /// `None`: the one that is stored, or none at all.
    pub client_secret: Option<Plaintext>,
    /// How we prove it.
    pub authentication: String,
    /// What is asked for.
    pub scopes: String,
    /// What the tokens are for.
    pub resource: String,
}

/// A provider with its secret, before it is stored.
struct Draft {
    provider: Provider,
    secret: Option<Plaintext>,
}

impl Provider {
    /// Its host, for people.
    pub fn host(&self) -> &str {
        self.authorization_url.host_str().unwrap_or_default()
    }

    /// Is it asked as the same client for the same thing? Then what people have connected goes on to be good.
    fn is_same(&self, other: &Self) -> bool {
        (&self.token_url, &self.client_id, &self.resource, &self.origin)
            == (&other.token_url, &other.client_id, &other.resource, &other.origin)
    }

    /// Its secret, opened for one request.
    pub(super) async fn open(&self, platform: &Platform, tx: &mut TenantTx) -> Result<Option<Plaintext>> {
        let Some(sealed) = &self.sealed else { return Ok(None) };
        let keys = vault::find(tx, &platform.master_key).await?;
        let keys = keys.ok_or_else(|| Error::internal("the key of a client secret is gone"))?;
        let bytes = keys.open(&place(tx.tenant(), self.source, self.token_url.as_str()), sealed).map_err(Error::internal)?;
        Ok(Some(Plaintext::new(std::str::from_utf8(&bytes).map_err(Error::internal)?.to_owned())))
    }
}

/// A client secret is bound to the endpoint that it is sent to.
pub(super) fn place(tenant: TenantId, source: SourceId, token_url: &str) -> String {
    format!("{tenant}|connection_providers|{source}|{token_url}")
}

/// The provider of a source; `None`: it has one credential for the tenant.
pub async fn find_provider(platform: &Platform, actor: &Member, source: SourceId) -> Result<Option<Provider>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find_provider(&mut tx, source).await
}

/// From now on each person uses their own account at that source. The provider is asked who it is where that is not said; people are asked
/// to connect again if it is another one. Whoever sets it is whose account reads the source's lists.
pub async fn set_provider(platform: &Platform, actor: &Member, source: SourceId, new: NewProvider) -> Result<Provider> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let row = store::find_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let before = store::find_provider(&mut tx, source).await?;
    tx.commit().await?;
    if !matches!(row.kind.as_str(), "mcp" | "api") {
        return Err(Error::conflict("This source is built in; nobody needs an account for it."));
    }
    let url = Url::parse(&row.url).map_err(Error::internal)?;
    let Draft { mut provider, secret } = draft(platform, source, &url, row.kind == "mcp", new, before.as_ref()).await?;
    provider.reader = Some(actor.user);

    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let row = store::hold_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    if row.url != url.as_str() {
        return Err(Error::conflict("The source was changed meanwhile. Open it again and repeat your change."));
    }
    let before = store::find_provider(&mut tx, source).await?;
    let is_same = before.as_ref().is_some_and(|before| before.is_same(&provider));
    provider.sealed = match secret {
        Some(secret) => {
            let keys = vault::get_or_create(&mut tx, &platform.master_key, uuid_v7(now)).await?;
            Some(keys.seal(&place(actor.tenant, source, provider.token_url.as_str()), secret.reveal().as_bytes()))
        }
        // A secret goes where it was meant to go and to nobody else.
        None if is_same => before.and_then(|before| before.sealed),
        None => None,
    };
    if provider.sealed.is_none() && provider.authentication != Authentication::None {
        return Err(Error::invalid("client_secret", "enter the client secret that the provider gave, or choose “None”"));
    }
    if provider.authentication == Authentication::None {
        provider.sealed = None;
    }
    if !is_same {
        store::delete_connections(&mut tx, source).await?;
    }
    store::upsert_provider(&mut tx, &provider, now).await?;
    store::new_edition(&mut tx, source).await?;
    audit::append(&mut tx, now, actor, &Event::ConnectionProviderSet(source)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(provider)
}

/// Goes back to one credential for the tenant. All connections end.
pub async fn remove_provider(platform: &Platform, actor: &Member, source: SourceId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::hold_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    if !store::delete_provider(&mut tx, source).await? {
        return Ok(());
    }
    store::new_edition(&mut tx, source).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ConnectionProviderRemoved(source)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// How many people are connected, and how many were and have to connect again.
pub async fn count(platform: &Platform, actor: &Member, source: SourceId) -> Result<(i64, i64)> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::count(&mut tx, source).await
}

/// Whom people's tokens of that source may be sent to; `None` if it has no accounts of people.
pub(crate) async fn origin_of(tx: &mut TenantTx, source: SourceId) -> Result<Option<String>> {
    Ok(store::find_provider(tx, source).await?.map(|provider| provider.origin))
}

/// Whom people have their accounts with, and whose of them reads the source's lists.
pub(crate) async fn reader_of(tx: &mut TenantTx, source: SourceId) -> Result<Option<Provider>> {
    store::find_provider(tx, source).await
}

/// The tenant's providers.
pub(crate) async fn load(tx: &mut TenantTx) -> Result<Vec<Provider>> {
    store::list_providers(tx).await
}

async fn draft(
    platform: &Platform,
    source: SourceId,
    url: &Url,
    is_mcp: bool,
    new: NewProvider,
    before: Option<&Provider>,
) -> Result<Draft> {
    new.check()?;
    let origin = url.origin().ascii_serialization();
    if new.authorization_url.is_empty() && new.token_url.is_empty() {
        return find(platform, source, url, origin, new).await;
    }
    let address = |field: &str, text: &str| read_url(platform, field, text);
    let authorization_url = address("authorization_url", &new.authorization_url)?;
    let token_url = address("token_url", &new.token_url)?;
    let revocation_url = match new.revocation_url.as_str() {
        "" => None,
        text => Some(address("revocation_url", text)?),
    };
    if new.client_id.is_empty() {
        return Err(Error::invalid("client_id", "enter the client id that the provider gave"));
    }
    let authentication = match (new.authentication.as_str(), &new.client_secret) {
        ("", Some(_)) => Authentication::Basic,
        ("", None) => Authentication::None,
        (text, _) => text.parse()?,
    };
    let issuer = Some(new.issuer).filter(|issuer| !issuer.is_empty());
    // What discovery found stays true while it is the same server.
    let names_itself = before.is_some_and(|before| before.names_itself && before.issuer == issuer);
    let resource = match new.resource.as_str() {
        "" if is_mcp => url.to_string(),
        text => text.to_owned(),
    };
    let provider = Provider {
        source,
        origin,
        issuer,
        names_itself,
        authorization_url,
        token_url,
        revocation_url,
        client_id: new.client_id,
        sealed: None,
        authentication,
        scopes: new.scopes,
        resource,
        reader: None,
    };
    Ok(Draft { provider, secret: new.client_secret })
}

/// By asking the source: who protects it, and where a client can be registered.
async fn find(platform: &Platform, source: SourceId, url: &Url, origin: String, new: NewProvider) -> Result<Draft> {
    let by_hand = |why: &str| {
        Error::invalid(
            "authorization_url",
            format!("The provider cannot be found by asking the source: {why}. Enter it by hand."),
        )
    };
    let found = discovery::discover(platform, url).await.map_err(|fault| by_hand(&fault.to_string()))?;
    let scopes = if new.scopes.is_empty() { found.scopes.join(" ") } else { new.scopes };
    let Found { metadata, resource, .. } = found;
    let (client_id, secret, authentication) = if new.client_id.is_empty() {
        let Some(endpoint) = &metadata.registration_endpoint else {
            let message = "The provider registers no clients by itself: register one there, and enter its client id.";
            return Err(Error::invalid("client_id", message));
        };
        let client = discovery::register(platform, endpoint, &metadata, &scopes).await;
        client.map_err(|fault| Error::invalid("client_id", format!("A client cannot be registered: {fault}.")))?
    } else {
        let authentication = if new.client_secret.is_some() { metadata.authentication() } else { Authentication::None };
        (new.client_id, new.client_secret, authentication)
    };
    if !is_scopes(&scopes) || resource.len() > MOST_TEXT || metadata.issuer.len() > MOST_NAME {
        return Err(by_hand("what it says of itself is too long, or no scope"));
    }
    let provider = Provider {
        source,
        origin,
        issuer: Some(metadata.issuer),
        names_itself: metadata.names_itself,
        authorization_url: metadata.authorization_endpoint,
        token_url: metadata.token_endpoint,
        revocation_url: metadata.revocation_endpoint,
        client_id,
        sealed: None,
        authentication,
        scopes,
        resource,
        reader: None,
    };
    Ok(Draft { provider, secret })
}

impl NewProvider {
    fn check(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let mut keep = |field: &str, message: &str| {
            wrong.push(FieldError { field: field.to_owned(), message: message.to_owned() });
        };
        let is_visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        for (field, text) in [("issuer", &self.issuer), ("client_id", &self.client_id)] {
            if text.len() > MOST_NAME || !is_visible(text) {
                keep(field, "expected at most 500 visible ASCII characters without spaces");
            }
        }
        if !is_scopes(&self.scopes) {
            keep("scopes", "expected scopes separated by single spaces, without quotes and backslashes");
        }
        if !self.resource.is_empty() && (self.resource.len() > MOST_TEXT || !is_resource(&self.resource)) {
            keep("resource", "expected an absolute URL without a fragment");
        }
        if self.authorization_url.is_empty() != self.token_url.is_empty() {
            let field = if self.token_url.is_empty() { "token_url" } else { "authorization_url" };
            keep(field, "enter both, or none to have the provider found");
        }
        if self.client_secret.as_ref().is_some_and(|secret| secret.reveal().len() > MOST_NAME || !is_visible(secret.reveal())) {
            keep("client_secret", "expected at most 500 visible ASCII characters without spaces");
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Invalid(wrong))) }
    }
}

/// RFC 6749 §3.3; an empty text is no scope at all.
pub(super) fn is_scopes(text: &str) -> bool {
    text.len() <= MOST_TEXT && text.bytes().all(|b| matches!(b, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn is_resource(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

/// An address of a provider. Requests of ours leave for public hosts only; people are sent to `https` ones only, where we are.
fn read_url(platform: &Platform, field: &str, text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let url = url.filter(|_| text.len() <= MOST_NAME);
    let url = url.ok_or_else(|| Error::invalid(field, "expected a URL such as https://login.example.com/authorize"))?;
    check_reach(platform, &url).map_err(|()| {
        Error::invalid(field, "providers are reached on public hosts only, by https://; the operator can allow others")
    })?;
    Ok(url)
}

pub(super) fn check_reach(platform: &Platform, url: &Url) -> Result<(), ()> {
    platform.egress.check(url).map_err(|_| ())
}
