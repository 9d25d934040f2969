//! What the gate lets pass, what it stops, and that what it stops changes nothing.

use trunkline_platform::{catalog, error::ErrorKind, publishing::Publication};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Mine, keep,
    server::{Mode, Shaky},
    terms,
};
use crate::support::{Era, TestApp, tools};

#[tokio::test]
async fn six_ways_to_be_broken_are_stopped_and_change_nothing() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::draft(&app, &acme, "keep", keep(&server), terms()).await;
    for (mode, checks) in Mode::BROKEN {
        server.is(mode);
        let check = mine.stopped_at(1).await;
        assert!(checks.contains(&check.as_str()), "{mode:?}: {check}");
        assert!(agent.list(Era::Stateless).await.tool_names().is_empty(), "{mode:?}: no agent sees it");
    }
    server.is(Mode::Well);
    assert!(matches!(mine.publish(1).await, Ok(Publication::Live(1))));
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["keep"]);

    // The next version is stopped, and the first goes on.
    let next = catalog::NewVersion { description: "Keeps notes better.".to_owned(), ..keep(&server) };
    assert_eq!(mine.save(1, next).await.expect("saved").number, 2);
    server.is(Mode::Empty);
    assert_eq!(mine.stopped_at(2).await, "content");
    let (owner, id) = (acme.owner.clone(), mine.tool);
    let tool = app.act(|platform| async move { catalog::get(&platform, &owner, id).await.expect("a tool") }).await;
    assert_eq!((tool.version.number, tool.version.description.as_str()), (1, "A tool of the suite."));
    let mut sql = app.sql().await;
    let stopped: i64 = sqlx::query_scalar("SELECT count(*) FROM app.audit_entries WHERE action = 'tool.stopped'")
        .fetch_one(&mut sql)
        .await
        .expect("entries");
    assert_eq!(stopped, 7);
    // Calls of ours are nobody's.
    let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("calls");
    assert_eq!(calls, 0);
}

#[tokio::test]
async fn what_may_change_something_is_called_only_when_somebody_said_so() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let writes = || tools::with_effect(Effect::Write, keep(&server));
    let mine = Mine::draft(&app, &acme, "keep", writes(), terms()).await;
    assert_eq!(mine.stopped_at(1).await, "call");
    assert_eq!(server.calls(), 0, "nothing was called");
    for reason in ["", "x", "line\nbreak"] {
        let refused = mine.publish_because(1, Some(reason)).await.expect_err("no reason");
        assert!(matches!(refused.kind(), ErrorKind::Invalid(_)), "{refused}");
    }
    assert!(matches!(mine.publish_because(1, Some("it sends letters")).await, Ok(Publication::Live(1))));
    assert_eq!(server.calls(), 0);
    let details: serde_json::Value =
        sqlx::query_scalar("SELECT details FROM app.audit_entries WHERE action = 'tool.published_untried'")
            .fetch_one(&mut app.sql().await)
            .await
            .expect("an entry");
    assert_eq!(details["reason"], "it sends letters");

    let confirmed = trunkline_platform::publishing::Terms { confirmed: true, ..terms() };
    let other = Mine::draft(&app, &acme, "other", writes(), confirmed).await;
    assert!(matches!(other.publish(1).await, Ok(Publication::Live(1))));
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn arguments_that_do_not_fit_and_tools_without_a_call_are_told() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let arguments = serde_json::json!({ "nonsense": 7 }).as_object().cloned();
    let wrong = trunkline_platform::publishing::Terms { arguments, ..terms() };
    let mine = Mine::draft(&app, &acme, "wrong", keep(&server), wrong).await;
    assert_eq!(mine.stopped_at(1).await, "call");
    let path = format!("{}/{{note}}", server.api());
    let asks = tools::http(catalog::HttpMethod::Get, &path, &[("note", catalog::Place::Path)]);
    let mine = Mine::draft(&app, &acme, "asks", asks, trunkline_platform::publishing::Terms::default()).await;
    assert_eq!(mine.stopped_at(1).await, "call", "nothing says what the note is");
    assert_eq!(server.calls(), 0);
    for builtin in catalog::Builtin::ALL {
        let (name, builtin) = (builtin.as_str(), tools::builtin(*builtin));
        Mine::live(&app, &acme, name, builtin, trunkline_platform::publishing::Terms::default()).await;
    }
}
