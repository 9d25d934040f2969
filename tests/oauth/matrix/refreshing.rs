//! Refresh tokens: used once, forgiven once, ended together (O-30, O-31), and what is given back (O-40 to O-42, A-09).

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use trunkline_platform::{
    Platform, accounts,
    actor::Role,
    agents::{self, AgentState},
    ids::{ClientId, GrantId},
    oauth,
};

use super::{
    report::{Report, Seen, holds, refused, same},
    world::{World, part},
};
use crate::support::{
    Answer, Visitor, http,
    oauth::{OAuthClient, TokenPair},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    rotation(report, world).await;
    bound(report, world).await;
    given_back(report, world).await;
    revoked(report, world).await;
}

/// Refresh tokens of that grant that could be used.
async fn leaves(world: &World<'_>, tokens: &TokenPair) -> i64 {
    let grant: GrantId = part(&tokens.access, 1)["grant"].as_str().and_then(|id| id.parse().ok()).expect("a grant");
    let query = "SELECT count(*) FROM app.refresh_tokens r JOIN app.grants g ON g.id = r.grant_id
                 WHERE g.id = $1 AND r.used_at IS NULL AND g.revoked_at IS NULL";
    sqlx::query_scalar(query).bind(grant).fetch_one(&mut world.app.sql().await).await.expect("a count")
}

async fn rotation(report: &mut Report, world: &World<'_>) {
    let client = &world.client;
    report
        .case("O-30", "each use gives another", async {
            let first = world.connect(&["tools:read"]).await;
            let second = TokenPair::of(&client.refresh(&first.refresh).await);
            holds("another", first.refresh != second.refresh && first.access != second.access, "the same")?;
            world.works(&second.access).await?;
            same("live", leaves(world, &second).await, 1)
        })
        .await;
    report
        .case("O-30", "an old one after its successor was used ends the family", async {
            let first = world.connect(&["tools:read"]).await;
            let second = TokenPair::of(&client.refresh(&first.refresh).await);
            let third = TokenPair::of(&client.refresh(&second.refresh).await);
            world.works(&third.access).await?;
            refused(&client.refresh(&first.refresh).await, 400, "invalid_grant")?;
            for tokens in [&first, &second, &third] {
                world.is_dead(&tokens.access).await?;
                refused(&client.refresh(&tokens.refresh).await, 400, "invalid_grant")?;
            }
            let why: Option<String> = sqlx::query_scalar("SELECT revoked_why FROM app.grants WHERE id = $1")
                .bind(part(&third.access, 1)["grant"].as_str().and_then(|id| id.parse::<GrantId>().ok()).expect("a grant"))
                .fetch_one(&mut world.app.sql().await)
                .await
                .expect("a grant");
            same("why", why.as_deref(), Some("refresh_reuse"))
        })
        .await;
    report
        .case("O-30", "a lost answer is forgiven once", async {
            let first = world.connect(&["tools:read"]).await;
            let lost = TokenPair::of(&client.refresh(&first.refresh).await);
            let again = TokenPair::of(&client.refresh(&first.refresh).await);
            same("live", leaves(world, &again).await, 1)?;
            refused(&client.refresh(&first.refresh).await, 400, "invalid_grant")?;
            same("still live", leaves(world, &again).await, 1)?;
            let next = TokenPair::of(&client.refresh(&again.refresh).await);
            world.works(&next.access).await?;
            refused(&client.refresh(&lost.refresh).await, 400, "invalid_grant")?;
            world.is_dead(&next.access).await
        })
        .await;
    report
        .case("O-30", "after a minute nothing is forgiven", async {
            let first = world.connect(&["tools:read"]).await;
            let second = TokenPair::of(&client.refresh(&first.refresh).await);
            world.app.clock.advance(TimeDelta::seconds(61));
            refused(&client.refresh(&first.refresh).await, 400, "invalid_grant")?;
            world.is_dead(&second.access).await
        })
        .await;
    report
        .case("O-30", "of 64 at once one live one is left", async {
            let first = world.connect(&["tools:read"]).await;
            let answers = futures_util::future::join_all((0..64).map(|_| client.refresh(&first.refresh))).await;
            let good = answers.iter().filter(|answer| answer.status == 200).count();
            holds("one, or two where an answer was taken for lost", matches!(good, 1 | 2), good)?;
            let bad = answers.iter().filter(|answer| answer.status != 200);
            bad.into_iter().try_for_each(|answer| refused(answer, 400, "invalid_grant"))?;
            same("live", leaves(world, &first).await, 1)
        })
        .await;
}

async fn bound(report: &mut Report, world: &World<'_>) {
    report
        .case("O-31", "it is not kept as it is", async {
            let tokens = world.connect(&["tools:read"]).await;
            let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM app.refresh_tokens r WHERE r::text LIKE '%' || $1 || '%'")
                .bind(&tokens.refresh)
                .fetch_one(&mut world.app.sql().await)
                .await
                .expect("a count");
            same("rows with it", kept, 0)
        })
        .await;
    for kind in ["registered", "confidential"] {
        report
            .case("O-31", format!("another client, {kind}, has no use for it, and it goes on"), async {
                let tokens = world.connect(&["tools:read"]).await;
                let other = if kind == "registered" { OAuthClient::register(world.app).await } else { world.web.clone() };
                refused(&other.refresh(&tokens.refresh).await, 400, "invalid_grant")?;
                world.works(&tokens.access).await?;
                same("its own", world.client.refresh(&tokens.refresh).await.status, 200)
            })
            .await;
    }
    report
        .case("O-31", "an access token and a code are none", async {
            let tokens = world.connect(&["tools:read"]).await;
            for text in [&tokens.access, &world.code().await, &tokens.refresh[..tokens.refresh.len() - 1].to_owned()] {
                refused(&world.client.refresh(text).await, 400, "invalid_grant")?;
            }
            same("it goes on", world.client.refresh(&tokens.refresh).await.status, 200)
        })
        .await;
}

/// A client gave something back: 200 and nothing else.
fn taken(answer: &Answer) -> Seen {
    let seen = (answer.status, &answer.json, answer.header("cache-control"));
    same("answer", seen, (200, &json!({}), "no-store"))
}

async fn given_back(report: &mut Report, world: &World<'_>) {
    let client = &world.client;
    let tokens = world.connect(&["tools:read"]).await;
    for (what, token) in [
        ("nonsense", "x".to_owned()),
        ("like a refresh token", "tl_refresh_x".to_owned()),
        ("one that ended differently", crate::support::oauth::other_end(&tokens.refresh)),
        ("like an access token", "a.b.c".to_owned()),
        ("a key", world.agent.key.clone()),
    ] {
        report
            .case("O-40", format!("unknown: {what}"), async {
                taken(&client.post("/oauth/revoke", &[("token", &token)]).await)?;
                world.works(&tokens.access).await
            })
            .await;
    }
    report.case("O-40", "nothing", async { refused(&client.post("/oauth/revoke", &[]).await, 400, "invalid_request") }).await;
    report
        .case("O-40", "by nobody", async {
            let answer = world.form("/oauth/revoke", &[("token", &tokens.refresh)]).send().await.expect("an answer");
            refused(&Answer::read(answer).await, 401, "invalid_client")?;
            world.works(&tokens.access).await
        })
        .await;
    report
        .case("O-40", "by a client with a wrong secret", async {
            let wrong = OAuthClient { secret: Some("tl_secret_x".to_owned()), ..world.web.clone() };
            refused(&wrong.post("/oauth/revoke", &[("token", "x")]).await, 401, "invalid_client")
        })
        .await;
    let other = OAuthClient::register(world.app).await;
    for (who, other) in [("registered", &other), ("confidential", &world.web)] {
        for (what, token) in [("refresh", &tokens.refresh), ("access", &tokens.access)] {
            report
                .case("O-41", format!("another client, {who}, gives back an {what} token: it works on"), async {
                    taken(&other.post("/oauth/revoke", &[("token", token)]).await)?;
                    world.works(&tokens.access).await
                })
                .await;
        }
    }
    for hint in ["refresh_token", "access_token", "nonsense"] {
        report
            .case("O-42", format!("a refresh token ends everything, whatever the hint: {hint}"), async {
                let tokens = world.connect(&["tools:read"]).await;
                taken(&client.post("/oauth/revoke", &[("token", &tokens.refresh), ("token_type_hint", hint)]).await)?;
                world.is_dead(&tokens.access).await?;
                refused(&client.refresh(&tokens.refresh).await, 400, "invalid_grant")?;
                taken(&client.post("/oauth/revoke", &[("token", &tokens.refresh)]).await)
            })
            .await;
    }
    report
        .case("O-42", "an access token ends alone", async {
            let tokens = world.connect(&["tools:read"]).await;
            taken(&client.post("/oauth/revoke", &[("token", &tokens.access)]).await)?;
            world.is_dead(&tokens.access).await?;
            let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
            world.works(&fresh.access).await
        })
        .await;
    report
        .case("O-42", "an old refresh token ends everything too", async {
            let first = world.connect(&["tools:read"]).await;
            let second = TokenPair::of(&client.refresh(&first.refresh).await);
            taken(&client.post("/oauth/revoke", &[("token", &first.refresh)]).await)?;
            world.is_dead(&second.access).await
        })
        .await;
}

/// Ways to end what a member granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Grant,
    Member,
    Leave,
    Role,
    Client,
    Agent,
    Tenant,
}

async fn end(
    platform: Platform,
    way: Way,
    owner: trunkline_platform::actor::Member,
    member: trunkline_platform::actor::Member,
    ids: (GrantId, ClientId, trunkline_platform::ids::AgentId),
) {
    let user = member.user;
    match way {
        Way::Grant => drop(oauth::revoke_grant(&platform, &owner, ids.0).await.expect("revoked")),
        Way::Member => accounts::remove(&platform, &owner, user).await.expect("removed"),
        Way::Leave => accounts::leave(&platform, &member).await.expect("left"),
        Way::Role => accounts::change_role(&platform, &owner, user, Role::Viewer).await.expect("changed"),
        Way::Client => drop(oauth::block_client(&platform, &owner, ids.1).await.expect("blocked")),
        Way::Agent => agents::set_state(&platform, &owner, ids.2, AgentState::Suspended).await.expect("suspended"),
        Way::Tenant => {}
    }
}

async fn revoked(report: &mut Report, world: &World<'_>) {
    // Its own tenant: what is ended here is needed by nobody else.
    let tenant = world.app.tenant("ended").await;
    tenant.tool("echo", crate::support::tools::echo()).await;
    let second = world.app.with_settings(&[("PUBLIC_URL", &world.app.url)]).await;
    let host = world.app.url.trim_start_matches("http://").to_owned();
    let here = tenant.mcp_url();
    let there = here.replace(&world.app.url, &second.url);
    let status = async |url: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        world.list(url, &[("host", &host), ("authorization", &authorization)]).await.status
    };
    for (i, way) in [Way::Grant, Way::Member, Way::Leave, Way::Role, Way::Client, Way::Agent, Way::Tenant].into_iter().enumerate()
    {
        report
            .case("A-09", format!("ended by {way:?}: refused by both replicas from the next request on"), async {
                let agent = tenant.agent(&format!("agent-{i}"), "tools:read").await;
                let email = format!("member{i}@ended.example");
                let member = tenant.member(&email, Role::Developer).await;
                let person = Visitor::signed_in(&world.app.url, &email).await;
                let client = OAuthClient::register(world.app).await;
                let id = agent.id.to_string();
                let location =
                    client.consent(&person, &client.query(&here, &[]), &[("agent", &id), ("scopes", "tools:read")]).await;
                let tokens = TokenPair::of(&client.redeem(&crate::support::oauth::answer_of(&location)["code"]).await);
                for url in [&here, &there] {
                    same("before", status(url, &tokens.access).await, 200)?;
                }
                let grant: GrantId = part(&tokens.access, 1)["grant"].as_str().and_then(|id| id.parse().ok()).expect("a grant");
                let mut sql = world.app.sql().await;
                let known: ClientId = sqlx::query_scalar("SELECT client_id FROM app.grants WHERE id = $1")
                    .bind(grant)
                    .fetch_one(&mut sql)
                    .await
                    .expect("a client");
                let owner = tenant.owner.clone();
                world.app.act(move |platform| end(platform, way, owner, member, (grant, known, agent.id))).await;
                let wanted = if matches!(way, Way::Agent | Way::Tenant) { 403 } else { 401 };
                if way == Way::Tenant {
                    let set = "UPDATE app.tenants SET state = 'suspended' WHERE id = $1";
                    sqlx::query(set).bind(tenant.id).execute(&mut sql).await.expect("suspended");
                    // There is no verb for it yet: the replicas hear of the change of the row.
                    crate::support::eventually("both hear of it", crate::support::SOON, async || {
                        (status(&there, &tokens.access).await == 403 && status(&here, &tokens.access).await == 403).then_some(())
                    })
                    .await;
                }
                for url in [&there, &here] {
                    same("after", status(url, &tokens.access).await, wanted)?;
                }
                let refreshed = client.refresh(&tokens.refresh).await;
                // A suspended agent's grant goes on when it is resumed; its tokens open nothing meanwhile.
                if wanted == 401 { refused(&refreshed, 400, "invalid_grant") } else { Ok(()) }
            })
            .await;
    }
    report
        .case("A-09", "a key", async {
            let agent = world.acme.agent("keyed", "tools:read").await;
            world.works(&agent.key).await?;
            let (owner, key) = (world.acme.owner.clone(), agent.key_id);
            world.app.act(|platform| async move { agents::revoke_key(&platform, &owner, key).await.expect("revoked") }).await;
            world.is_dead(&agent.key).await
        })
        .await;
    report
        .case("O-34", "a server that starts afterwards refuses what was revoked before", async {
            let tokens = world.connect(&["tools:read"]).await;
            same("revoked", world.client.post("/oauth/revoke", &[("token", &tokens.refresh)]).await.status, 200)?;
            let fresh = world.app.with_settings(&[("PUBLIC_URL", &world.app.url)]).await;
            // On a busy machine its first answer takes longer than a request may.
            crate::support::eventually("it answers", crate::support::SOON, async || {
                let jwks = http().get(format!("{}/oauth/jwks", fresh.url)).header("host", &host).send().await.ok()?;
                (jwks.status() == 200).then_some(())
            })
            .await;
            let url = world.acme.mcp_url().replace(&world.app.url, &fresh.url);
            let authorization = format!("Bearer {}", tokens.access);
            let answer = world.list(&url, &[("host", &host), ("authorization", &authorization)]).await;
            same("answer", (answer.status, answer.header("www-authenticate")), (401, &*world.challenge(true)))?;
            let form = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), ("client_id", &*world.client.id)];
            let request = http().request(Method::POST, format!("{}/oauth/token", fresh.url)).header("host", &host).form(&form);
            refused(&Answer::read(request.send().await.expect("an answer")).await, 400, "invalid_grant")
        })
        .await;
}
