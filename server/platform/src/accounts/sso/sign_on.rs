//! Signing on: to the provider with state, nonce and PKCE that are kept on our side, and back in the same browser.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    CALLBACK, Session,
    connection::{self, Connection},
    provider::{Claims, Client, Provider, Question},
    store,
};
use crate::{
    Platform,
    accounts::{Browser, EmailAddress, TenantSlug, account::tell, attempt, password::NO_PASSWORD, session::Draft},
    actor::{Member, Role},
    audit::{self, Difference, Event},
    db::SystemTx,
    error::{Error, Result},
    ids::{TenantId, UserId},
    mail::AccountChange,
    quota::attempts::{self, Attempt},
    random,
    secret::Plaintext,
};

/// Whose provider.
#[derive(Debug, Clone)]
pub enum Through {
    /// The installation's.
    Installation,
    /// That of the tenant with the slug.
    Tenant(TenantSlug),
}

/// What the provider sent a person back with.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// What ties it to the question.
    pub state: Option<String>,
    /// What it is worth.
    pub code: Option<String>,
    /// Who says so (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub enum SignOn {
    /// A session, and where to go on.
    Done {
        /// The cookie's secret.
        secret: Plaintext,
        /// A path, as it was given at the beginning.
        next: String,
    },
    /// Nobody was signed in.
    Refused(Refusal),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Never begun here, begun in another browser, answered already, or too late.
    NotBegunHere,
    /// It comes from another provider than the one that was asked.
    OtherIssuer,
    /// The provider, or what it said, cannot be used; the text says why.
    Provider(String),
    /// The person said no there, or the provider did.
    Declined,
    /// The provider does not vouch for the address.
    Unverified,
    /// The address is of a domain that the provider may not vouch for.
    OtherDomain,
    /// The person is in no group that has a role.
    NoRole,
    /// The identity is somebody else's than who is signed in.
    OtherPerson,
}

/// What is kept of an attempt.
#[derive(Serialize, Deserialize)]
struct Kept {
    tenant: Option<uuid::Uuid>,
    issuer: String,
    nonce: String,
    verifier: String,
    next: String,
    /// Who was signed in, and so asked for their identity to be linked.
    user: Option<uuid::Uuid>,
}

/// Whose word it is, and how far it goes.
struct Trust {
    tenant: Option<TenantId>,
    issuer: Url,
    client_id: String,
    secret: Plaintext,
    domains: Vec<String>,
    connection: Option<Connection>,
}

impl Trust {
    async fn of_tenant(platform: &Platform, tenant: TenantId) -> Result<Option<Self>> {
        let mut tx = platform.db.tenant(tenant).await?;
        let Some(row) = store::find_connection(&mut tx).await? else { return Ok(None) };
        let secret = connection::open(platform, &mut tx, &row).await?;
        tx.commit().await?;
        let connection = connection::read(&row)?;
        let (issuer, client_id, domains) = (connection.issuer.clone(), connection.client_id.clone(), connection.domains.clone());
        Ok(Some(Self { tenant: Some(tenant), issuer, client_id, secret, domains, connection: Some(connection) }))
    }

    fn of_installation(platform: &Platform) -> Option<Self> {
        let settings = platform.settings.sso.clone()?;
        Some(Self {
            tenant: None,
            issuer: settings.issuer,
            client_id: settings.client_id,
            secret: settings.client_secret,
            domains: settings.domains,
            connection: None,
        })
    }

    fn client(&self) -> Client<'_> {
        Client { id: &self.client_id, secret: &self.secret }
    }

    fn groups_claim(&self) -> &str {
        self.connection.as_ref().map_or("", |connection| connection.groups_claim.as_str())
    }

    /// The address that the provider says is verified, if it may say so of that domain.
    fn vouches(&self, claims: &Claims) -> Result<EmailAddress, Refusal> {
        let email = claims.email.as_deref().and_then(|text| EmailAddress::parse(text).ok());
        let email = email.filter(|_| claims.is_email_verified()).ok_or(Refusal::Unverified)?;
        let domain = email.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
        let any = self.tenant.is_none() && self.domains.is_empty();
        if any || self.domains.iter().any(|allowed| allowed == domain) { Ok(email) } else { Err(Refusal::OtherDomain) }
    }
}

fn redirect_uri(platform: &Platform) -> String {
    format!("{}{CALLBACK}", platform.settings.public_url.origin().ascii_serialization())
}

/// Begins: where to send the person. `None` if there is no such provider, or no such tenant.
pub async fn begin_sign_on(
    platform: &Platform,
    through: &Through,
    session: Option<&Session>,
    next: &str,
    from: &Browser,
    browser: &Plaintext,
) -> Result<Option<Url>> {
    attempts::check(platform, Attempt::LoginFromIp, &from.from.to_string()).await?;
    let trust = match through {
        Through::Installation => Trust::of_installation(platform),
        Through::Tenant(slug) => {
            let mut tx = platform.db.system().await?;
            let tenant = store::find_tenant(&mut tx, slug).await?;
            tx.commit().await?;
            match tenant {
                Some(tenant) => Trust::of_tenant(platform, tenant).await?,
                None => None,
            }
        }
    };
    let Some(trust) = trust else { return Ok(None) };
    let provider =
        Provider::discover(platform, &trust.issuer).await.map_err(|fault| Error::unavailable("identity provider", fault))?;
    let kept = Kept {
        tenant: trust.tenant.map(TenantId::uuid),
        issuer: provider.issuer.clone(),
        nonce: random::base62(43),
        verifier: random::base62(64),
        next: next.to_owned(),
        user: session.filter(|session| session.limited_to.is_none()).map(|session| session.user.uuid()),
    };
    let mut tx = platform.db.system().await?;
    let state = attempt::keep(platform, &mut tx, "sso", browser, &kept).await?;
    tx.commit().await?;
    let question = Question {
        state: &state,
        nonce: &kept.nonce,
        verifier: &kept.verifier,
        redirect_uri: &redirect_uri(platform),
        groups_claim: trust.groups_claim(),
    };
    Ok(Some(provider.authorization_url(&trust.client(), &question)))
}

/// Ends: a session, or why there is none.
pub async fn finish_sign_on(
    platform: &Platform,
    answer: Answer,
    current: Option<(&Plaintext, &Session)>,
    from: &Browser,
    browser: &Plaintext,
) -> Result<SignOn> {
    let refused = |refusal| Ok(SignOn::Refused(refusal));
    let Some(state) = answer.state.map(Plaintext::new) else { return refused(Refusal::NotBegunHere) };
    let mut tx = platform.db.system().await?;
    let kept: Option<Kept> = attempt::take(platform, &mut tx, "sso", browser, &state).await?;
    // Used up, whatever becomes of it.
    tx.commit().await?;
    let Some(kept) = kept else { return refused(Refusal::NotBegunHere) };
    let trust = match kept.tenant {
        Some(tenant) => Trust::of_tenant(platform, TenantId::from_uuid(tenant)).await?,
        None => Trust::of_installation(platform),
    };
    let Some(trust) = trust else { return refused(Refusal::NotBegunHere) };
    let provider = match Provider::discover(platform, &trust.issuer).await {
        Ok(provider) => provider,
        Err(fault) => return refused(Refusal::Provider(fault.to_string())),
    };
    let is_same = answer.iss.as_ref().map_or(!provider.names_itself, |issuer| *issuer == kept.issuer);
    if !is_same || provider.issuer != kept.issuer {
        return refused(Refusal::OtherIssuer);
    }
    let (None, Some(code)) = (answer.error, answer.code) else { return refused(Refusal::Declined) };
    let question = Question {
        state: &state,
        nonce: &kept.nonce,
        verifier: &kept.verifier,
        redirect_uri: &redirect_uri(platform),
        groups_claim: "",
    };
    let claims = match provider.redeem(platform, &trust.client(), &question, &code).await {
        Ok(claims) => claims,
        Err(fault) => return refused(Refusal::Provider(fault.to_string())),
    };
    let current = current.filter(|(_, session)| session.limited_to.is_none());
    let asked_by = kept.user.map(UserId::from_uuid).filter(|user| current.is_some_and(|(_, session)| session.user == *user));
    let mut tx = platform.db.system().await?;
    let (user, tx) = match find_person(platform, &mut tx, &provider.issuer, &trust, &claims, asked_by).await? {
        Ok(Person { user, tell_them: None }) => (user, tx),
        Ok(Person { user, tell_them: Some(email) }) => {
            let tx = tx.act_for(user).await?;
            (user, tell(platform, tx, user, email, AccountChange::IdentityLinked).await?)
        }
        Err(refusal) => return refused(refusal),
    };
    let tx = match enter(platform, tx, &trust, &claims, user).await? {
        Ok(tx) => tx,
        Err(refusal) => return refused(refusal),
    };
    let secret = begin_session(platform, tx, trust.tenant, user, current, from).await?;
    Ok(SignOn::Done { secret, next: kept.next })
}

struct Person {
    user: UserId,
    /// The address of an account that existed before, and has just been linked.
    tell_them: Option<EmailAddress>,
}

/// Who the claims are about. Known: by issuer and subject, and by nothing else. Unknown: whoever is signed in and asked for it; else by an
/// address that the provider vouches for and may; else somebody new with such an address.
async fn find_person(
    platform: &Platform,
    tx: &mut SystemTx,
    issuer: &str,
    trust: &Trust,
    claims: &Claims,
    asked_by: Option<UserId>,
) -> Result<Result<Person, Refusal>> {
    if let Some(user) = store::find_identity(tx, issuer, &claims.sub).await? {
        let is_other = asked_by.is_some_and(|asked_by| asked_by != user);
        return Ok(if is_other { Err(Refusal::OtherPerson) } else { Ok(Person { user, tell_them: None }) });
    }
    let email = match trust.vouches(claims) {
        Ok(email) => email,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let now = platform.clock.now();
    let known = match asked_by {
        Some(user) => Some(user),
        None => store::find_user(tx, &email).await?.map(|row| row.id),
    };
    let user = known.unwrap_or_else(|| UserId::new(now));
    if known.is_none() && !store::insert_user(tx, user, email.as_str(), NO_PASSWORD, now).await? {
        return Err(Error::conflict("Somebody signed up with this address at the same time. Try again."));
    }
    if !store::insert_identity(tx, issuer, &claims.sub, user, now).await? {
        return Err(Error::conflict("This was done twice at the same time. Try again."));
    }
    let tell_them = match known {
        Some(user) => Some(EmailAddress::parse(&store::get_user(tx, user).await?.0)?),
        None => None,
    };
    Ok(Ok(Person { user, tell_them }))
}

/// Makes the person a member of the tenant whose provider it is, or what their groups make them now. Owners stay owners.
async fn enter(
    platform: &Platform,
    tx: SystemTx,
    trust: &Trust,
    claims: &Claims,
    user: UserId,
) -> Result<Result<SystemTx, Refusal>> {
    let (Some(tenant), Some(connection)) = (trust.tenant, &trust.connection) else { return Ok(Ok(tx)) };
    let (role, by_group) = connection.role_of(&claims.groups(&connection.groups_claim));
    let now = platform.clock.now();
    let mut tx = tx.enter(tenant).await?;
    match (store::lock_role(&mut tx, user).await?, role) {
        (None, None) => return Ok(Err(Refusal::NoRole)),
        (None, Some(role)) => {
            if let Err(refusal) = trust.vouches(claims) {
                return Ok(Err(refusal));
            }
            store::insert_membership(&mut tx, user, role, now).await?;
            audit::append(&mut tx, now, &Member { user, tenant, role }, &Event::MemberJoined(user, role)).await?;
        }
        (Some(before), Some(role)) if by_group && before != role && before != Role::Owner => {
            store::update_membership(&mut tx, user, role).await?;
            store::delete_invitations_by(&mut tx, user).await?;
            let event = Event::MemberRoleChanged(user, role, Difference::default().of("role", before, role));
            audit::append(&mut tx, now, &Member { user, tenant, role }, &event).await?;
        }
        _ => {}
    }
    tx.leave().await.map(Ok)
}

/// A session of one's own goes on, vouched for; else there is a new one: for everything if the installation's provider says so, for one
/// tenant if that tenant's does.
async fn begin_session(
    platform: &Platform,
    mut tx: SystemTx,
    tenant: Option<TenantId>,
    user: UserId,
    current: Option<(&Plaintext, &Session)>,
    from: &Browser,
) -> Result<Plaintext> {
    let draft = Draft::new(from);
    if let (Some(tenant), Some((old, session))) = (tenant, current)
        && session.user == user
        && store::sign_session_on(&mut tx, old.digest(), draft.secret.digest(), tenant).await?
    {
        tx.commit().await?;
        return Ok(draft.secret);
    }
    let signed_on: Vec<TenantId> = tenant.into_iter().collect();
    let session = store::NewSession { limited_to: tenant, signed_on: &signed_on, ..draft.session(platform, user, "sso") };
    if !store::insert_session(&mut tx, &session, platform.clock.now()).await? {
        return Err(Error::not_found("account"));
    }
    tx.commit().await?;
    Ok(draft.secret)
}
