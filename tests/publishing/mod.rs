//! From a draft to what agents call: the gate, roll back, and probes that find what breaks afterwards.

mod apis;
mod gate;
mod probes;
pub(crate) mod server;
mod sources;
mod versions;

use chrono::TimeDelta;
use serde_json::json;
use trunkline_platform::{
    catalog::{
        HttpMethod, NewVersion, Place, ToolName,
        drafts::{self, Saved},
    },
    error::Result,
    ids::ToolId,
    publishing::{self, Health, Probe, Publication, Subject, Terms},
};

use crate::support::{SOON, Tenant, TestApp, eventually, tools};
use server::Shaky;

/// A tool that keeps notes at that server.
pub(crate) fn keep(server: &Shaky) -> NewVersion {
    tools::http(HttpMethod::Get, &server.api(), &[("note", Place::Query)])
}

/// How it is tried: a note, and what has to come of it, sooner than the server is when it is slow.
pub(crate) fn terms() -> Terms {
    let arguments = json!({ "note": "bring an umbrella" }).as_object().cloned();
    Terms { arguments, expected: "/kept=true".to_owned(), within_ms: 300, ..Terms::default() }
}

/// A tool of a tenant, with verbs that a test needs.
pub(crate) struct Mine<'a> {
    app: &'a TestApp,
    tenant: &'a Tenant<'a>,
    /// Its id.
    pub(crate) tool: ToolId,
}

impl<'a> Mine<'a> {
    /// Saved, and not published.
    async fn draft(app: &'a TestApp, tenant: &'a Tenant<'a>, name: &str, new: NewVersion, terms: Terms) -> Self {
        let (owner, name) = (tenant.owner.clone(), ToolName::parse(name).expect("a name"));
        let saved = app.act(|platform| async move {
            let saved = drafts::save_new(&platform, &owner, name, new).await.expect("it is saved");
            publishing::set_terms(&platform, &owner, Subject::Tool(saved.tool), &terms).await.expect("it can be tried");
            saved
        });
        Self { app, tenant, tool: saved.await.tool }
    }

    /// Published at once.
    pub(crate) async fn live(app: &'a TestApp, tenant: &'a Tenant<'a>, name: &str, new: NewVersion, terms: Terms) -> Self {
        let mine = Self::draft(app, tenant, name, new, terms).await;
        assert!(matches!(mine.publish(1).await, Ok(Publication::Live(1))), "the gate lets it pass");
        mine
    }

    async fn save(&self, edited: i32, new: NewVersion) -> Result<Saved> {
        let (owner, tool) = (self.tenant.owner.clone(), self.tool);
        self.app.act(move |platform| async move { drafts::save(&platform, &owner, tool, edited, new).await }).await
    }

    async fn publish(&self, number: i32) -> Result<Publication> {
        self.publish_because(number, None).await
    }

    async fn publish_because(&self, number: i32, untried: Option<&'static str>) -> Result<Publication> {
        let (owner, tool) = (self.tenant.owner.clone(), self.tool);
        self.app.act(move |platform| async move { publishing::publish(&platform, &owner, tool, number, untried).await }).await
    }

    async fn roll_back(&self, number: i32, seen: i32) -> Result<()> {
        let (owner, tool) = (self.tenant.owner.clone(), self.tool);
        self.app.act(move |platform| async move { publishing::roll_back(&platform, &owner, tool, number, seen).await }).await
    }

    async fn probe(&self) -> Probe {
        probe_of(self.app, self.tenant, Subject::Tool(self.tool)).await
    }

    /// The check at which the gate stops it.
    async fn stopped_at(&self, number: i32) -> String {
        match self.publish(number).await.expect("it is tried") {
            Publication::Stopped(report) => report.failure().expect("a failure").check.as_str().to_owned(),
            Publication::Live(number) => panic!("version {number} is published"),
        }
    }
}

async fn probe_of(app: &TestApp, tenant: &Tenant<'_>, subject: Subject) -> Probe {
    let owner = tenant.owner.clone();
    let probe = app.act(move |platform| async move { publishing::probe(&platform, &owner, subject).await });
    probe.await.expect("probes").expect("a probe")
}

/// Makes what is due, until that has happened.
async fn until(app: &TestApp, tenant: &Tenant<'_>, subject: Subject, what: &str, is_so: impl Fn(&Probe) -> bool) -> Probe {
    eventually(what, SOON, async || {
        app.act(|platform| async move { publishing::probe_due(&platform).await.expect("probes are made") }).await;
        Some(probe_of(app, tenant, subject).await).filter(&is_so)
    })
    .await
}

/// One interval goes by: the probe that is due, and the second look that follows a result which says something new.
pub(crate) async fn one_interval(app: &TestApp, tenant: &Tenant<'_>, subject: Subject, expected: Health) -> Probe {
    let before = probe_of(app, tenant, subject).await;
    app.clock.advance(TimeDelta::seconds(300 - 20));
    until(app, tenant, subject, "it is tried", |probe| probe.checked_at > before.checked_at).await;
    app.clock.advance(TimeDelta::seconds(20));
    until(app, tenant, subject, expected.as_str(), |probe| probe.health == expected).await
}
