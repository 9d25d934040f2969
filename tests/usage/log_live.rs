//! The log while it grows: what the page asks for, what it hears, and how many may ask.

use super::log::recorded;
use crate::support::{TestApp, tools};

#[tokio::test]
async fn new_calls_are_told_once_and_with_the_filter() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let (billing, other) = (acme.agent("billing", "tools:read").await, acme.agent("other", "tools:read").await);
    let owner = acme.owner_browser().await;
    assert!(billing.echo("one").await.is_ok());
    recorded(&app, 1).await;
    let log = owner.get("/t/acme/logs?agent=billing").await.ok().body;
    assert!(log.contains("data-tail=\"/t/acme/logs/tail?agent=billing\"") && log.contains("Refresh"), "{log}");
    let first = owner.get("/t/acme/logs/tail?agent=billing").await.ok();
    let known = first.between("data-known=\"", "\"").expect("a digest").to_owned();
    assert_eq!(first.body.matches("<tr data-call=").count(), 1);
    let same = format!("/t/acme/logs/tail?agent=billing&known={known}");
    assert_eq!(owner.get(&same).await.status, 204, "nothing is new");
    assert!(other.echo("two").await.is_ok());
    recorded(&app, 2).await;
    assert_eq!(owner.get(&same).await.status, 204, "it is of another agent");
    assert!(billing.echo("three").await.is_ok());
    recorded(&app, 3).await;
    assert_eq!(owner.get(&same).await.ok().body.matches("<tr data-call=").count(), 2);

    assert_eq!(owner.get("/t/acme/logs/tail?agent=nobody").await.status, 422);
    assert_eq!(owner.get("/t/acme/logs/tail?client=1").await.status, 422);
    // What is over gets nothing new.
    let past = owner.get("/t/acme/logs?to=2020-01-01T00:00:00Z").await.ok().body;
    assert!(!past.contains("data-tail="), "{past}");
}

#[tokio::test]
async fn pages_that_are_left_open_take_a_bounded_part() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let owner = acme.owner_browser().await;
    // A lock that each question has to wait for, as a busy database would make it.
    let mut sql = app.sql().await;
    sqlx::query("BEGIN").execute(&mut sql).await.expect("a transaction");
    sqlx::query("LOCK TABLE app.calls IN ACCESS EXCLUSIVE MODE").execute(&mut sql).await.expect("a lock");
    let asked = futures_util::future::join_all((0..12).map(|_| owner.get("/t/acme/logs/tail")));
    let unlock = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        sqlx::query("COMMIT").execute(&mut sql).await.expect("unlocked");
    };
    let (pages, ()) = tokio::join!(asked, unlock);
    let refused: Vec<_> = pages.iter().filter(|page| page.status == 429).collect();
    assert_eq!((pages.iter().filter(|page| page.status == 200).count(), refused.len()), (3, 9));
    assert!(refused.iter().all(|page| page.header("retry-after") == "5"));
    assert_eq!(owner.get("/t/acme/logs/tail").await.status, 200, "places are free again");
}
