//! Accounts of people at upstream servers: how they are connected, whose calls use them, and how that ends.

mod asking;
mod connecting;
mod keeping;
pub(crate) mod provider;
mod refreshing;

use serde_json::json;
use trunkline_platform::{actor::Role, ids::SourceId};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Agent, Answer, Era, Page, SOON, Tenant, TestApp, Visitor, eventually, http, mcp_client::McpClient, oauth::OAuthClient,
};
use provider::Service;

/// A tenant with a source at which each person uses their own account.
pub(crate) struct World<'a> {
    app: &'a TestApp,
    /// The tenant.
    pub(crate) acme: Tenant<'a>,
    /// Its owner's browser.
    pub(crate) owner: Visitor,
    source: SourceId,
    client: OAuthClient,
}

impl<'a> World<'a> {
    /// The source is there, its provider found and its lists read with the owner's account.
    pub(crate) async fn new(app: &'a TestApp, service: &Service) -> Self {
        let world = Self::without_provider(app, service).await;
        world.personal(&[]).await.leads_to(&world.connect_path());
        service.says("owner");
        world.connect(&world.owner).await.leads_to(&world.connect_path());
        world.switch_on().await;
        world
    }

    /// The source is there, and nobody has said anything of accounts.
    async fn without_provider(app: &'a TestApp, service: &Service) -> Self {
        let acme = app.tenant("acme").await;
        acme.agent("agent", "tools:read tools:write tools:destructive prompts:read").await;
        let owner = acme.owner_browser().await;
        let fields = [
            ("name", "files"),
            ("url", &service.mcp()),
            ("prefix", "yes"),
            ("timeout_ms", "5000"),
            ("new_definitions", "approve"),
            ("changes", "harmless_pass"),
            ("meanwhile", "serve_approved"),
            ("default_effect", "read"),
        ];
        let page = owner.post("/t/acme/sources/new", &fields).await;
        let source = page.location().rsplit('/').next().and_then(|id| id.parse().ok());
        let source = source.unwrap_or_else(|| panic!("no source: {} {}", page.status, page.body));
        let client = OAuthClient::register(app).await;
        Self { app, acme, owner, source, client }
    }

    /// Says that each person uses their own account; with nothing else, the provider is found.
    async fn personal(&self, fields: &[(&str, &str)]) -> Page {
        let fields: Vec<_> = [("credential", "person")].iter().chain(fields).copied().collect();
        self.owner.post(&format!("/t/acme/sources/{}/accounts", self.source), &fields).await
    }

    fn connect_path(&self) -> String {
        format!("/t/acme/connections/{}", self.source)
    }

    /// From our page to the provider and to its way back, which is not taken yet.
    async fn way_back(&self, person: &Visitor) -> String {
        person.get(&self.connect_path()).await.ok();
        let page = person.post(&self.connect_path(), &[]).await.ok();
        let target = page.header("refresh").trim_start_matches("0;url=").to_owned();
        assert!(target.contains("/authorize?"), "{} {}", page.status, page.body);
        let there = http().get(&target).send().await.expect("an answer");
        let back = there.headers().get("location").map(|value| value.to_str().expect("a URL").to_owned());
        let back = back.unwrap_or_else(|| panic!("{target} is refused"));
        back.trim_start_matches(&self.app.url).to_owned()
    }

    /// The whole way.
    async fn connect(&self, person: &Visitor) -> Page {
        let back = self.way_back(person).await;
        person.get(&back).await
    }

    /// Waits until the tools of the source are served.
    async fn switch_on(&self) {
        let agent = self.caller(&self.owner).await;
        eventually("the source is read", SOON, async || {
            let names = agent.list(Era::Stateless).await;
            let is_there = names.tool_names().contains(&"files.whoami");
            if !is_there {
                self.owner.post(&format!("/t/acme/sources/{}/refresh", self.source), &[]).await;
            }
            is_there.then_some(())
        })
        .await;
    }

    /// A client that has registered itself.
    pub(crate) fn client(&self) -> &OAuthClient {
        &self.client
    }

    /// Somebody else, with a browser.
    async fn person(&self, name: &str) -> Visitor {
        let email = format!("{name}@acme.example");
        self.acme.member(&email, Role::Developer).await;
        Visitor::signed_in(&self.app.url, &email).await
    }

    /// Whoever acts for that person.
    pub(crate) async fn caller(&self, person: &Visitor) -> Agent {
        let tokens = self.client.connect(person, &self.acme, &["tools:read", "prompts:read"]).await;
        self.acme.with_token(&tokens.access)
    }

    /// A client that can open pages for its person, and speaks the newest revision.
    async fn newest(&self, agent: &Agent) -> McpClient {
        McpClient::connect(agent, Revision::V2026_07_28, json!({ "elicitation": { "url": {} } }), json!({})).await
    }

    async fn scalar(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.app.sql().await).await.expect("a number")
    }
}

/// What the tool says whose account it is.
async fn whoami(agent: &Agent) -> Answer {
    agent.call(Era::Stateless, "files.whoami", json!({})).await
}

/// The same at another replica, under the one name that the installation has.
async fn whoami_at(replica: &TestApp, app: &TestApp, agent: &Agent) -> Answer {
    let there = agent.at(&agent.url.replace(&app.url, &replica.url));
    let params = json!({ "name": "files.whoami", "arguments": {} });
    let request = there.message(Era::Stateless, "tools/call", params, "application/json, text/event-stream");
    let request = request.header("host", app.url.trim_start_matches("http://"));
    Answer::read(request.send().await.expect("an answer")).await
}
