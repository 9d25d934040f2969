//! What time does: idle and absolute ends (O-31), keys that change over (O-60), what is kept of clients (C-05, C-10). Last of all, since it
//! moves the clock by weeks.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use trunkline_platform::{clock::Clock as _, oauth};

use super::{
    report::{Report, holds, refused, same},
    world::{SigningKey, World, part},
};
use crate::support::{
    Upstream,
    oauth::{OAuthClient, TokenPair},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    keys(report, world).await;
    clients(report, world).await;
    ends(report, world).await;
}

async fn published(world: &World<'_>) -> BTreeSet<String> {
    let keys = world.get("/oauth/jwks").await.json["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().filter_map(|key| Some(key["kid"].as_str()?.to_owned())).collect()
}

async fn keys(report: &mut Report, world: &World<'_>) {
    let kid = |tokens: &TokenPair| part(&tokens.access, 0)["kid"].as_str().unwrap_or_default().to_owned();
    report
        .case("O-60", "public keys only, kept for five minutes", async {
            let answer = world.get("/oauth/jwks").await;
            same("kept for", (answer.status, answer.header("cache-control")), (200, "max-age=300"))?;
            let keys = answer.json["keys"].as_array().cloned().unwrap_or_default();
            let secret = ["d", "p", "q", "dp", "dq", "qi", "k"];
            holds("public", !keys.is_empty() && keys.iter().all(|key| secret.iter().all(|name| key.get(name).is_none())), &keys)
        })
        .await;
    let first = world.connect(&["tools:read"]).await;
    let old = kid(&first);
    let rotation = world.app.act(|platform| async move { oauth::rotate_signing_keys(&platform, None).await }).await;
    let new = rotation.ok().flatten().expect("a new key");
    report
        .case("O-60", "a new key is published ten minutes before it signs", async {
            let wait = new.active_from - world.app.clock.now();
            holds("ten minutes", wait > TimeDelta::minutes(9) && wait <= TimeDelta::minutes(10), wait)?;
            same("published", published(world).await, BTreeSet::from([old.clone(), new.kid.clone()]))
        })
        .await;
    world.app.clock.advance(TimeDelta::minutes(9));
    report
        .case("O-60", "until then the old one signs", async {
            same("kid", kid(&world.connect(&["tools:read"]).await), old.clone())
        })
        .await;
    let last_of_old = world.connect(&["tools:read"]).await;
    world.app.clock.advance(TimeDelta::minutes(2));
    report
        .case("O-60", "then the new one signs, and what the old one signed works", async {
            let tokens = world.connect(&["tools:read"]).await;
            same("kid", kid(&tokens), new.kid.clone())?;
            world.works(&tokens.access).await?;
            world.works(&last_of_old.access).await
        })
        .await;
    world.app.clock.advance(TimeDelta::minutes(17));
    report
        .case("O-60", "when nothing of the old one lives, it is gone", async {
            same("published", published(world).await, BTreeSet::from([new.kid.clone()]))?;
            // Its holder may sign what looks fresh: nobody believes it.
            let key = SigningKey::of(world.app, &last_of_old.access).await;
            let mut claims = part(&last_of_old.access, 1);
            (claims["iat"], claims["exp"]) = (world.now().into(), (world.now() + 600).into());
            world.is_dead(&key.sign(&part(&last_of_old.access, 0), &claims)).await
        })
        .await;
    report
        .case("O-60", "a key that somebody else may know is gone at once", async {
            let tokens = world.connect(&["tools:read"]).await;
            let gone = kid(&tokens);
            world.works(&tokens.access).await?;
            let its = gone.clone();
            let removed =
                world.app.act(|platform| async move { oauth::rotate_signing_keys(&platform, Some(&its)).await.is_ok() }).await;
            holds("removed", removed, &gone)?;
            world.is_dead(&tokens.access).await?;
            holds("not published", !published(world).await.contains(&gone), &gone)?;
            let fresh = TokenPair::of(&world.client.refresh(&tokens.refresh).await);
            world.works(&fresh.access).await
        })
        .await;
}

async fn clients(report: &mut Report, world: &World<'_>) {
    report
        .case("C-05", "a client whose server is away goes on for a week", async {
            let upstream = Upstream::start().await;
            let client = OAuthClient {
                url: world.app.url.clone(),
                id: upstream.url("/client/good"),
                secret: None,
                redirect_uri: "http://127.0.0.1:4711/callback".to_owned(),
            };
            let tokens = client.connect(&world.owner, &world.acme, &["tools:read"]).await;
            drop(upstream);
            world.app.clock.advance(TimeDelta::hours(2));
            let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
            world.app.clock.advance(TimeDelta::days(7));
            refused(&client.refresh(&fresh.refresh).await, 401, "invalid_client")
        })
        .await;
    report
        .case("C-10", "who registered and was never used is forgotten, and who was used is not", async {
            let owner = world.acme.owner_browser().await;
            let (used, unused) = (OAuthClient::register(world.app).await, OAuthClient::register(world.app).await);
            let tokens = used.connect(&owner, &world.acme, &["tools:read"]).await;
            world.app.clock.advance(TimeDelta::hours(25));
            world.app.act(|platform| async move { oauth::forget_expired(&platform).await.expect("swept") }).await;
            same("used", used.refresh(&tokens.refresh).await.status, 200)?;
            refused(&unused.refresh("tl_refresh_x").await, 401, "invalid_client")
        })
        .await;
}

async fn ends(report: &mut Report, world: &World<'_>) {
    report
        .case("O-31", "30 days without use", async {
            let owner = world.acme.owner_browser().await;
            let code = world.client.code(&owner, &world.acme.mcp_url(), &[("hours", "2160"), ("scopes", "tools:read")]).await;
            let tokens = TokenPair::of(&world.client.redeem(&code).await);
            world.app.clock.advance(TimeDelta::days(29));
            let later = TokenPair::of(&world.client.refresh(&tokens.refresh).await);
            world.works(&later.access).await?;
            world.app.clock.advance(TimeDelta::days(30) + TimeDelta::seconds(1));
            refused(&world.client.refresh(&later.refresh).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("O-31", "90 days in any case", async {
            let owner = world.acme.owner_browser().await;
            let code = world.client.code(&owner, &world.acme.mcp_url(), &[("hours", "2160"), ("scopes", "tools:read")]).await;
            let mut tokens = TokenPair::of(&world.client.redeem(&code).await);
            for _ in 0..3 {
                world.app.clock.advance(TimeDelta::days(29));
                tokens = TokenPair::of(&world.client.refresh(&tokens.refresh).await);
            }
            world.app.clock.advance(TimeDelta::days(3) + TimeDelta::seconds(1));
            refused(&world.client.refresh(&tokens.refresh).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("O-31", "nobody can ask for longer", async {
            let owner = world.acme.owner_browser().await;
            let page = world.open(&owner, &world.client.query(&world.acme.mcp_url(), &[])).await.ok();
            let agent = page.between("name=\"agent\" value=\"", "\"").expect("an agent").to_owned();
            let form = crate::support::oauth::consent_form(&page.body);
            let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            form.extend([("agent", &*agent), ("hours", "2161"), ("scopes", "tools:read"), ("decision", "allow")]);
            let again = owner.post("/oauth/authorize", &form).await;
            same("page", (again.status, again.location()), (422, ""))
        })
        .await;
}
