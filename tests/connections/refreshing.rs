//! Tokens that run out, are refused, or come to nothing.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    World,
    provider::{Service, Ways},
    whoami, whoami_at,
};
use crate::support::{SOON, TestApp, eventually};

#[tokio::test]
async fn tokens_are_refreshed_in_the_background_before_they_run_out() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let agent = world.caller(&world.owner).await;
    // Of five minutes, the last quarter is left for it.
    app.clock.advance(TimeDelta::seconds(200));
    assert_eq!(whoami(&agent).await.result(), "owner");
    assert_eq!(service.asked("refresh_token").len(), 0, "not yet");
    app.clock.advance(TimeDelta::seconds(30));
    eventually("it is refreshed", SOON, async || (service.asked("refresh_token").len() == 1).then_some(())).await;
    let refresh = &service.asked("refresh_token")[0];
    assert_eq!(refresh["resource"], service.mcp());
    let now = trunkline_platform::clock::Clock::now(&*app.clock);
    eventually("its new tokens are stored", SOON, async || {
        let until = sqlx::query_scalar("SELECT min(expires_at) FROM app.connections").fetch_one(&mut app.sql().await).await;
        let until: Option<DateTime<Utc>> = until.expect("a time");
        until.filter(|until| *until > now + TimeDelta::seconds(250))
    })
    .await;
    assert_eq!(whoami(&agent).await.result(), "owner");
    assert_eq!(service.thefts(), 0);
}

#[tokio::test]
async fn many_calls_on_two_replicas_refresh_once() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let replica = app.with_settings(&[("PUBLIC_URL", &app.url)]).await;
    let world = World::new(&app, &service).await;
    let agent = world.caller(&world.owner).await;
    assert_eq!((whoami(&agent).await.result(), whoami_at(&replica, &app, &agent).await.result()), ("owner", "owner"));
    service.is(Ways { slow_ms: 700, ..Ways::default() });
    app.clock.advance(TimeDelta::seconds(310));
    let calls = (0..8).map(|i| {
        let (agent, app, replica) = (&agent, &app, &replica);
        async move {
            let answer = if i % 2 == 0 { whoami(agent).await } else { whoami_at(replica, app, agent).await };
            answer.result().to_owned()
        }
    });
    let said = futures_util::future::join_all(calls).await;
    assert!(said.iter().all(|who| who == "owner"), "{said:?}");
    assert_eq!((service.asked("refresh_token").len(), service.thefts()), (1, 0), "one flight, over both replicas");
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_and_then_the_person_is_asked() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let agent = world.caller(&world.owner).await;
    assert_eq!(whoami(&agent).await.result(), "owner");
    service.forget_access();
    assert_eq!(whoami(&agent).await.result(), "owner", "refreshed in the middle of the call");
    assert_eq!(service.asked("refresh_token").len(), 1);

    // Refused again right after: the connection is broken, and stays so without anybody being asked.
    service.is(Ways { refuses_all: true, ..Ways::default() });
    let refused = whoami(&agent).await;
    assert_eq!(refused.error_class(), "connection_needed", "{}", refused.text);
    assert!(refused.result().contains("Connect it again"), "{}", refused.text);
    assert_eq!(service.asked("refresh_token").len(), 2);
    service.is(Ways::default());
    assert_eq!(whoami(&agent).await.error_class(), "connection_needed");
    assert_eq!(service.asked("refresh_token").len(), 2, "what is broken is not tried");
    let page = world.owner.get("/account/connections").await.ok();
    assert!(page.body.contains("connect again") && page.body.contains("does not accept"), "{}", page.body);
    service.says("owner");
    world.connect(&world.owner).await.leads_to(&world.connect_path());
    assert_eq!(whoami(&agent).await.result(), "owner");
    let broken = "SELECT count(*) FROM app.audit_entries WHERE action = 'connection.broken'";
    assert_eq!(world.scalar(broken).await, 1);
}

#[tokio::test]
async fn a_provider_that_refuses_breaks_the_connection_and_one_that_is_away_does_not() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let agent = world.caller(&world.owner).await;
    service.is(Ways { away: Some(503), ..Ways::default() });
    app.clock.advance(TimeDelta::seconds(310));
    let away = whoami(&agent).await;
    assert_eq!(away.error_class(), "connection_unavailable", "{}", away.text);
    assert!(away.result().contains("status 503") && !away.result().contains("canary"), "{}", away.text);
    let page = world.owner.get(&world.connect_path()).await.ok();
    assert!(page.body.contains("The last refresh failed") && page.body.contains("status 503"), "{}", page.body);
    service.is(Ways::default());
    assert_eq!(whoami(&agent).await.result(), "owner", "it is back");
    assert!(!world.owner.get(&world.connect_path()).await.ok().body.contains("The last refresh failed"));

    service.forget_all();
    app.clock.advance(TimeDelta::seconds(310));
    assert_eq!(whoami(&agent).await.error_class(), "connection_needed");
    assert!(world.owner.get(&world.connect_path()).await.ok().body.contains("Connect your account again"));

    // Without a refresh token there is nothing to try.
    service.is(Ways { no_refresh: true, ..Ways::default() });
    service.says("owner");
    world.connect(&world.owner).await.leads_to(&world.connect_path());
    assert_eq!(whoami(&agent).await.result(), "owner");
    let before = service.asked("refresh_token").len();
    app.clock.advance(TimeDelta::seconds(310));
    assert_eq!(whoami(&world.caller(&world.owner).await).await.error_class(), "connection_needed");
    assert_eq!(service.asked("refresh_token").len(), before);
}
