//! Tenants for the official conformance suite: one with the fixtures that are built in, one with somebody else's server as its source. Their
//! agents may call as quickly as the suite does.

use std::fs;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trunkline_platform::{
    Platform,
    accounts::{self, TenantSlug},
    actor::{Member, Role},
    agents::{self, MAX_KEY_DAYS, NewAgent, NewKey},
    catalog::{
        SecretChange,
        source::{self, Changes, Meanwhile, NewDefinitions, NewSource, Policy, Refreshed, SourceName},
    },
    quota::{AgentLimits, Rate},
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;
use url::Url;

use super::state::StateDir;
use crate::services::write_private;

/// What the first start with `--conformance` made.
pub(super) const FILE: &str = "conformance.json";
const SCOPES: &str = "tools:destructive resources:read prompts:read";
const PLENTY: Rate = Rate::per_minute(600_000);

/// What is announced.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Conformance {
    pub(super) mcp_url: String,
    pub(super) api_key: String,
    /// The same tenant on every replica.
    pub(super) replicas: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_mcp_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_api_key: Option<String>,
}

/// Keys of an earlier start.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Planted {
    fixtures: Option<String>,
    upstream: Option<(String, String)>,
}

/// Makes what is not there yet. `bases` are the replicas' base URLs.
pub(super) async fn plant(
    platform: &Platform,
    dir: &StateDir,
    bases: &[String],
    upstream: Option<&Url>,
) -> anyhow::Result<Conformance> {
    let file = dir.file(FILE);
    let mut planted: Planted =
        fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let endpoint = |slug: &str| bases.iter().map(|base| format!("{base}/t/{slug}/mcp")).collect::<Vec<_>>();
    let api_key = match planted.fixtures.clone() {
        Some(key) => key,
        None => fixtures(platform).await.context("the conformance tenant cannot be made")?,
    };
    planted.fixtures = Some(api_key.clone());
    let replicas = endpoint("conformance");
    let mut conformance =
        Conformance { mcp_url: replicas.first().cloned().unwrap_or_default(), api_key, replicas, ..Conformance::default() };
    if let Some(url) = upstream {
        let key = match planted.upstream.take() {
            Some((known, key)) if known == url.as_str() => key,
            Some(_) => anyhow::bail!("an earlier start had another upstream; start over with --fresh"),
            None => proxied(platform, url).await.context("the tenant with the upstream cannot be made")?,
        };
        planted.upstream = Some((url.as_str().to_owned(), key.clone()));
        conformance.upstream_mcp_url = endpoint("conformance-upstream").into_iter().next();
        conformance.upstream_api_key = Some(key);
    }
    write_private(&file, &serde_json::to_string(&planted)?)?;
    Ok(conformance)
}

async fn fixtures(platform: &Platform) -> anyhow::Result<String> {
    let (owner, key) = tenant(platform, "conformance").await?;
    let id = source::create_conformance(platform, owner.tenant, SourceName::parse("fixtures")?).await?;
    refreshed(source::refresh_now(platform, &owner, id).await?)?;
    Ok(key)
}

async fn proxied(platform: &Platform, url: &Url) -> anyhow::Result<String> {
    let (owner, key) = tenant(platform, "conformance-upstream").await?;
    let new = NewSource {
        url: url.clone(),
        secret_header: None,
        secret: SecretChange::Remove,
        timeout_ms: 60_000,
        policy: Policy { new: NewDefinitions::Approve, changes: Changes::HarmlessPass, meanwhile: Meanwhile::ServeApproved },
        default_effect: Effect::Read,
    };
    let source = source::create(platform, &owner, SourceName::parse("upstream")?, false, new).await?;
    refreshed(source::refresh_now(platform, &owner, source.id).await?)?;
    Ok(key)
}

fn refreshed(refreshed: Refreshed) -> anyhow::Result<()> {
    match refreshed {
        Refreshed::Done(_) => Ok(()),
        Refreshed::Stale(why) => anyhow::bail!("its lists cannot be read: {why}"),
    }
}

/// A tenant with an agent that may do everything, often.
async fn tenant(platform: &Platform, slug: &str) -> anyhow::Result<(Member, String)> {
    let password = Plaintext::generate("");
    let email = format!("{slug}@trunkline.example");
    let slug: TenantSlug = slug.parse()?;
    let (user, tenant) = accounts::create_verified_user(platform, &email, &password, "Conformance", &slug).await?;
    let owner = Member { user, tenant, role: Role::Owner };
    let limits = AgentLimits { total: PLENTY.into(), each_tool: Some(PLENTY) };
    let new = NewAgent { limits, ..NewAgent::parse("Conformance suite", "Made by trunkline dev.", SCOPES)? };
    let agent = agents::create(platform, &owner, new).await?.id;
    let key = agents::create_key(platform, &owner, agent, NewKey::parse("conformance suite", SCOPES, MAX_KEY_DAYS)?).await?;
    Ok((owner, key.text.reveal().to_owned()))
}
