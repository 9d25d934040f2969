//! M-63: a description that is read from a link is pinned by its SHA-256. Another document is refused, told once, and used for nothing until somebody
//! approves exactly that; an operator's manifest pins from outside.

use std::{collections::BTreeMap, fmt::Write as _};

use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_platform::{
    actor::Role,
    catalog::api::{Pin, supply},
    mail::Captured,
};

use super::{Importer, petstore, served};
use crate::support::{Era, SOON, TestApp, Upstream, Visitor, eventually, private::Folder, process::run};

const OWNER: &str = "owner@acme.example";

/// An hour goes by, and a bit; every description that is due is read.
async fn an_hour(app: &TestApp) {
    app.clock.advance(TimeDelta::minutes(70));
    read_due(app).await;
}

/// Waits until nothing is due: the installation's own round may have it.
async fn read_due(app: &TestApp) {
    eventually("all are read", SOON * 4, async || {
        app.act(|platform| async move { supply::read_due(&platform).await.expect("a round") }).await;
        let due = "SELECT count(*) FROM app.api_rounds WHERE due_at <= $1 OR leased_until IS NOT NULL";
        let now = trunkline_platform::clock::Clock::now(&*app.clock);
        let left: i64 = sqlx::query_scalar(due).bind(now).fetch_one(&mut app.sql().await).await.expect("rounds");
        (left == 0).then_some(())
    })
    .await;
}

/// Letters about descriptions so far.
fn told(app: &TestApp) -> Vec<Captured> {
    let letters = app.platform.mailer.outbox().expect("captured").list();
    letters.into_iter().filter(|letter| letter.subject.contains("description")).collect()
}

async fn told_times(app: &TestApp, times: usize) -> Vec<Captured> {
    eventually("letters", SOON, async || {
        let letters = told(app);
        (letters.len() == times).then_some(letters)
    })
    .await
}

/// What the audit log has about descriptions, oldest first; what is of one moment by name.
async fn events(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT action || CASE actor_kind WHEN 'system' THEN '' ELSE ' by ' || actor_kind END FROM app.audit_entries
         WHERE action LIKE 'api.description%' OR action LIKE 'api.%readable' ORDER BY at, action",
    )
    .fetch_all(&mut app.sql().await)
    .await
    .expect("entries")
}

fn requests(upstream: &Upstream) -> usize {
    upstream.seen().iter().filter(|seen| seen.line == "GET /document").count()
}

fn pin(document: &Value) -> String {
    Pin::of(document.to_string().as_bytes()).to_string()
}

/// The same API with other words and an operation more.
fn changed(server: &str, word: &str) -> Value {
    let mut document = petstore(server);
    document["paths"]["/pets"]["get"]["summary"] = json!(format!("Lists {word} pets"));
    document["paths"]["/owners"] = json!({ "get": { "operationId": "listOwners", "responses": {} } });
    document
}

#[tokio::test]
async fn m_63_another_document_is_used_for_nothing_until_it_is_approved() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    importer.tenant.member("viewer@acme.example", Role::Viewer).await;
    let server = upstream.url("");
    let api = importer.import("pets", &served(&upstream, &petstore(&server))).await;
    importer.publish(&api, &[("server", &server), ("secret_key", "s3cret")]).await;
    let agent = importer.tenant.agent("agent", "tools:destructive").await;
    let before = agent.list(Era::Stateless).await.text;
    an_hour(&app).await;
    assert_eq!(requests(&upstream), 2, "once to import it, once an hour later");
    assert!(importer.visitor.get(&api).await.ok().body.contains("Verified"));

    let newer = changed(&server, "all");
    served(&upstream, &newer);
    for _ in 0..3 {
        an_hour(&app).await;
    }
    assert_eq!(agent.list(Era::Stateless).await.text, before, "agents see what was published");
    assert!(agent.call(Era::Stateless, "listPets", json!({})).await.is_ok());
    let letters = told_times(&app, 1).await;
    let (old, new) = (pin(&petstore(&server)), pin(&newer));
    let letter = &letters[0];
    assert!(letter.to == OWNER && letter.subject == "The description of the API pets of acme has changed", "{}", letter.subject);
    for part in [&old, &new, &upstream.url("/document"), "1 operations are new, 1 are described otherwise, 0 are gone"] {
        assert!(letter.text.contains(part), "{part}: {}", letter.text);
    }
    let change = format!("{api}/change");
    for page in [&api, "/t/acme/sources", "/t/acme/status"] {
        let page = importer.visitor.get(page).await.ok();
        assert!(page.body.contains(&format!("href=\"{change}\"")), "{}", page.body);
    }
    let page = importer.visitor.get(&change).await.ok().body;
    for part in [&old, &new, "GET /pets<", "GET /owners", "title, description", "<ins>all </ins>", "Approve this document"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let viewer = Visitor::signed_in(&app.url, "viewer@acme.example").await;
    let seen = viewer.get(&change).await.ok().body;
    assert!(seen.contains(&new) && !seen.contains("Approve this document"), "{seen}");
    assert_eq!(viewer.post(&format!("{change}/approve"), &[("digest", &new)]).await.status, 403);
    assert_eq!(events(&app).await, ["api.description_changed"]);

    importer.visitor.post(&format!("{change}/approve"), &[("digest", &new)]).await.leads_to(&api);
    let page = importer.visitor.get(&api).await.ok().body;
    assert!(page.contains("1 new, 1 changed, 0 removed") && page.contains(&new) && !page.contains(&change), "{page}");
    assert_eq!(agent.list(Era::Stateless).await.text, before, "approved is not published");
    importer.publish(&api, &[("server", &server)]).await;
    assert!(agent.list(Era::Stateless).await.text.contains("Lists all pets"));
    an_hour(&app).await;
    assert_eq!(events(&app).await, ["api.description_changed", "api.description_approved by member"]);
    assert_eq!(told(&app).len(), 1);
    assert!(!importer.visitor.get("/t/acme/status").await.ok().body.contains(&change));
}

#[tokio::test]
async fn what_is_approved_is_what_was_looked_at_and_what_goes_back_needs_no_decision() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let server = upstream.url("");
    let first = petstore(&server);
    let link = served(&upstream, &first);
    let api = importer.import("pets", &link).await;
    let change = format!("{api}/change");
    let (second, third) = (changed(&server, "all"), changed(&server, "other"));
    served(&upstream, &second);
    an_hour(&app).await;
    told_times(&app, 1).await;
    // It changes once more while somebody looks.
    served(&upstream, &third);
    an_hour(&app).await;
    for action in ["approve", "dismiss"] {
        let refused = importer.visitor.post(&format!("{change}/{action}"), &[("digest", &pin(&second))]).await;
        assert_eq!(refused.status, 409);
        for part in ["Nothing was decided", &pin(&second), &pin(&third)] {
            assert!(refused.body.contains(part), "{part}: {}", refused.body);
        }
    }
    assert!(importer.visitor.get(&api).await.ok().body.contains(&pin(&first)), "the first is pinned");
    // Back to the first.
    served(&upstream, &first);
    an_hour(&app).await;
    assert!(importer.visitor.get(&change).await.ok().body.contains("Nothing waits"));
    let refused = importer.visitor.post(&format!("{change}/approve"), &[("digest", &pin(&third))]).await;
    assert!(refused.status == 409 && refused.body.contains("Nothing waits for a decision any more"), "{}", refused.body);
    // Nobody is told of the same document twice, nor of one that is not wanted.
    served(&upstream, &second);
    an_hour(&app).await;
    importer.visitor.post(&format!("{change}/dismiss"), &[("digest", &pin(&second))]).await.leads_to(&api);
    an_hour(&app).await;
    assert!(importer.visitor.get(&change).await.ok().body.contains("Nothing waits"), "it is not wanted");
    let all = events(&app).await;
    let wanted = ["changed", "changed", "replaced", "returned", "changed", "dismissed by member"];
    assert_eq!(all, wanted.map(|one| format!("api.description_{one}")));
    // The third was never told of, as the second waited for somebody; now it is.
    served(&upstream, &third);
    an_hour(&app).await;
    assert!(told_times(&app, 2).await.iter().any(|letter| letter.text.contains(&pin(&third))));
    // Somebody who reads the second again thinks better of it.
    served(&upstream, &second);
    importer.read_again(&api, &link).await;
    assert!(importer.visitor.get(&api).await.ok().body.contains(&pin(&second)));
    importer.visitor.post(&format!("{api}/again"), &[("link", &link)]).await.leads_to(&api);
    assert!(importer.visitor.get(&api).await.ok().body.contains("it is the document that is pinned"));
    an_hour(&app).await;
    assert_eq!(told(&app).len(), 2);
}

#[tokio::test]
async fn what_a_member_reads_again_waits_for_approval_too_and_stays_on_their_desk() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let server = upstream.url("");
    let link = served(&upstream, &petstore(&server));
    let api = importer.import("pets", &link).await;
    let (mine, theirs) = (changed(&server, "my"), changed(&server, "their"));
    served(&upstream, &mine);
    let change = format!("{api}/change");
    importer.visitor.post(&format!("{api}/again"), &[("link", &link)]).await.leads_to(&change);
    assert!(importer.visitor.get(&change).await.ok().body.contains(&pin(&mine)));
    assert!(importer.visitor.get(&api).await.ok().body.contains(&pin(&petstore(&server))), "nothing is pinned yet");
    served(&upstream, &theirs);
    an_hour(&app).await;
    assert!(importer.visitor.get(&change).await.ok().body.contains(&pin(&mine)), "not taken away while they look");
    importer.visitor.post(&format!("{change}/approve"), &[("digest", &pin(&mine))]).await.leads_to(&api);
    an_hour(&app).await;
    assert!(importer.visitor.get(&change).await.ok().body.contains(&pin(&theirs)));
    told_times(&app, 1).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_bounded_said_and_told_when_it_lasts() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let server = upstream.url("");
    let link = served(&upstream, &petstore(&server));
    let api = importer.import("pets", &link).await;
    importer.publish(&api, &[("server", &server)]).await;
    let agent = importer.tenant.agent("agent", "tools:read").await;
    let leads_to = async |link: &str| {
        let moved = sqlx::query("UPDATE app.apis SET link = $1").bind(link).execute(&mut app.sql().await).await;
        assert_eq!(moved.expect("moved").rows_affected(), 1);
    };
    let started = std::time::Instant::now();
    for (link, why) in [
        (upstream.url("/status/503"), "status 503"),
        (upstream.url("/redirect/x"), "which is not followed"),
        (upstream.url("/huge"), "larger than 10485760 bytes"),
        (upstream.url("/endless"), "larger than 10485760 bytes"),
        (upstream.url("/cut"), "try again"),
        (upstream.url("/garbage"), "try again"),
        (upstream.url("/not-utf8"), "UTF-8"),
        (upstream.url("/x"), "openapi"),
        (upstream.url("/hang"), "try again"),
        ("http://10.0.0.1/openapi.json".to_owned(), "public hosts only"),
        ("http://169.254.169.254/latest".to_owned(), "public hosts only"),
        ("http://127.0.0.1:1/openapi.json".to_owned(), "try again"),
    ] {
        leads_to(&link).await;
        an_hour(&app).await;
        for page in [&api, "/t/acme/sources", "/t/acme/status"] {
            let page = importer.visitor.get(page).await.ok().body;
            assert!(page.contains(why) && page.contains("cannot be read"), "{link}: {why}: {page}");
        }
    }
    assert!(started.elapsed() < SOON * 6, "{:?}", started.elapsed());
    assert!(agent.call(Era::Stateless, "listPets", json!({})).await.is_ok(), "what is published goes on");
    assert!(told(&app).is_empty() && events(&app).await.is_empty(), "not for an hour or two");
    for _ in 0..12 {
        an_hour(&app).await;
    }
    let letters = told_times(&app, 1).await;
    assert!(
        letters[0].subject.contains("pets of acme cannot be read") && letters[0].text.contains("try again"),
        "{}",
        letters[0].text
    );
    leads_to(&link).await;
    an_hour(&app).await;
    assert_eq!(events(&app).await, ["api.unreadable", "api.readable"]);
    assert!(!importer.visitor.get(&api).await.ok().body.contains("cannot be read"));
    assert_eq!(told(&app).len(), 1);
}

#[tokio::test]
async fn many_replicas_read_a_description_once_and_many_descriptions_not_at_once() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let link = served(&upstream, &petstore(&upstream.url("")));
    for i in 0..20 {
        importer.import(&format!("pets-{i}"), &link).await;
    }
    let due: Vec<chrono::DateTime<chrono::Utc>> = sqlx::query_scalar("SELECT due_at FROM app.api_rounds ORDER BY due_at")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("rounds");
    assert!(due[19] - due[0] > TimeDelta::minutes(10), "{due:?}");
    let (other, before) = (app.replica().await, requests(&upstream));
    app.clock.advance(TimeDelta::minutes(70));
    let round = |app: &TestApp| {
        app.runtime().spawn({
            let platform = app.platform.clone();
            async move { supply::read_due(&platform).await }
        })
    };
    for done in [round(&app), round(&other)] {
        done.await.expect("no panic").expect("a round");
    }
    read_due(&app).await;
    assert_eq!(requests(&upstream) - before, 20);
}

/// A manifest with these documents.
fn manifest(folder: &Folder, name: &str, only: bool, documents: &[(&str, &str)]) -> String {
    let mut text = format!("only = {only}\n");
    for (link, sha256) in documents {
        writeln!(text, "[[documents]]\nlink = \"{link}\"\nsha256 = \"{sha256}\"").expect("written");
    }
    let path = folder.0.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[tokio::test]
async fn a_manifest_wins_over_whoever_approves() {
    let (upstream, other, folder) = (Upstream::start().await, Upstream::start().await, Folder::new("manifest"));
    let server = upstream.url("");
    let (right, wrong) = (petstore(&server), changed(&server, "wrong"));
    let link = served(&upstream, &wrong);
    let path = manifest(&folder, "pins.toml", false, &[(&link, &pin(&right))]);
    let app = TestApp::builder().set("SUPPLY_MANIFEST", path).start().await;
    let importer = Importer::new(&app).await;
    let import = async |importer: &Importer<'_>, name: &str, link: &str| {
        importer.visitor.post("/t/acme/sources/import", &[("name", name), ("link", link)]).await
    };
    let refused = import(&importer, "pets", &link).await;
    assert_eq!(refused.status, 422);
    for part in [pin(&right), pin(&wrong), "manifest".to_owned()] {
        assert!(refused.body.contains(&part), "{part}: {}", refused.body);
    }
    served(&upstream, &right);
    let api = importer.import("pets", &link).await;
    importer.import("another", &served(&other, &wrong)).await;
    importer.publish(&api, &[("server", &server)]).await;
    served(&upstream, &wrong);
    an_hour(&app).await;
    let change = format!("{api}/change");
    let page = importer.visitor.get(&change).await.ok().body;
    assert!(page.contains("cannot be approved here") && !page.contains("Approve this document"), "{page}");
    let refused = importer.visitor.post(&format!("{change}/approve"), &[("digest", &pin(&wrong))]).await;
    assert!(refused.status == 409 && refused.body.contains("manifest pins"), "{}", refused.body);
    assert!(importer.visitor.get(&api).await.ok().body.contains(&pin(&right)));

    // Somebody with the database at hand changes the pin; the operator pins only another link.
    let only = manifest(&folder, "only.toml", true, &[("https://api.example/openapi.json", &pin(&right))]);
    let strict = app.with_settings(&[("SUPPLY_MANIFEST", &only)]).await;
    let visitor = Visitor::signed_in(&strict.url, OWNER).await;
    let before = requests(&upstream);
    let denied = visitor.post("/t/acme/sources/import", &[("name", "third"), ("link", &link)]).await;
    assert!(denied.status == 422 && denied.body.contains("the only links that may be read"), "{}", denied.body);
    assert_eq!(requests(&upstream), before, "it is not read at all");
    let fields = [("then", "publish"), ("untried_reason", "a test"), ("server", &server), ("prefix", "")];
    let denied = visitor.post(&api, &fields).await;
    assert!(denied.status == 422 && denied.body.contains("Nothing was published"), "{}", denied.body);
    assert!(visitor.get(&api).await.ok().body.contains("Not the document that the operator pins"));
}

#[tokio::test]
async fn a_bad_manifest_stops_the_start_and_a_good_one_counts_for_the_command_line_too() {
    let (app, upstream, folder) = (TestApp::start().await, Upstream::start().await, Folder::new("manifest"));
    let link = served(&upstream, &petstore(&upstream.url("")));
    let right = pin(&petstore(&upstream.url("")));
    let with = |path: &str| {
        let mut settings: BTreeMap<String, String> = app.settings().clone();
        settings.insert("TRUNKLINE_MAIL_SMTP_URL".to_owned(), "smtp://127.0.0.1:1".to_owned());
        settings.insert("TRUNKLINE_SUPPLY_MANIFEST".to_owned(), path.to_owned());
        settings
    };
    let entry = (link.as_str(), right.as_str());
    for (path, why) in [
        (folder.0.join("none.toml").display().to_string(), "cannot be read"),
        (
            manifest(&folder, "short.toml", false, &[entry, ("https://b.example/x", "abc")]),
            "line 7: sha256: expected a SHA-256 as 64 digits",
        ),
        (manifest(&folder, "twice.toml", false, &[entry, entry]), "twice, as documents 1 and 2"),
        (manifest(&folder, "empty.toml", true, &[]), "names no documents"),
    ] {
        for command in [&["serve"][..], &["config", "check"], &["doctor"]] {
            let output = run(command, &with(&path), &folder.0);
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(
                output.status.code() == Some(1) && text.contains("supply.manifest") && text.contains(why),
                "{command:?} {why}: {text}"
            );
        }
    }
    let good = with(&manifest(&folder, "good.toml", false, &[entry]));
    let import = ["source", "import", &link, "--dry-run", "--json"];
    let output = run(&import, &good, &folder.0);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["sha256"], right.as_str());
    let doctor = run(&["doctor"], &good, &folder.0);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("a manifest pins 1 documents"));
    served(&upstream, &changed(&upstream.url(""), "wrong"));
    let output = run(&import, &good, &folder.0);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && output.stdout.is_empty() && text.contains(&right), "{text}");
}
