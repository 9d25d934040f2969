//! Probes: what breaks after it was published is found within one interval, told once, and what is well is never called broken.

use chrono::TimeDelta;
use trunkline_platform::{
    clock::Clock as _,
    publishing::{self, Health, Subject, Terms},
    rotation,
};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Mine, keep, one_interval, probe_of,
    server::{Mode, Shaky},
    terms, until,
};
use crate::support::{Era, SOON, TestApp, Visitor, eventually, say, tools};

#[tokio::test]
async fn six_ways_to_break_are_found_within_one_interval() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let subject = Subject::Tool(mine.tool);
    assert_eq!(mine.probe().await.health, Health::Well);
    for (mode, checks) in Mode::BROKEN {
        let began = app.clock.now();
        server.is(mode);
        let found = one_interval(&app, &acme, subject, Health::Failing).await;
        assert!(checks.contains(&found.failed.as_str()), "{mode:?}: {}", found.failed);
        // The clock of the test goes on by itself too, while calls are made.
        let took = app.clock.now() - began;
        assert!(took < TimeDelta::seconds(300) + TimeDelta::from_std(SOON).expect("a time"), "{mode:?}: {took}");
        server.is(Mode::Well);
        one_interval(&app, &acme, subject, Health::Well).await;
    }
}

#[tokio::test]
async fn whoever_may_mend_it_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let replica = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.member("dev@acme.example", trunkline_platform::actor::Role::Developer).await;
    acme.member("viewer@acme.example", trunkline_platform::actor::Role::Viewer).await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let subject = Subject::Tool(mine.tool);
    server.is(Mode::Empty);
    one_interval(&app, &acme, subject, Health::Failing).await;
    for _ in 0..3 {
        app.clock.advance(TimeDelta::seconds(300));
        let before = probe_of(&app, &acme, subject).await.checked_at;
        until(&app, &acme, subject, "tried again", |probe| probe.checked_at > before).await;
    }
    let mut sql = app.sql().await;
    let mut events = async |action: &str| -> i64 {
        let found = sqlx::query_scalar("SELECT count(*) FROM app.audit_entries WHERE action = $1").bind(action);
        found.fetch_one(&mut sql).await.expect("entries")
    };
    assert_eq!((events("tool.failing").await, events("tool.well").await), (1, 0));
    server.is(Mode::Well);
    one_interval(&app, &acme, subject, Health::Well).await;
    assert_eq!((events("tool.failing").await, events("tool.well").await), (1, 1));
    // Letters are sent by whichever replica takes the job.
    let of = |email: &'static str| {
        let outboxes = [app.platform.mailer.outbox(), replica.platform.mailer.outbox()];
        let subjects = outboxes.into_iter().flatten().flat_map(trunkline_platform::mail::Outbox::list);
        subjects.filter(|letter| letter.to == email).map(|letter| letter.subject).collect::<Vec<_>>()
    };
    for email in ["owner@acme.example", "dev@acme.example"] {
        let mut subjects = eventually("two letters", SOON, async || Some(of(email)).filter(|all| all.len() >= 2)).await;
        subjects.sort();
        assert_eq!(subjects, ["The tool keep of acme fails", "The tool keep of acme is well again"], "{email}");
    }
    assert_eq!(of("viewer@acme.example"), [""; 0]);
}

#[tokio::test]
async fn what_fails_is_hidden_if_somebody_wants_that() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), Terms { hides: true, ..terms() }).await;
    let subject = Subject::Tool(mine.tool);
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["keep"]);
    server.is(Mode::Empty);
    one_interval(&app, &acme, subject, Health::Failing).await;
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty());
    assert_eq!(agent.call(Era::Stateless, "keep", serde_json::json!({ "note": "x" })).await.code(), -32602);
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let status = owner.get("/t/acme/status").await.ok();
    for text in ["1 of 1 fail", "keep", "hidden", "content"] {
        assert!(status.body.contains(text), "{text}: {}", status.body);
    }
    assert!(owner.get("/t/acme/tools").await.ok().body.contains("is-failing"));
    server.is(Mode::Well);
    one_interval(&app, &acme, subject, Health::Well).await;
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["keep"]);
    assert!(owner.get("/t/acme/status").await.ok().body.contains("Nothing fails"));
}

#[tokio::test]
async fn what_is_well_is_never_called_broken() {
    let rounds = if std::env::var_os("TRUNKLINE_FULL").is_some() { 1_000 } else { 200 };
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    // A busy machine is not a slow server.
    let mine = Mine::live(&app, &acme, "keep", keep(&server), Terms { within_ms: 60_000, ..terms() }).await;
    let subject = Subject::Tool(mine.tool);
    for round in 0..rounds {
        let before = probe_of(&app, &acme, subject).await.checked_at;
        app.clock.advance(TimeDelta::seconds(300));
        let after = until(&app, &acme, subject, "tried", |probe| probe.checked_at > before).await;
        assert_eq!((after.health, after.against), (Health::Well, 0), "round {round}: {}", after.problem);
    }
    let mut sql = app.sql().await;
    let (kept, failed): (i64, i64) = sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE NOT passed) FROM app.probe_runs")
        .fetch_one(&mut sql)
        .await
        .expect("runs");
    assert!(kept <= 300 && failed == 0, "{kept} kept, {failed} failed");
    say(&format!("probes: {rounds} rounds of a healthy tool, {failed} false alarms"));
}

#[tokio::test]
async fn one_stumble_is_no_failure_and_one_success_no_recovery() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let try_it = async || {
        let (owner, subject) = (acme.owner.clone(), Subject::Tool(mine.tool));
        app.act(move |platform| async move { publishing::try_now(&platform, &owner, subject).await.expect("tried") }).await
    };
    server.is(Mode::Empty);
    assert!(!try_it().await);
    assert_eq!(mine.probe().await.health, Health::Well);
    server.is(Mode::Well);
    assert!(try_it().await);
    assert_eq!((mine.probe().await.health, mine.probe().await.against), (Health::Well, 0));
    server.is(Mode::Empty);
    assert!(!try_it().await && !try_it().await);
    assert_eq!(mine.probe().await.health, Health::Failing);
    server.is(Mode::Well);
    assert!(try_it().await);
    assert_eq!(mine.probe().await.health, Health::Failing);
    assert!(try_it().await);
    assert_eq!(mine.probe().await.health, Health::Well);
}

#[tokio::test]
async fn what_writes_is_probed_only_if_somebody_said_so() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let writes = || tools::with_effect(Effect::Write, keep(&server));
    let once = Mine::live(&app, &acme, "once", writes(), Terms { confirmed: true, ..terms() }).await;
    let often = Mine::live(&app, &acme, "often", writes(), Terms { confirmed: true, repeats: true, ..terms() }).await;
    assert_eq!(server.calls(), 2);
    one_interval(&app, &acme, Subject::Tool(often.tool), Health::Well).await;
    assert_eq!(server.calls(), 3);
    let owner = acme.owner.clone();
    let refused = app.act(move |platform| async move {
        publishing::try_now(&platform, &owner, Subject::Tool(once.tool)).await.expect_err("not allowed").to_string()
    });
    assert!(refused.await.contains("no call of it is known"), "and it is said why");
}

#[tokio::test]
async fn one_replica_makes_each_probe() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let replica = app.replica().await;
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let subject = Subject::Tool(mine.tool);
    for round in 1..=5 {
        let before = probe_of(&app, &acme, subject).await.checked_at;
        app.clock.advance(TimeDelta::seconds(300));
        let due = |app: &TestApp| {
            let platform = app.platform.clone();
            app.runtime().spawn(async move { publishing::probe_due(&platform).await.expect("probes are made") })
        };
        let (one, other) = (due(&app), due(&replica));
        one.await.expect("no panic");
        other.await.expect("no panic");
        until(&app, &acme, subject, "tried", |probe| probe.checked_at > before).await;
        assert_eq!(server.calls(), 1 + round);
    }
}

#[tokio::test]
async fn how_a_tool_is_tried_is_entered_checked_and_noted_without_its_arguments() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let (tool, probe) = (format!("/t/acme/tools/{}", mine.tool), format!("/t/acme/tools/{}/probe", mine.tool));
    let good = [("every_s", "900"), ("within_ms", "2000"), ("sample", r#"{"note":"my-secret-note"}"#), ("hides", "yes")];
    owner.post(&probe, &good).await.leads_to(&tool);
    let after = mine.probe().await.terms;
    assert_eq!((after.every_s, after.within_ms, after.hides, after.expected.as_str()), (Some(900), 2_000, true, ""));
    for (field, value, words) in [
        ("every_s", "7", "30 to 86400"),
        ("every_s", "x", "Choose one"),
        ("within_ms", "0", "1 to 60000"),
        ("sample", "{", "JSON object"),
    ] {
        let fields: Vec<_> = good.iter().map(|(name, old)| (*name, if *name == field { value } else { *old })).collect();
        owner.post(&probe, &fields).await.leads_to(&tool);
        let page = owner.get(&tool).await.ok();
        assert!(page.body.contains("Nothing was changed") && page.body.contains(words), "{field}={value}");
        assert_eq!(mine.probe().await.terms, after, "{field}={value}");
    }
    owner.post(&probe, &[("every_s", "off"), ("within_ms", "2000")]).await.leads_to(&tool);
    assert_eq!(mine.probe().await.terms.every_s, None);
    let rounds: i64 =
        sqlx::query_scalar("SELECT count(*) FROM app.probe_rounds").fetch_one(&mut app.sql().await).await.expect("rounds");
    assert_eq!(rounds, 0, "nothing is due");
    let told: String =
        sqlx::query_scalar("SELECT string_agg(details::text, ' ') FROM app.audit_entries WHERE action = 'tool.probe_changed'")
            .fetch_one(&mut app.sql().await)
            .await
            .expect("entries");
    assert!(told.contains("every_s") && !told.contains("my-secret-note"), "{told}");
}

#[tokio::test]
async fn a_tool_that_gives_back_what_agents_send_is_found_in_live_calls() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), Terms { every_s: None, ..terms() }).await;
    acme.tool("echo", tools::echo()).await;
    let call = async |note: &str| {
        let called = agent.call(Era::Stateless, "keep", serde_json::json!({ "note": note })).await;
        assert!(called.is_ok(), "{}", called.text);
    };
    server.is(Mode::Echo);
    for _ in 0..4 {
        call("bring an umbrella").await;
        assert!(agent.echo("a tool that is meant to echo").await.is_ok());
    }
    call("bring another umbrella").await;
    assert_eq!(mine.probe().await.health, Health::Well, "two calls are no proof");
    call("bring a third umbrella").await;
    let subject = Subject::Tool(mine.tool);
    let found = until(&app, &acme, subject, "it is found", |probe| probe.health == Health::Failing).await;
    assert_eq!(found.failed, "echo");
    let kept: String = sqlx::query_scalar("SELECT string_agg(report::text, ' ') FROM app.probe_runs WHERE kind = 'echo'")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("runs");
    assert!(!kept.contains("umbrella"), "nothing of the calls is kept: {kept}");
    server.is(Mode::Well);
    for note in ["bring umbrella number one", "bring umbrella number two", "bring umbrella number three"] {
        call(note).await;
    }
    until(&app, &acme, subject, "it is over", |probe| probe.health == Health::Well).await;
    let failing: i64 = sqlx::query_scalar("SELECT count(*) FROM app.probes WHERE tool_id IS DISTINCT FROM $1")
        .bind(mine.tool)
        .fetch_one(&mut app.sql().await)
        .await
        .expect("probes");
    assert_eq!(failing, 0, "the other tool is not even noted");
}

/// Arguments of a sample call, as they are stored: unsealed, and sealed.
async fn stored(app: &TestApp) -> (Option<String>, Option<Vec<u8>>) {
    sqlx::query_as("SELECT arguments::text, sample FROM app.probes").fetch_one(&mut app.sql().await).await.expect("a probe")
}

#[tokio::test]
async fn s_11_arguments_of_sample_calls_are_sealed_and_sealed_anew_when_the_data_key_is_renewed() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "keep", keep(&server), terms()).await;
    let (plain, sealed) = stored(&app).await;
    let sealed = sealed.expect("sealed");
    assert!(plain.is_none() && !sealed.windows(8).any(|part| part == b"umbrella"));
    assert_eq!(mine.probe().await.terms, terms(), "opened for whoever manages it");
    // What an older release has left is sealed with the next try, which it is made with.
    let left = "UPDATE app.probes SET sample = NULL, arguments = '{\"note\":\"bring an umbrella\"}'";
    sqlx::query(left).execute(&mut app.sql().await).await.expect("left");
    assert_eq!(mine.probe().await.terms, terms());
    app.clock.advance(TimeDelta::seconds(300));
    let before = mine.probe().await.checked_at;
    until(&app, &acme, Subject::Tool(mine.tool), "tried", |probe| probe.checked_at > before).await;
    let (plain, again) = stored(&app).await;
    let again = again.expect("sealed");
    assert!(plain.is_none() && again != sealed);
    // Under another data key.
    app.act(|platform| async move { rotation::renew(&platform, "acme").await.expect("renewed") }).await;
    let (_, anew) = stored(&app).await;
    assert_ne!(anew.expect("sealed")[1..9], again[1..9], "another key has sealed it");
    assert_eq!(mine.probe().await.terms, terms());
    one_interval(&app, &acme, Subject::Tool(mine.tool), Health::Well).await;
}
