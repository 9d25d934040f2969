//! The authorization endpoint: who asks, whether it may, what the person is asked, and the code that comes of the answer.
//!
//! Three stages. `trust`: the client and where its answer goes; before that is known, nothing may be sent anywhere. `Trusted::read`: what it
//! wants; what is wrong with it is told to the client. `ask` and `decide`: what this person may let it do.

use chrono::TimeDelta;
use trunkline_protocol::oauth::{
    authorize::{self, Addressee, Prompt, Wish},
    error::{Cause, ErrorCode, OAuthError},
    parameters::Parameters,
    redirect_uri::{self, Kind},
    scope::{Effect, Scope, ScopeSet},
};

use super::{
    Client, ClientKind, ClientState, Endpoint, Failure,
    client::{self, meet},
    grant::{
        NewCode, issue_code,
        store::{self, Subject},
    },
    issuer,
};
use crate::{
    Platform,
    accounts::{self, Membership, Session},
    actor::{Member, Permission},
    agents::{self, Agent, AgentState, NewAgent},
    catalog::snapshot::{Current, LoadedTool},
    db::TenantTx,
    error::{Error, ErrorKind, Result},
    ids::{AgentId, ClientId, UserId},
    secret::Plaintext,
};

/// For how many hours a grant may be given.
pub const HOURS: [i32; 3] = [8, 30 * 24, 90 * 24];
/// Names of tools that are shown for a scope.
const MOST_NAMES: usize = 12;

/// A request whose client is known and whose redirect URI is the client's: errors may be sent there from now on.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Who asks.
    pub client: Client,
    /// Where the answer goes.
    pub redirect_uri: String,
    redirect_named: bool,
    state: Option<String>,
    parameters: Parameters,
}

/// What it wants, well formed.
#[derive(Debug, Clone)]
pub struct Asked {
    wish: Wish,
    /// The endpoint it is for. `None`: an old client that does not say.
    endpoint: Option<Endpoint>,
}

/// What comes of a request.
#[derive(Debug)]
pub enum Decision {
    /// The same was allowed before: a code.
    Allowed(Plaintext),
    /// The person is asked.
    Ask(Box<Question>),
    /// An old client did not say for which endpoint, and there are several: their URLs with the names of their tenants.
    Choose(Vec<(String, String)>),
}

/// What the person is asked.
#[derive(Debug)]
pub struct Question {
    /// The tenant's name.
    pub tenant: String,
    /// Its name in URLs.
    pub slug: String,
    /// The toolset, if it is for one.
    pub toolset: Option<String>,
    /// The endpoint.
    pub resource: String,
    /// As whom the client may act.
    pub agents: Vec<AgentChoice>,
    /// May the person make an agent for it?
    pub may_create: bool,
    /// What each scope opens.
    pub scopes: Vec<OpenedScope>,
    /// Hours that are chosen beforehand.
    pub hours: i32,
}

/// An agent to choose.
#[derive(Debug)]
pub struct AgentChoice {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// The most it may do.
    pub scopes: ScopeSet,
    /// Was it chosen the last time?
    pub chosen: bool,
}

/// A scope, and what it opens at this endpoint.
#[derive(Debug)]
pub struct OpenedScope {
    /// The scope.
    pub scope: Scope,
    /// How many tools, prompts or resources.
    pub count: usize,
    /// Some of their names.
    pub names: Vec<String>,
    /// Does the client ask for it?
    pub asked: bool,
    /// Was it allowed before?
    pub before: bool,
}

/// What the person says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// An agent that is there, or the name of a new one.
    pub agent: Result<AgentId, String>,
    /// What it may use.
    pub scopes: Vec<Scope>,
    /// For how long.
    pub hours: i32,
}

impl Answer {
    /// Reads a form; names the field that does not fit.
    pub fn parse(agent: &str, new_agent: &str, scopes: &[&str], hours: &str) -> Result<Self> {
        let agent = match agent {
            "new" => Err(new_agent.to_owned()),
            id => Ok(id.parse().map_err(|_| Error::invalid("agent", "choose one"))?),
        };
        let scopes: std::result::Result<Vec<Scope>, _> = scopes.iter().map(|scope| scope.parse()).collect();
        let scopes = scopes.map_err(|error| Error::invalid("scopes", error.to_string()))?;
        if scopes.is_empty() {
            return Err(Error::invalid("scopes", "choose at least one, or do not allow it"));
        }
        let hours = hours.parse().ok().filter(|hours| HOURS.contains(hours));
        Ok(Self { agent, scopes, hours: hours.ok_or_else(|| Error::invalid("hours", "choose one"))? })
    }
}

/// Who asks, and where the answer goes. What is wrong here is shown to the person and sent nowhere.
pub async fn trust(platform: &Platform, query: &str) -> Result<Trusted, Failure> {
    let parameters = Parameters::parse(query)?;
    let addressee = Addressee::parse(&parameters)?;
    let client = client::find(platform, &addressee.client_id).await?;
    let client = client
        .ok_or_else(|| OAuthError::new(ErrorCode::InvalidClient, "the client is not known here").because(Cause::UnknownClient))?;
    let redirect_named = addressee.redirect_uri.is_some();
    let redirect_uri = client.redirect_uri(addressee.redirect_uri.as_deref()).map(str::to_owned).ok_or_else(|| {
        OAuthError::new(ErrorCode::InvalidRequest, "redirect_uri is not one that the client has registered")
            .because(Cause::RedirectMismatch)
    })?;
    Ok(Trusted { client, redirect_uri, redirect_named, state: addressee.state, parameters })
}

impl Trusted {
    /// What it wants.
    pub async fn read(&self, platform: &Platform) -> Result<Asked, Failure> {
        let wish = Wish::parse(&self.parameters)?;
        if wish.scopes.as_ref().is_some_and(Vec::is_empty) && self.asks_for_ours() {
            return Err(Failure::refuse(ErrorCode::InvalidScope, "none of these scopes exists here"));
        }
        let Some(resource) = &wish.resource else { return Ok(Asked { wish, endpoint: None }) };
        let endpoint = Endpoint::parse(platform, resource)?;
        // Which toolsets there are is nobody's business who has not signed in.
        snapshot_of(platform, &Endpoint { toolset: None, ..endpoint.clone() }).await?;
        Ok(Asked { wish, endpoint: Some(endpoint) })
    }

    /// A scope of OpenID Connect alone asks for nothing of ours; anything else was meant to.
    fn asks_for_ours(&self) -> bool {
        let scope = self.parameters.get("scope").unwrap_or_default();
        scope.split(' ').any(|word| !matches!(word, "openid" | "profile" | "email" | "offline_access" | ""))
    }

    /// Where the browser goes with the answer.
    pub fn location(&self, platform: &Platform, outcome: Result<&str, &OAuthError>) -> String {
        authorize::answer(&self.redirect_uri, self.state.as_deref(), &issuer(platform), outcome)
    }

    /// Does the answer go to a program on the person's own computer? Any other program there could wait for it too.
    pub fn is_local(&self) -> bool {
        redirect_uri::judge(&self.redirect_uri).ok() != Some(Kind::Web)
    }
}

impl Asked {
    /// May nobody be asked?
    pub fn is_silent(&self) -> bool {
        self.wish.prompt == Prompt::None
    }

    /// The endpoint it is for, if it says so.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    fn scopes(&self) -> Vec<Scope> {
        match &self.wish.scopes {
            Some(scopes) if !scopes.is_empty() => scopes.clone(),
            _ => vec![Scope::Tools(Effect::Read)],
        }
    }
}

async fn snapshot_of(platform: &Platform, endpoint: &Endpoint) -> Result<Current, Failure> {
    let found = platform.snapshots.get(platform, endpoint.slug.as_str()).await?;
    let found = found.filter(|snapshot| endpoint.toolset.as_ref().is_none_or(|name| snapshot.toolset(name).is_some()));
    found.ok_or_else(|| Failure::refuse(ErrorCode::InvalidTarget, "resource is not an endpoint of this server"))
}

fn denied(cause: Cause, description: &str) -> Failure {
    OAuthError::new(ErrorCode::AccessDenied, description).because(cause).into()
}

/// The person at the endpoint, if they may let clients act there.
async fn enter(platform: &Platform, person: &Session, endpoint: &Endpoint) -> Result<(Membership, Member, Current), Failure> {
    let membership = match accounts::member(platform, person, &endpoint.slug).await {
        Ok((membership, _)) => membership,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound(_)) => {
            return Err(denied(Cause::NotAllowed, "the account that is signed in does not belong to this organisation"));
        }
        Err(error) => return Err(error.into()),
    };
    let snapshot = snapshot_of(platform, endpoint).await?;
    if !snapshot.active {
        return Err(denied(Cause::NotAllowed, "the organisation is suspended"));
    }
    let actor = membership.actor(person.user);
    if !actor.role.may(Permission::ManageKeys) {
        return Err(denied(
            Cause::NotAllowed,
            "the role of the account that is signed in does not allow letting clients act as agents",
        ));
    }
    Ok((membership, actor, snapshot))
}

/// The client as the tenant knows it, if members may use it.
async fn admit(platform: &Platform, tx: &mut TenantTx, actor: &Member, trusted: &Trusted) -> Result<Result<ClientId, Failure>> {
    let now = platform.clock.now();
    Ok(match meet(tx, now, actor, &trusted.client, &trusted.redirect_uri).await? {
        (Some(id), ClientState::Approved) => Ok(id),
        (_, ClientState::Pending) => {
            Err(denied(Cause::ClientNotAdmitted, "an administrator of the organisation has to approve this client first"))
        }
        _ => Err(denied(Cause::ClientNotAdmitted, "the organisation does not allow this client")),
    })
}

/// What comes of the request for this person.
pub async fn ask(platform: &Platform, person: &Session, trusted: &Trusted, asked: &Asked) -> Result<Decision, Failure> {
    let endpoint = match &asked.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => match only_endpoint(platform, person).await? {
            Ok(endpoint) => endpoint,
            Err(choices) => return Ok(Decision::Choose(choices)),
        },
    };
    let (membership, actor, snapshot) = enter(platform, person, &endpoint).await?;
    let resource = endpoint.url(platform);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let client = match admit(platform, &mut tx, &actor, trusted).await? {
        Ok(client) => client,
        Err(failure) => {
            // That it waits is kept.
            tx.commit().await?;
            return Err(failure);
        }
    };
    let about = Subject { user: person.user, client, redirect_uri: &trusted.redirect_uri, resource: &resource };
    let before = store::find_consent(&mut tx, &about).await?;
    let before_scopes = before.as_ref().map(|row| store::scopes(&row.scopes)).transpose()?.unwrap_or_default();
    let wanted = ScopeSet::new(asked.scopes());
    // Whoever registered itself can call itself anything, and a program on the person's computer can be another than it was.
    let must_ask = trusted.client.kind == ClientKind::Dynamic || trusted.is_local() || asked.wish.prompt == Prompt::Always;
    if let Some(row) = before.as_ref().filter(|_| !must_ask && before_scopes.covers(&wanted)) {
        let agent = snapshot.agent(row.agent_id).filter(|agent| agent.state == AgentState::Active);
        let scopes = agent.map(|agent| before_scopes.within(&agent.scopes)).filter(|scopes| scopes.covers(&wanted));
        if let Some(scopes) = scopes {
            let given = Given { user: person.user, client, agent: row.agent_id, scopes: &scopes, hours: row.hours };
            let code = give(platform, &mut tx, trusted, asked, &endpoint, &given).await?;
            tx.commit().await?;
            return Ok(Decision::Allowed(code));
        }
    }
    tx.commit().await?;
    if asked.is_silent() {
        return Err(Failure::refuse(ErrorCode::ConsentRequired, "somebody has to be asked"));
    }
    let last_agent = before.as_ref().map(|row| row.agent_id);
    let agents = agents::list(platform, &actor).await?;
    let agents = agents.into_iter().filter(|agent| agent.state == AgentState::Active);
    let choice = |Agent { id, name, scopes, .. }: Agent| AgentChoice {
        id,
        name: name.to_string(),
        scopes,
        chosen: last_agent == Some(id),
    };
    Ok(Decision::Ask(Box::new(Question {
        tenant: membership.name,
        slug: membership.slug.to_string(),
        agents: agents.map(choice).collect(),
        may_create: actor.role.may(Permission::ManageAgents),
        scopes: opened(&snapshot, &endpoint, &asked.scopes(), &before_scopes),
        hours: before.map_or(HOURS[1], |row| row.hours),
        toolset: endpoint.toolset,
        resource,
    })))
}

/// The endpoint of the only tenant in which the person may let clients act; else all of them.
async fn only_endpoint(platform: &Platform, person: &Session) -> Result<Result<Endpoint, Vec<(String, String)>>, Failure> {
    let memberships = accounts::memberships(platform, person).await?;
    let mut places: Vec<_> = memberships.into_iter().filter(|one| one.role.may(Permission::ManageKeys)).collect();
    if places.is_empty() {
        return Err(denied(Cause::NotAllowed, "the account that is signed in may not let clients act in any organisation"));
    }
    let endpoint = |one: &Membership| Endpoint { slug: one.slug.clone(), toolset: None };
    if places.len() == 1 {
        return Ok(Ok(endpoint(&places.remove(0))));
    }
    Ok(Err(places.iter().map(|one| (endpoint(one).url(platform), one.name.clone())).collect()))
}

/// What each scope opens at the endpoint: those everybody can ask for, and the single ones that were asked for.
fn opened(snapshot: &Current, endpoint: &Endpoint, asked: &[Scope], before: &ScopeSet) -> Vec<OpenedScope> {
    let toolset = endpoint.toolset.as_ref().and_then(|name| snapshot.toolset(name));
    let here = |tool: &&std::sync::Arc<LoadedTool>| toolset.is_none_or(|toolset| toolset.tools.contains(&tool.tool.id));
    let tools: Vec<_> = snapshot.tools().iter().filter(here).collect();
    let usual = Effect::ALL.into_iter().map(Scope::Tools).chain([Scope::ResourcesRead, Scope::PromptsRead]);
    let single = asked.iter().filter(|scope| matches!(scope, Scope::Tool(_) | Scope::Toolset(_))).take(50).cloned();
    let names_of = |scope: &Scope| -> Vec<String> {
        let tool_name = |tool: &&std::sync::Arc<LoadedTool>| tool.tool.name.as_str().to_owned();
        match scope {
            // Each line names what it adds to the one before.
            Scope::Tools(effect) => {
                tools.iter().copied().filter(|tool| tool.tool.version.effect == *effect).map(|t| tool_name(&t)).collect()
            }
            Scope::Tool(name) => {
                tools.iter().copied().filter(|tool| tool.tool.name.as_str() == name).map(|t| tool_name(&t)).collect()
            }
            Scope::Toolset(name) => match snapshot.toolset(name) {
                Some(toolset) => {
                    tools.iter().copied().filter(|tool| toolset.tools.contains(&tool.tool.id)).map(|t| tool_name(&t)).collect()
                }
                None => Vec::new(),
            },
            Scope::ResourcesRead => snapshot.resources().iter().map(|item| item.key.clone()).collect(),
            Scope::PromptsRead => snapshot.prompts().iter().map(|item| item.key.clone()).collect(),
        }
    };
    let wanted = ScopeSet::new(asked.iter().cloned());
    let open = |scope: Scope| {
        let mut names = names_of(&scope);
        let count = names.len();
        names.truncate(MOST_NAMES);
        let one = ScopeSet::new([scope.clone()]);
        OpenedScope { count, names, asked: wanted.covers(&one), before: before.covers(&one), scope }
    };
    usual.chain(single).map(open).collect()
}

/// The person allows it: the code.
pub async fn decide(
    platform: &Platform,
    person: &Session,
    trusted: &Trusted,
    asked: &Asked,
    resource: &str,
    answer: Answer,
) -> Result<Plaintext, Failure> {
    let endpoint = Endpoint::parse(platform, resource)?;
    if asked.endpoint.as_ref().is_some_and(|wanted| *wanted != endpoint) {
        return Err(Failure::refuse(ErrorCode::InvalidTarget, "resource is not that of the request"));
    }
    let (_, actor, _) = enter(platform, person, &endpoint).await?;
    let chosen = ScopeSet::new(answer.scopes);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let client = admit(platform, &mut tx, &actor, trusted).await??;
    // What a new agent is made in is a transaction of its own.
    tx.commit().await?;
    let (agent, scopes) = match answer.agent {
        Ok(id) => {
            let agent = agents::get(platform, &actor, id).await?;
            if agent.state != AgentState::Active {
                return Err(Error::invalid("agent", "this agent is suspended: choose another one").into());
            }
            let scopes = chosen.within(&agent.scopes);
            if scopes.is_empty() {
                let reason = format!("nothing of this is within what {} may use ({})", agent.name, agent.scopes);
                return Err(Error::invalid("scopes", reason).into());
            }
            (id, scopes)
        }
        Err(name) => {
            let new = NewAgent::parse(&name, &format!("Made for {}", trusted.client.name), &chosen.to_string());
            let created = match new {
                Ok(new) => agents::create(platform, &actor, new).await,
                Err(error) => Err(error),
            };
            (created.map_err(about_new_agent)?.id, chosen)
        }
    };
    let now = platform.clock.now();
    let resource = endpoint.url(platform);
    let about = Subject { user: person.user, client, redirect_uri: &trusted.redirect_uri, resource: &resource };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::keep_consent(&mut tx, &about, agent, &scopes, answer.hours, now).await?;
    client::store::touch(&mut tx, client, &trusted.client.name, now).await?;
    if trusted.client.kind == ClientKind::Dynamic {
        client::store::use_registration(&mut tx, &trusted.client.client_id, now).await?;
    }
    let given = Given { user: person.user, client, agent, scopes: &scopes, hours: answer.hours };
    let code = give(platform, &mut tx, trusted, asked, &endpoint, &given).await?;
    tx.commit().await?;
    Ok(code)
}

/// The field is called otherwise on this form.
fn about_new_agent(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Invalid(fields) if fields.iter().any(|field| field.field == "name") => {
            Error::invalid("new_agent", fields.first().map(|field| field.message.clone()).unwrap_or_default())
        }
        _ => error,
    }
}

struct Given<'a> {
    user: UserId,
    client: ClientId,
    agent: AgentId,
    scopes: &'a ScopeSet,
    hours: i32,
}

async fn give(
    platform: &Platform,
    tx: &mut TenantTx,
    trusted: &Trusted,
    asked: &Asked,
    endpoint: &Endpoint,
    given: &Given<'_>,
) -> Result<Plaintext> {
    let now = platform.clock.now();
    let new = NewCode {
        user: given.user,
        agent: given.agent,
        client: given.client,
        redirect_uri: &trusted.redirect_uri,
        redirect_named: trusted.redirect_named,
        challenge: &asked.wish.challenge,
        resource: &endpoint.url(platform),
        toolset: endpoint.toolset.as_deref(),
        scopes: given.scopes,
        grant_expires_at: now + TimeDelta::hours(i64::from(given.hours)),
    };
    issue_code(tx, now, &new).await
}
