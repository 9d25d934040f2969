//! Secrets of tenants that are exchanged while they are used: what calls send, what becomes of the value before, and who may do it.

mod load;
mod overlap;
mod pages;
mod rotating;

use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{
        HttpMethod, NewVersion, SecretChange, credential,
        source::{self, NewDefinitions, NewSource, Policy, Refreshed, SourceName},
    },
    ids::SourceId,
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Page, SOON, Tenant, TestApp, Upstream, Visitor, eventually, tools};

/// In which everything of these tests is sent.
const HEADER: &str = "x-api-key";

/// The line of a head with that secret.
fn line(secret: &str) -> String {
    format!("{HEADER}: {secret}")
}

/// A tool of something guarded.
fn guarded(upstream: &Upstream, method: HttpMethod, secret: &str) -> NewVersion {
    tools::with_secret(HEADER, secret, tools::http(method, &upstream.url("/guarded"), &[]))
}

/// Somebody who may exchange secrets, and the tenant.
struct Keeper<'a> {
    app: &'a TestApp,
    tenant: Tenant<'a>,
    visitor: Visitor,
}

impl<'a> Keeper<'a> {
    async fn new(app: &'a TestApp) -> Self {
        let tenant = app.tenant("acme").await;
        let visitor = Visitor::signed_in(&app.url, "owner@acme.example").await;
        Self { app, tenant, visitor }
    }

    /// The page of the credential that is used by something of that name.
    async fn page_of(&self, user: &str) -> String {
        let list = self.visitor.get("/t/acme/credentials").await.ok();
        let rows = list.body.split("<tr>").filter(|row| row.contains(&format!(">{user}</a>")));
        let paths: Vec<_> = rows.filter_map(|row| row.split("href=\"").nth(1)?.split('"').next()).collect();
        let [path] = paths[..] else { panic!("{} credentials of {user}: {}", paths.len(), list.body) };
        assert!(path.starts_with("/t/acme/credentials/crd_"), "{path}");
        path.to_owned()
    }

    /// Presses a button of that page.
    async fn press(&self, path: &str, button: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.visitor.get(path).await.ok();
        let seen = page.between("name=\"seen\" value=\"", "\"").unwrap_or_default().to_owned();
        self.visitor.post(&format!("{path}/{button}"), &[&[("seen", seen.as_str())], fields].concat()).await
    }

    async fn rotate(&self, path: &str, secret: &str, overlap: &str) {
        let page = self.press(path, "rotate", &[("secret", secret), ("overlap", overlap)]).await;
        assert_eq!((page.status, page.location()), (303, path), "{}", page.body);
    }

    /// An MCP server with a secret, trusted in everything, whose tools are called `<name>.<tool>`.
    async fn source(&self, name: &str, url: &str, secret: &str) -> SourceId {
        let (owner, named) = (self.tenant.owner.clone(), SourceName::parse(name).expect("a name"));
        let new = NewSource {
            url: source::parse_url(url).expect("a URL"),
            secret_header: Some(HEADER.to_owned()),
            secret: SecretChange::Set(Plaintext::new(secret.to_owned())),
            timeout_ms: 5_000,
            policy: Policy { new: NewDefinitions::Approve, ..Policy::default() },
            default_effect: Effect::Read,
        };
        let added = self.app.act(|platform| async move { source::create(&platform, &owner, named, true, new).await });
        let id = added.await.expect("it is added").id;
        self.read(id).await;
        id
    }

    /// Reads its lists.
    async fn read(&self, id: SourceId) {
        eventually("the source is read", SOON, async || {
            let owner = self.tenant.owner.clone();
            let refreshed = self.app.act(move |platform| async move { source::refresh_now(&platform, &owner, id).await.ok() });
            refreshed.await.filter(|refreshed| matches!(refreshed, Refreshed::Done(_)))
        })
        .await;
    }

    /// Two operations of an API that use one credential; the path of the API's page.
    async fn api(&self, upstream: &Upstream, document: &Value, secrets: &[(&str, &str)]) -> String {
        upstream.serve_document(&document.to_string());
        let fields = [("name", "pets"), ("link", &upstream.url("/document"))];
        let page = self.visitor.post("/t/acme/sources/import", &fields).await;
        assert_eq!(page.status, 303, "{}", page.body);
        let api = page.location().to_owned();
        self.publish(&api, &[&[("server", upstream.url("").as_str())], secrets].concat()).await;
        api
    }

    async fn publish(&self, api: &str, fields: &[(&str, &str)]) {
        let all = [&[("then", "publish"), ("untried_reason", "requests are counted here")], fields].concat();
        self.visitor.post(api, &all).await.leads_to(api);
    }

    /// What a background round does.
    async fn end_due(&self) {
        self.app.act(|platform| async move { credential::end_due(&platform).await.expect("overlaps are ended") }).await;
    }

    async fn note_refusals(&self) {
        self.app.act(|platform| async move { credential::note_refusals(&platform).await.expect("refusals are noted") }).await;
    }

    /// Everything that the audit log has of credentials, oldest first.
    async fn audited(&self) -> Vec<(String, String, Value)> {
        sqlx::query_as(
            "SELECT action, actor_kind, details FROM app.audit_entries WHERE tenant_id = $1 AND action LIKE 'credential.%' ORDER BY id",
        )
        .bind(self.tenant.id)
        .fetch_all(&mut self.app.sql().await)
        .await
        .expect("entries")
    }
}

/// An API with two operations and a key.
fn keyed() -> Value {
    let get = |id: &str| json!({ "get": { "operationId": id, "responses": { "200": { "description": "" } } } });
    json!({
        "openapi": "3.1.0", "info": { "title": "A", "version": "1" }, "security": [{ "key": [] }],
        "paths": { "/guarded/first": get("first"), "/guarded/second": get("second") },
        "components": { "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": HEADER } } },
    })
}
