//! The matrix: every requirement on the authorization server and on tokens at the endpoint, by its id, asked over HTTP, once for each
//! revision that programs speak.

mod ageing;
mod clients;
mod codes;
mod consent;
mod documents;
mod endpoint;
mod people;
mod redirects;
mod refreshing;
mod report;
mod services;
mod tokens;
mod world;

use report::Report;
use world::World;

use crate::support::TestApp;

async fn run(revision: &'static str) {
    // On a busy machine Redis would count as away now and then; what is done then is another test's question.
    let app = TestApp::builder().unlimited().set("REDIS_TIMEOUT_MS", 10_000).set("REDIS_DECISION_MS", 10_000).start().await;
    let (world, mut report) = (World::new(&app, revision).await, Report::new(revision));
    documents::cases(&mut report, &world).await;
    // Before the clock is moved: an identity provider has one of its own.
    people::cases(&mut report, &world).await;
    endpoint::cases(&mut report, &world).await;
    redirects::cases(&mut report, &world).await;
    codes::cases(&mut report, &world).await;
    tokens::cases(&mut report, &world).await;
    consent::cases(&mut report, &world).await;
    refreshing::cases(&mut report, &world).await;
    services::cases(&mut report, &world).await;
    clients::cases(&mut report, &world).await;
    ageing::cases(&mut report, &world).await;
    report.finish();
}

#[tokio::test]
async fn matrix_of_2025_03_26() {
    run("2025-03-26").await;
}

#[tokio::test]
async fn matrix_of_2025_06_18() {
    run("2025-06-18").await;
}

#[tokio::test]
async fn matrix_of_2025_11_25() {
    run("2025-11-25").await;
}

#[tokio::test]
async fn matrix_of_2026_07_28() {
    run("2026-07-28").await;
}
