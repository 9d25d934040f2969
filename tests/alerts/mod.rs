//! Alerts: a scripted incident of each kind is told once when it begins and once when it is over, to all who are to be told, and to nobody else.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::Mac as _;
use serde_json::{Value, json};
use sqlx::PgConnection;
use trunkline_platform::{
    alerts,
    clock::Clock as _,
    ids::ToolId,
    mail::Outbox,
    publishing::{Health, Subject},
    rotation, usage,
};

use crate::{
    publishing::{
        self, Mine,
        server::{Mode, Shaky},
    },
    support::{Agent, Era, SOON, Tenant, TestApp, Upstream, Visitor, eventually, tools},
};

/// What the tests' receiver was told at that path.
fn told(receiver: &Upstream, path: &str) -> Vec<Value> {
    let seen = receiver.seen();
    let there = seen.iter().filter(|seen| seen.line == format!("POST {path}"));
    there.map(|seen| serde_json::from_str(&seen.body).expect("JSON")).collect()
}

/// The types of the messages at `/hook`, which is what was told.
fn kinds(receiver: &Upstream) -> Vec<String> {
    told(receiver, "/hook").iter().map(|body| body["type"].as_str().expect("a type").to_owned()).collect()
}

/// A minute goes by, and the tenant is looked at.
async fn minute(app: &TestApp, tenant: &Tenant<'_>) {
    app.clock.advance(TimeDelta::seconds(60));
    let now = app.clock.now();
    app.act(|platform| async move { alerts::look_due(&platform).await.expect("looked") }).await;
    let mut sql = app.sql().await;
    eventually("a look", SOON, async || {
        let looked = sqlx::query_scalar("SELECT due_at > $2 FROM app.alert_rounds WHERE tenant = $1").bind(tenant.id).bind(now);
        let looked: bool = looked.fetch_one(&mut sql).await.expect("a round");
        looked.then_some(())
    })
    .await;
    // Leases are by this clock: were it moved on while a job is at hand, another worker would take that for one whose worker has died.
    eventually("no job is at hand", SOON, async || {
        let done = sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM app.jobs WHERE dead_at IS NULL AND run_at <= $1)");
        let done: bool = done.bind(app.clock.now()).fetch_one(&mut sql).await.expect("jobs");
        done.then_some(())
    })
    .await;
}

async fn minutes(app: &TestApp, tenant: &Tenant<'_>, count: usize) {
    for _ in 0..count {
        minute(app, tenant).await;
    }
}

/// Calls of a minute, as the record sums them: so many of each outcome, each in that bucket of the histogram.
async fn sums(sql: &mut PgConnection, of: (&Tenant<'_>, &Agent, ToolId), (step, at): (i16, DateTime<Utc>), calls: Calls) {
    let Calls { ok, failed, limited, bucket } = calls;
    for kind in ["tool", "agent"] {
        sqlx::query(
            "INSERT INTO app.usage_sums AS u
               (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id, ok, tool_error, upstream_error, timeout, denied,
                limited, cancelled, unknown, cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
             SELECT $1, $10, $2, date_trunc(CASE $2 WHEN 1 THEN 'minute' ELSE 'hour' END, $3), CASE $10 WHEN 'agent' THEN $4 ELSE nil END,
                    CASE $10 WHEN 'tool' THEN $5 ELSE nil END, nil, nil, nil, $6, 0, $7, 0, 0, $8, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    array_fill(0::bigint, ARRAY[$9]) || ($6 + $7)
             FROM (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS nil) AS n
             ON CONFLICT (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id) DO UPDATE
               SET ok = u.ok + $6, upstream_error = u.upstream_error + $7, limited = u.limited + $8",
        )
        .bind(of.0.id)
        .bind(step)
        .bind(at)
        .bind(of.1.id)
        .bind(of.2)
        .bind(ok)
        .bind(failed)
        .bind(limited)
        .bind(bucket)
        .bind(kind)
        .execute(&mut *sql)
        .await
        .expect("sums");
    }
}

#[derive(Debug, Clone, Copy)]
struct Calls {
    ok: i64,
    failed: i64,
    limited: i64,
    bucket: i32,
}

const USUAL: Calls = Calls { ok: 500, failed: 2, limited: 0, bucket: 80 };
const WELL: Calls = Calls { ok: 60, failed: 0, limited: 0, bucket: 80 };
const FAILING: Calls = Calls { ok: 20, failed: 40, ..WELL };
const SLOW: Calls = Calls { bucket: 112, ..WELL };
const LIMITED: Calls = Calls { limited: 60, ..WELL };

/// A tenant that is told by webhook and chat, with a tool that was well for days.
struct Scene<'a> {
    app: &'a TestApp,
    tenant: Tenant<'a>,
    agent: Agent,
    tool: ToolId,
    receiver: Upstream,
    secret: String,
    sql: PgConnection,
}

impl<'a> Scene<'a> {
    async fn start(app: &'a TestApp) -> Self {
        let tenant = app.tenant("acme").await;
        let tool = tenant.tool("pay", tools::echo()).await.id;
        let agent = tenant.agent("agent", "tools:read").await;
        let receiver = Upstream::start().await;
        let secret = tell(app, &receiver.url("/hook"), &receiver.url("/chat")).await;
        let mut sql = app.sql().await;
        sums(&mut sql, (&tenant, &agent, tool), (60, app.clock.now() - TimeDelta::days(1)), USUAL).await;
        Self { app, tenant, agent, tool, receiver, secret, sql }
    }

    /// So many minutes with calls like that.
    async fn go_on(&mut self, count: usize, calls: Calls) {
        for _ in 0..count {
            sums(&mut self.sql, (&self.tenant, &self.agent, self.tool), (1, self.app.clock.now()), calls).await;
            minute(self.app, &self.tenant).await;
        }
    }

    async fn is_told(&self, kinds: &[&str]) {
        eventually("told", SOON, async || (self::kinds(&self.receiver).len() >= kinds.len()).then_some(())).await;
        assert_eq!(self::kinds(&self.receiver), kinds);
    }

    async fn jobs_are_done(&mut self) {
        eventually("no job waits", SOON, async || {
            let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM app.jobs").fetch_one(&mut self.sql).await.expect("jobs");
            (jobs == 0).then_some(())
        })
        .await;
    }
}

/// Owners are told by mail, and these servers. The webhook's secret.
async fn tell(app: &TestApp, webhook: &str, chat: &str) -> String {
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let fields = [("roles", "owner"), ("webhook", webhook), ("chat", chat)];
    let page = owner.post("/t/acme/alerts/targets", &fields).await.ok();
    format!("whsec_{}", page.between("whsec_", "<").expect("a secret"))
}

/// Subjects of letters about alerts to the owner, whoever sent them.
fn letters(apps: &[&TestApp]) -> Vec<String> {
    let outboxes = apps.iter().filter_map(|app| app.platform.mailer.outbox());
    let letters = outboxes.flat_map(Outbox::list).filter(|letter| letter.to == "owner@acme.example");
    let mut subjects: Vec<String> = letters.map(|letter| letter.subject).filter(|subject| subject.contains("pay")).collect();
    subjects.sort();
    subjects
}

#[tokio::test]
async fn m_48_each_kind_of_incident_is_told_once_and_once_when_it_is_over() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let mut scene = Scene::start(&app).await;
    let (mut hooks, mut subjects) = (Vec::new(), Vec::new());
    let begins_and_ends = [
        (FAILING, "error_rate", "fails more than usual", "fails no more than usual"),
        (SLOW, "p99", "is slower than usual", "is as fast as usual"),
        (LIMITED, "limits", "is at its limits", "is within its limits"),
    ];
    for (calls, kind, begins, ends) in begins_and_ends {
        scene.go_on(2, calls).await;
        scene.is_told(&hooks).await;
        scene.go_on(6, calls).await;
        let both = if kind == "limits" { 2 } else { 1 };
        hooks.extend(["alert.firing"].repeat(both));
        scene.is_told(&hooks).await;
        let last = told(&scene.receiver, "/hook");
        assert!(last[last.len() - both..].iter().all(|body| body["data"]["kind"] == kind), "{last:?}");
        // What is bad leaves the window after ten minutes, and then it has to be well for ten.
        scene.go_on(24, WELL).await;
        hooks.extend(["alert.resolved"].repeat(both));
        scene.is_told(&hooks).await;
        subjects.extend([format!("Alert: pay {begins} (acme)"), format!("Over: pay {ends} (acme)")]);
    }
    scene.jobs_are_done().await;
    subjects.sort();
    assert_eq!(letters(&[&app, &replica]), subjects);
    assert_eq!(told(&scene.receiver, "/chat").len(), hooks.len());
    let text = told(&scene.receiver, "/chat")[0]["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("pay fails more than usual (acme)") && text.contains("/t/acme/alerts"), "{text}");
}

#[tokio::test]
async fn m_48_refused_credentials_are_told_once_and_once_when_it_is_over() {
    let app = TestApp::start().await;
    let (acme, receiver) = (app.tenant("acme").await, Upstream::start().await);
    let agent = acme.agent("agent", "tools:read").await;
    tell(&app, &receiver.url("/hook"), "").await;
    let minutes_with = async |count: usize, refused: usize| {
        for _ in 0..count {
            for number in 0..refused {
                // One is no credential at all, the other is somebody's key with another secret.
                let bearer = if number % 2 == 0 { "nothing-of-ours".to_owned() } else { spoilt(&agent.key) };
                assert_eq!(acme.with_token(&bearer).list(Era::Stateless).await.status, 401);
            }
            // Counting is told in the background.
            eventually("counted", SOON, async || app.platform.conversations.is_empty().then_some(())).await;
            minute(&app, &acme).await;
        }
    };
    minutes_with(3, 3).await;
    // As many as people make who connect something.
    assert_eq!(kinds(&receiver), [""; 0]);
    minutes_with(5, 15).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 1).then_some(())).await;
    let told_of = &told(&receiver, "/hook")[0]["data"];
    assert_eq!((&told_of["kind"], &told_of["subject"]["name"]), (&json!("authentication"), &json!("acme")), "{told_of}");
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get("/t/acme/alerts").await.ok();
    assert!(
        page.body.contains("acme refuses more credentials than usual") && page.body.contains("/t/acme/connect"),
        "{}",
        page.body
    );
    minutes_with(24, 0).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 2).then_some(())).await;
    minutes_with(3, 0).await;
    assert_eq!(kinds(&receiver), ["alert.firing", "alert.resolved"]);
}

#[tokio::test]
async fn m_48_wrong_sums_are_told_once_and_once_when_they_are_right() {
    let mut app = TestApp::start().await;
    app.expect_error("sums of usage differ from the record");
    let (acme, receiver) = (app.tenant("acme").await, Upstream::start().await);
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    tell(&app, &receiver.url("/hook"), "").await;
    assert!(agent.echo("x").await.is_ok());
    let called = app.clock.now();
    let mut sql = app.sql().await;
    eventually("it is recorded", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.usage_sums").fetch_one(&mut sql).await.expect("sums");
        (found > 0).then_some(())
    })
    .await;
    app.clock.advance(TimeDelta::hours(2));
    let check = async |sql: &mut PgConnection| {
        // The hour of the call is looked at, as the next check would.
        let due = "UPDATE app.usage_checks SET due_at = to_timestamp(0), leased_until = NULL, checked_to = $1";
        sqlx::query(due).bind(called - TimeDelta::hours(1)).execute(sql).await.expect("due");
        app.act(|platform| async move { usage::check_due(&platform).await.expect("checked") }).await;
    };
    check(&mut sql).await;
    minutes(&app, &acme, 3).await;
    assert_eq!(kinds(&receiver), [""; 0]);
    let wrong = "UPDATE app.usage_sums SET cost_micro = cost_micro + 1 WHERE kind = 'tool' AND step = 60";
    sqlx::query(wrong).execute(&mut sql).await.expect("a wrong sum");
    check(&mut sql).await;
    minutes(&app, &acme, 5).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 1).then_some(())).await;
    let told_of = &told(&receiver, "/hook")[0]["data"];
    assert_eq!((&told_of["kind"], &told_of["subject"]["name"]), (&json!("usage"), &json!("acme")), "{told_of}");
    // It is looked at again, though the hours before were checked; and goes on for as long as it is so.
    let due = "UPDATE app.usage_checks SET due_at = to_timestamp(0), leased_until = NULL";
    sqlx::query(due).execute(&mut sql).await.expect("due");
    app.act(|platform| async move { usage::check_due(&platform).await.expect("checked") }).await;
    minutes(&app, &acme, 3).await;
    assert_eq!(kinds(&receiver), ["alert.firing"]);
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get("/t/acme/alerts").await.ok();
    assert!(page.body.contains("acme has sums of usage that differ from its record"), "{}", page.body);
    let (tenant, day) = (acme.id, called);
    let mended = app.act(move |platform| async move { usage::recount(&platform, tenant, day, usage::Wrong::Mend).await });
    assert!(mended.await.expect("corrected").wrong > 0);
    sqlx::query(due).execute(&mut sql).await.expect("due");
    app.act(|platform| async move { usage::check_due(&platform).await.expect("checked") }).await;
    minutes(&app, &acme, 3).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 2).then_some(())).await;
    assert_eq!(kinds(&receiver), ["alert.firing", "alert.resolved"]);
}

/// The same key with another end.
fn spoilt(key: &str) -> String {
    let (head, _) = key.split_at(key.len() - 6);
    format!("{head}zzzzzz")
}

#[tokio::test]
async fn m_48_a_failing_probe_is_told_once_and_once_when_it_is_over() {
    let (app, server, receiver) = (TestApp::start().await, Shaky::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "pay", publishing::keep(&server), publishing::terms()).await;
    let secret = tell(&app, &receiver.url("/hook"), "").await;
    assert!(secret.starts_with("whsec_"));
    minutes(&app, &acme, 3).await;
    assert_eq!(kinds(&receiver), [""; 0]);
    server.is(Mode::Empty);
    publishing::one_interval(&app, &acme, Subject::Tool(mine.tool), Health::Failing).await;
    minutes(&app, &acme, 3).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 1).then_some(())).await;
    assert_eq!(told(&receiver, "/hook")[0]["data"]["kind"], "probe");
    server.is(Mode::Well);
    publishing::one_interval(&app, &acme, Subject::Tool(mine.tool), Health::Well).await;
    minutes(&app, &acme, 3).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 2).then_some(())).await;
    assert_eq!(kinds(&receiver), ["alert.firing", "alert.resolved"]);
}

#[tokio::test]
async fn m_48_calls_that_fail_are_told_of_and_signed() {
    let app = TestApp::builder().unlimited().start().await;
    let upstream = Upstream::start().await;
    let receiver = Upstream::start().await;
    let acme = app.tenant("acme").await;
    let pay = tools::with_secret("x-api-key", "sesame", tools::get(&upstream.url("/guarded/pay")));
    upstream.take_only(&["x-api-key: sesame"]);
    acme.tool("pay", pay).await;
    let agent = acme.agent("agent", "tools:read").await;
    let secret = tell(&app, &receiver.url("/hook"), "").await;
    let mut sql = app.sql().await;
    let mut calls = async |count: i64| {
        let recorded = "SELECT count(*) FROM app.calls";
        let before: i64 = sqlx::query_scalar(recorded).fetch_one(&mut sql).await.expect("calls");
        for _ in 0..count {
            agent.call(Era::Stateless, "pay", json!({})).await;
        }
        eventually("they are recorded", SOON, async || {
            let now: i64 = sqlx::query_scalar(recorded).fetch_one(&mut sql).await.expect("calls");
            (now == before + count).then_some(())
        })
        .await;
    };
    calls(60).await;
    app.clock.advance(TimeDelta::days(1));
    upstream.take_only(&[]);
    calls(30).await;
    minutes(&app, &acme, 4).await;
    eventually("told", SOON, async || (kinds(&receiver) == ["alert.firing"]).then_some(())).await;
    let body = &told(&receiver, "/hook")[0];
    assert_eq!((&body["data"]["kind"], &body["data"]["subject"]["name"]), (&json!("error_rate"), &json!("pay")));
    assert!(body["data"]["message"].as_str().expect("a text").starts_with("100 % of 30 calls failed"), "{body}");
    is_signed(&receiver, &secret);
    upstream.take_only(&["x-api-key: sesame"]);
    app.clock.advance(TimeDelta::minutes(7));
    calls(30).await;
    minutes(&app, &acme, 8).await;
    calls(30).await;
    minutes(&app, &acme, 8).await;
    eventually("told", SOON, async || (kinds(&receiver).len() == 2).then_some(())).await;
    assert_eq!(kinds(&receiver), ["alert.firing", "alert.resolved"]);
    is_signed(&receiver, &secret);
}

/// Is every message signed as Standard Webhooks has it?
fn is_signed(receiver: &Upstream, secret: &str) {
    let key = BASE64.decode(secret.strip_prefix("whsec_").expect("its prefix")).expect("base64");
    for seen in receiver.seen() {
        let header = |name: &str| {
            let found = seen.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap_or_else(|| panic!("no {name}: {}", seen.head)).to_owned()
        };
        // Ids are lower case already; a signature is not, and the head is kept in lower case.
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), seen.body);
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&key).expect("any length");
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        assert_eq!(header("webhook-signature"), expected.to_lowercase());
    }
}

#[tokio::test]
async fn m_48_what_flaps_is_told_once_and_what_is_silenced_never() {
    let app = TestApp::start().await;
    let mut scene = Scene::start(&app).await;
    for _ in 0..4 {
        scene.go_on(4, FAILING).await;
        scene.go_on(8, WELL).await;
    }
    scene.is_told(&["alert.firing"]).await;
    scene.go_on(20, WELL).await;
    scene.is_told(&["alert.firing", "alert.resolved"]).await;

    // What fires again is silenced before it is told of: a minute before it would be.
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get("/t/acme/alerts").await.ok();
    assert!(page.body.contains("Nothing fires") && page.body.contains("pay fails no more than usual"), "{}", page.body);
    let id: trunkline_platform::ids::AlertId = sqlx::query_scalar("SELECT id FROM app.alerts WHERE tenant_id = $1")
        .bind(scene.tenant.id)
        .fetch_one(&mut scene.sql)
        .await
        .expect("one");
    for (field, value) in [("for", ""), ("for", "until"), ("until", "yesterday")] {
        owner.post(&format!("/t/acme/alerts/{id}/silence"), &[(field, value)]).await.leads_to("/t/acme/alerts");
    }
    let silenced = "SELECT count(*) FROM app.alerts WHERE silenced_until IS NOT NULL";
    let count: i64 = sqlx::query_scalar(silenced).fetch_one(&mut scene.sql).await.expect("a count");
    assert_eq!(count, 0, "what does not fit changes nothing");
    owner.post(&format!("/t/acme/alerts/{id}/silence"), &[("for", "1d")]).await.leads_to("/t/acme/alerts");
    scene.go_on(6, FAILING).await;
    let page = owner.get("/t/acme/alerts").await.ok();
    assert!(page.body.contains("pay fails more than usual") && page.body.contains("Silenced until"), "{}", page.body);
    scene.jobs_are_done().await;
    scene.is_told(&["alert.firing", "alert.resolved"]).await;

    let firing = "SELECT id FROM app.alerts WHERE state = 'firing'";
    let id: trunkline_platform::ids::AlertId = sqlx::query_scalar(firing).fetch_one(&mut scene.sql).await.expect("one");
    assert!(owner.get("/t/acme/members").await.ok().body.contains("class=\"nav-count\">1<"), "every page counts what is open");
    owner.post(&format!("/t/acme/alerts/{id}/acknowledge"), &[]).await.leads_to("/t/acme/alerts");
    assert!(owner.get("/t/acme/alerts").await.ok().body.contains("owner@acme.example looks after it"));
    assert!(scene.secret.starts_with("whsec_"));
}

#[tokio::test]
async fn m_48_a_receiver_that_hangs_keeps_nobody_waiting_and_is_asked_again() {
    let app = TestApp::start().await;
    let mut scene = Scene::start(&app).await;
    let hanging = Upstream::start().await;
    // The webhook hangs, the chat does not.
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let fields = [("roles", "owner"), ("webhook", &*hanging.url("/hang"))];
    owner.post("/t/acme/alerts/targets", &fields).await.leads_to("/t/acme/alerts");
    scene.go_on(4, FAILING).await;
    eventually("the others are told", SOON, async || {
        (told(&scene.receiver, "/chat").len() == 1 && letters(&[&app]).len() == 1).then_some(())
    })
    .await;
    eventually("it is given up for now", SOON, async || (hanging.hung_up() >= 1).then_some(())).await;
    app.clock.advance(TimeDelta::seconds(6));
    eventually("it is asked again", SOON, async || (hanging.hung_up() >= 2).then_some(())).await;
    let ids: Vec<_> = hanging
        .seen()
        .iter()
        .filter_map(|seen| seen.head.lines().find(|line| line.starts_with("webhook-id")).map(str::to_owned))
        .collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn m_48_a_target_must_be_public_and_a_test_says_what_came_of_it() {
    let app = TestApp::builder().set("EGRESS_ALLOW_HTTP", "false").set("EGRESS_ALLOW", "").start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    for url in ["http://hooks.example/x", "https://127.0.0.1/x", "https://169.254.169.254/x", "ftp://x", "nothing"] {
        for field in ["webhook", "chat"] {
            let page = owner.post("/t/acme/alerts/targets", &[("roles", "owner"), (field, url)]).await;
            assert!(page.status == 422 && page.body.contains("https://hooks.example.com/alerts"), "{url}: {}", page.body);
        }
    }
    let mut sql = app.sql().await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM app.alert_targets").fetch_one(&mut sql).await.expect("rows");
    assert_eq!(rows, 0, "nothing was changed");
}

#[tokio::test]
async fn m_48_tests_are_sent_and_keys_are_exchanged_under_targets() {
    let app = TestApp::start().await;
    let receiver = Upstream::start().await;
    app.tenant("acme").await;
    let secret = tell(&app, &receiver.url("/hook"), &receiver.url("/status/500")).await;
    app.act(|platform| async move { rotation::renew(&platform, "acme").await.expect("renewed") }).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    owner.post("/t/acme/alerts/test", &[]).await.leads_to("/t/acme/alerts");
    let page = owner.get("/t/acme/alerts").await.ok();
    assert!(page.body.contains("The chat did not take it: the server answered 500."), "{}", page.body);
    assert!(!page.body.contains("whsec_") && !page.body.contains("/status/500"), "secrets are shown once: {}", page.body);
    assert_eq!(kinds(&receiver), ["alert.test"]);
    let sent = receiver.seen();
    assert!(sent.iter().any(|seen| seen.line == "POST /status/500"));
    let signed = sent.into_iter().find(|seen| seen.line == "POST /hook").expect("the test");
    assert!(signed.head.contains("webhook-signature: v1,") && !signed.body.contains(&secret));
}
