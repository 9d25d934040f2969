//! The demo tenant: made at the first start, kept afterwards. What is shown once elsewhere is kept in a private file here, because the
//! whole installation is for showing.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trunkline_platform::{
    Platform, Result,
    accounts::{self, TenantSlug},
    actor::{Member, Role},
    agents::{self, MAX_KEY_DAYS, NewAgent, NewKey},
    catalog::{
        self, AnswerShape, Builtin, Executor, HttpMethod, HttpTool, NewVersion, Parameter, ParameterType, Place, Price,
        SecretChange, ToolName, UrlTemplate,
    },
    error::ErrorKind,
    ids::{AgentId, TenantId, ToolId, UserId},
    publishing::{self, Subject, Terms},
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
const SCOPES: &str = "tools:read tools:write";

/// What there is to announce.
#[derive(Debug)]
pub(super) struct Seeded {
    pub(super) tenant: String,
    pub(super) email: String,
    pub(super) password: String,
    pub(super) agent_id: AgentId,
    pub(super) api_key: Plaintext,
}

/// What the first start made, for the next ones.
#[derive(Debug, Serialize, Deserialize)]
struct Planted {
    tenant: TenantId,
    user: UserId,
    agent: AgentId,
    api_key: String,
    weather: ToolId,
    upstream: SocketAddr,
}

impl Planted {
    fn owner(&self) -> Member {
        Member { user: self.user, tenant: self.tenant, role: Role::Owner }
    }
}

/// Makes the demo tenant the first time. `upstream` is where the sample upstream listens now.
pub(super) async fn plant(platform: &Platform, dir: &StateDir, upstream: SocketAddr) -> anyhow::Result<Seeded> {
    let file = dir.file(FILE);
    let password = kept_secret(&dir.file(PASSWORD), || Plaintext::new(random::base62(16)))?;
    let planted = match earlier(platform, &file).await? {
        Some(mut planted) => {
            follow(platform, &mut planted, upstream).await.context("the sample tool cannot follow its upstream")?;
            planted
        }
        None => match first(platform, &password, upstream).await {
            Ok(planted) => planted,
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                anyhow::bail!("an earlier first start was cut short; start over with --fresh")
            }
            Err(error) => return Err(error).context("the demo tenant cannot be made"),
        },
    };
    write_private(&file, &serde_json::to_string(&planted)?)?;
    Ok(Seeded {
        tenant: SLUG.to_owned(),
        email: EMAIL.to_owned(),
        password: password.reveal().to_owned(),
        agent_id: planted.agent,
        api_key: Plaintext::new(planted.api_key),
    })
}

/// What an earlier start made, if the database still knows of it.
async fn earlier(platform: &Platform, file: &Path) -> anyhow::Result<Option<Planted>> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(None) };
    let planted: Planted = serde_json::from_str(&text)
        .with_context(|| format!("{} is of another version; start over with --fresh", file.display()))?;
    match agents::get(platform, &planted.owner(), planted.agent).await {
        Ok(_) => Ok(Some(planted)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound(_)) => Ok(None),
        Err(error) => Err(error).context("the demo agent cannot be looked up"),
    }
}

async fn first(platform: &Platform, password: &Plaintext, upstream: SocketAddr) -> Result<Planted> {
    let slug: TenantSlug = SLUG.parse().map_err(trunkline_platform::Error::internal)?;
    let (user, tenant) = accounts::create_verified_user(platform, EMAIL, password, "Demo", &slug).await?;
    let owner = Member { user, tenant, role: Role::Owner };
    for (title, builtin, description) in [
        ("Echo", Builtin::Echo, "Gives its text back. Good for a first call."),
        ("Current time", Builtin::Time, "Tells the current time."),
    ] {
        let new = version(title, description, Executor::Builtin { name: builtin });
        catalog::create(platform, &owner, ToolName::parse(builtin.as_str())?, new).await?;
    }
    let weather = catalog::create(platform, &owner, ToolName::parse("weather")?, weather(upstream)?).await?.id;
    // Its page and the status page show from the beginning what probes are.
    let arguments = serde_json::json!({ "city": "Lisbon" }).as_object().cloned();
    publishing::set_terms(platform, &owner, Subject::Tool(weather), &Terms { arguments, ..Terms::default() }).await?;
    let agent = agents::create(platform, &owner, NewAgent::parse("Demo agent", "Made by trunkline dev.", SCOPES)?).await?.id;
    let key = agents::create_key(platform, &owner, agent, NewKey::parse("trunkline dev", SCOPES, MAX_KEY_DAYS)?).await?;
    Ok(Planted { tenant, user, agent, api_key: key.text.reveal().to_owned(), weather, upstream })
}

/// The upstream keeps its port if it can. If it could not, the tool gets a new version that points to the new one.
async fn follow(platform: &Platform, planted: &mut Planted, upstream: SocketAddr) -> Result<()> {
    if planted.upstream == upstream {
        return Ok(());
    }
    let owner = planted.owner();
    match catalog::get(platform, &owner, planted.weather).await {
        Ok(tool) => {
            catalog::publish(platform, &owner, tool.id, tool.version.number, weather(upstream)?).await?;
        }
        // Deleted by hand: not ours to bring back.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    planted.upstream = upstream;
    Ok(())
}

fn weather(upstream: SocketAddr) -> Result<NewVersion> {
    let parameter = |name: &str, place, required, description: &str| Parameter {
        name: name.to_owned(),
        place,
        kind: ParameterType::String,
        required,
        description: description.to_owned(),
        default: None,
    };
    let tool = HttpTool {
        method: HttpMethod::Get,
        url: UrlTemplate::parse(&format!("http://{upstream}/weather/{{city}}"))?,
        parameters: vec![
            parameter("city", Place::Path, true, "Name of the city, such as Lisbon."),
            parameter("units", Place::Query, false, "metric or imperial; metric if left out."),
        ],
        secret_header: None,
        timeout_ms: 5_000,
        answer: AnswerShape::default(),
    };
    let version = version("Weather", "Tells the weather in a city: temperature and sky.", Executor::Http(tool));
    // A quarter of a thousandth, so that the dashboard has a cost to show.
    Ok(NewVersion { price: Price::per_call(250), ..version })
}

fn version(title: &str, description: &str, executor: Executor) -> NewVersion {
    NewVersion {
        title: title.to_owned(),
        description: description.to_owned(),
        effect: Effect::Read,
        executor,
        secret: SecretChange::Remove,
        price: Price::default(),
        limits: None,
    }
}
