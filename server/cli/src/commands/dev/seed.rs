//! The demo tenant: made at the first start, kept afterwards. What is shown once elsewhere is kept in a private file here, because the
//! whole installation is for showing.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trunkline_platform::{
    Platform,
    accounts::{self, TenantSlug},
    actor::{Member, Role},
    agents::{self, NewAgent, NewKey},
    catalog::{
        self, Builtin, Executor, HttpMethod, HttpTool, NewVersion, Parameter, ParameterType, Place, SecretChange, ToolName,
        UrlTemplate,
    },
    error::ErrorKind,
    ids::{AgentId, TenantId, ToolId, UserId},
    random,
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

use super::state::StateDir;
use crate::services::{kept_secret, write_private};

/// What the first start made.
pub(super) const FILE: &str = "seed.json";
/// The demo user's password.
pub(super) const PASSWORD: &str = "demo.password";
const EMAIL: &str = "demo@trunkline.example";
const SLUG: &str = "demo";
/// Life of the demo key, in days.
const KEY_DAYS: i64 = 365;

/// What there is to announce.
#[derive(Debug, Clone)]
pub(super) struct Seeded {
    pub(super) tenant: String,
    pub(super) email: String,
    pub(super) password: String,
    pub(super) agent_id: String,
    pub(super) api_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    tenant: TenantId,
    user: UserId,
    agent: AgentId,
    api_key: String,
    weather: ToolId,
}

/// Makes what is missing. `upstream` is where the sample upstream listens.
pub(super) async fn plant(platform: &Platform, dir: &StateDir, upstream: SocketAddr) -> anyhow::Result<Seeded> {
    let password = kept_secret(&dir.file(PASSWORD), || Plaintext::new(random::base62(16)))?;
    let made = made(platform, dir, &password, upstream).await.context("the demo tenant cannot be made")?;
    follow_upstream(platform, &made, upstream).await.context("the demo tool cannot follow its upstream")?;
    Ok(Seeded {
        tenant: SLUG.to_owned(),
        email: EMAIL.to_owned(),
        password: password.reveal().to_owned(),
        agent_id: made.agent.to_string(),
        api_key: made.api_key,
    })
}

async fn made(platform: &Platform, dir: &StateDir, password: &Plaintext, upstream: SocketAddr) -> anyhow::Result<Made> {
    let file = dir.file(FILE);
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text).with_context(|| format!("{} is broken; start over with --fresh", file.display()));
    }
    let slug = SLUG.parse::<TenantSlug>()?;
    let (user, tenant) = match accounts::create_verified_user(platform, EMAIL, password, "Demo", &slug).await {
        Ok(made) => made,
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            anyhow::bail!("an earlier first start was cut short; start over with --fresh")
        }
        Err(error) => return Err(error.into()),
    };
    let owner = Member { user, tenant, role: Role::Owner };
    let weather = tools(platform, &owner, upstream).await?;
    let scopes = "tools:read tools:write";
    let new = NewAgent::parse("Demo agent", "Calls the sample tools. Its key is printed when the platform starts.", scopes)?;
    let agent = agents::create(platform, &owner, new).await?;
    let key = agents::create_key(platform, &owner, agent.id, NewKey::parse("Demo key", scopes, KEY_DAYS)?).await?;
    let made = Made { tenant, user, agent: agent.id, api_key: key.text.reveal().to_owned(), weather };
    write_private(&file, &serde_json::to_string(&made)?)?;
    Ok(made)
}

/// Two built-in tools and one that calls the sample upstream.
async fn tools(platform: &Platform, owner: &Member, upstream: SocketAddr) -> anyhow::Result<ToolId> {
    let builtin = |name, title: &str, description: &str| NewVersion {
        title: title.to_owned(),
        description: description.to_owned(),
        effect: Effect::Read,
        executor: Executor::Builtin { name },
        secret: SecretChange::Remove,
        price_micro: 0,
    };
    let echo = builtin(Builtin::Echo, "Echo", "Gives the text back unchanged. Good for a first call.");
    catalog::create(platform, owner, ToolName::parse("echo")?, echo).await?;
    let time = builtin(Builtin::Time, "Current time", "Tells the current date and time, at an offset from UTC if one is given.");
    catalog::create(platform, owner, ToolName::parse("time")?, time).await?;
    Ok(catalog::create(platform, owner, ToolName::parse("weather")?, weather(upstream)?).await?.id)
}

fn weather(upstream: SocketAddr) -> anyhow::Result<NewVersion> {
    let parameter = |name: &str, place, required, description: &str| Parameter {
        name: name.to_owned(),
        place,
        kind: ParameterType::String,
        required,
        description: description.to_owned(),
        default: None,
    };
    let http = HttpTool {
        method: HttpMethod::Get,
        url: UrlTemplate::parse(&format!("http://{upstream}/weather/{{city}}"))?,
        parameters: vec![
            parameter("city", Place::Path, true, "Name of a city, such as Lisbon."),
            parameter("units", Place::Query, false, "metric (default) or imperial."),
        ],
        secret_header: None,
        timeout_ms: 5_000,
    };
    Ok(NewVersion {
        title: "Weather".to_owned(),
        description:
            "Tells the weather of a city: temperature and sky. An HTTP tool against the sample API that runs beside the platform."
                .to_owned(),
        effect: Effect::Read,
        executor: Executor::Http(http),
        secret: SecretChange::Remove,
        price_micro: 250,
    })
}

/// The upstream's port may have been taken meanwhile by another program; the tool goes where the upstream is.
async fn follow_upstream(platform: &Platform, made: &Made, upstream: SocketAddr) -> anyhow::Result<()> {
    let owner = Member { user: made.user, tenant: made.tenant, role: Role::Owner };
    let tool = catalog::get(platform, &owner, made.weather).await?;
    let Executor::Http(http) = &tool.version.executor else { return Ok(()) };
    if http.url.origin() != format!("http://{upstream}") && http.url.as_str().ends_with("/weather/{city}") {
        catalog::publish(platform, &owner, made.weather, tool.version.number, weather(upstream)?).await?;
    }
    Ok(())
}
