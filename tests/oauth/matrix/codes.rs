//! PKCE and codes (O-10 to O-14).

use chrono::TimeDelta;
use serde_json::json;

use super::{
    report::{Report, Seen, holds, refused, same, told},
    world::{WEB, World},
};
use crate::support::{
    Answer,
    oauth::{OAuthClient, REDIRECT, TokenPair, VERIFIER, answer_of, challenge},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    challenges(report, world).await;
    verifiers(report, world).await;
    shape(report, world).await;
    used_twice(report, world).await;
    similar(report, world).await;
    wrong_attempts(report, world).await;
}

/// A redemption with these fields changed; an empty value takes one out.
async fn redeem(client: &OAuthClient, code: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", client.redirect_uri.as_str()),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more.iter().copied().filter(|(_, value)| !value.is_empty()));
    client.token(&form).await
}

async fn challenges(report: &mut Report, world: &World<'_>) {
    let (good, issuer) = (challenge(VERIFIER), world.issuer());
    for (client, redirect_uri) in [(&world.client, REDIRECT), (&world.web, WEB)] {
        let kind = if client.secret.is_some() { "confidential" } else { "public" };
        for (what, challenge, method) in [
            ("no challenge", "", "S256"),
            ("no challenge and no method", "", ""),
            ("no method", &*good, ""),
            ("plain", VERIFIER, "plain"),
            ("another case of the method", &*good, "s256"),
            ("a method that is none", &*good, "S512"),
            ("42 characters", &good[..42], "S256"),
            ("129 characters", &"x".repeat(129), "S256"),
            ("a plus sign", &good.replacen(&good[..1], "+", 1), "S256"),
            ("padding", &format!("{good}="), "S256"),
        ] {
            report
                .case("O-10", format!("{kind} client: {what}"), async {
                    let more = [("code_challenge", challenge), ("code_challenge_method", method)];
                    let page = world.open(&world.owner, &client.query(&world.acme.mcp_url(), &more)).await;
                    told(&page, redirect_uri, "st&te=1", &issuer, "invalid_request")
                })
                .await;
        }
    }
}

async fn verifiers(report: &mut Report, world: &World<'_>) {
    let good = challenge(VERIFIER);
    for (what, verifier, error) in [
        ("no verifier", "", "invalid_request"),
        ("the challenge itself", &*good, "invalid_grant"),
        ("42 characters of it", &VERIFIER[..42], "invalid_grant"),
        ("one character more", &format!("{VERIFIER}x"), "invalid_grant"),
        ("another one", &"x".repeat(43), "invalid_grant"),
        ("129 characters", &"x".repeat(129), "invalid_grant"),
        ("no text of RFC 7636", "\u{e4}\u{f6}\u{fc}", "invalid_grant"),
    ] {
        report
            .case("O-10", format!("redeemed with {what}, the code is kept for the right one"), async {
                let code = world.code().await;
                refused(&redeem(&world.client, &code, &[("code_verifier", verifier)]).await, 400, error)?;
                same("afterwards", world.client.redeem(&code).await.status, 200)
            })
            .await;
    }
}

async fn shape(report: &mut Report, world: &World<'_>) {
    report
        .case("O-11", "a code has 190 random bits and no other like it", async {
            let (one, other) = (world.code().await, world.code().await);
            let random = |code: &str| code.rsplit('_').next().map(str::len).unwrap_or_default();
            holds("32 characters of base 62 and a checksum", random(&one) >= 32 && random(&other) >= 32, (&one, &other))?;
            let tail = |code: &str| code.rsplit('_').next().unwrap_or_default()[..32].to_owned();
            holds("different", tail(&one) != tail(&other), (&one, &other))
        })
        .await;
    report
        .case("O-11", "a code is not kept as it is", async {
            let code = world.code().await;
            let mut sql = world.app.sql().await;
            let kept: i64 =
                sqlx::query_scalar("SELECT count(*) FROM app.authorization_codes c WHERE c::text LIKE '%' || $1 || '%'")
                    .bind(&code)
                    .fetch_one(&mut sql)
                    .await
                    .expect("a count");
            same("rows with it", kept, 0)
        })
        .await;
    for (seconds, is_good) in [(58, true), (61, false)] {
        report
            .case("O-11", format!("after {seconds} seconds"), async {
                let code = world.code().await;
                world.app.clock.advance(TimeDelta::seconds(seconds));
                let answer = world.client.redeem(&code).await;
                if is_good { same("status", answer.status, 200) } else { refused(&answer, 400, "invalid_grant") }
            })
            .await;
    }
    report
        .case("O-11", "what it is worth was said when it was asked for", async {
            let code = world.client.code(&world.owner, &world.toolset, &[]).await;
            let tokens = TokenPair::of(&world.client.redeem(&code).await);
            let claims = super::world::part(&tokens.access, 1);
            same("audience", &claims["aud"], &json!(world.toolset))?;
            same("client", &claims["client_id"], &json!(world.client.id))?;
            same("tenant", &claims["tenant"], &json!(world.acme.id))
        })
        .await;
}

async fn used_twice(report: &mut Report, world: &World<'_>) {
    report
        .case("O-12", "a second use ends what came of the first", async {
            let code = world.code().await;
            let tokens = TokenPair::of(&world.client.redeem(&code).await);
            world.works(&tokens.access).await?;
            refused(&world.client.redeem(&code).await, 400, "invalid_grant")?;
            world.is_dead(&tokens.access).await?;
            refused(&world.client.refresh(&tokens.refresh).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("O-12", "also what came of the tokens that came of it", async {
            let code = world.code().await;
            let first = TokenPair::of(&world.client.redeem(&code).await);
            let second = TokenPair::of(&world.client.refresh(&first.refresh).await);
            refused(&world.client.redeem(&code).await, 400, "invalid_grant")?;
            world.is_dead(&second.access).await?;
            refused(&world.client.refresh(&second.refresh).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("O-12", "also when a thief of the code is somebody else", async {
            let thief = OAuthClient::register(world.app).await;
            let code = world.code().await;
            let tokens = TokenPair::of(&world.client.redeem(&code).await);
            refused(&thief.redeem(&code).await, 400, "invalid_grant")?;
            world.is_dead(&tokens.access).await
        })
        .await;
    report
        .case("O-12", "of 64 at once one succeeds, and the grant is dead", async {
            let code = world.code().await;
            let answers = futures_util::future::join_all((0..64).map(|_| world.client.redeem(&code))).await;
            let (good, bad): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
            same("successes", good.len(), 1)?;
            bad.iter().try_for_each(|answer| refused(answer, 400, "invalid_grant"))?;
            let tokens = TokenPair::of(&good[0]);
            world.is_dead(&tokens.access).await?;
            refused(&world.client.refresh(&tokens.refresh).await, 400, "invalid_grant")
        })
        .await;
}

async fn similar(report: &mut Report, world: &World<'_>) {
    let code = world.code().await;
    let tokens = TokenPair::of(&world.client.redeem(&code).await);
    let last = if code.ends_with('x') { 'y' } else { 'x' };
    for (what, similar) in [
        ("another last character", format!("{}{last}", &code[..code.len() - 1])),
        ("one character less", code[..code.len() - 1].to_owned()),
        ("one character more", format!("{code}x")),
        ("another case", code.to_uppercase()),
        ("another kind", code.replace("tl_code_", "tl_refresh_")),
        ("only its beginning", "tl_code_".to_owned()),
        ("a space behind it", format!("{code} ")),
    ] {
        report
            .case("O-13", format!("{what}: nothing ends"), async {
                refused(&world.client.redeem(&similar).await, 400, "invalid_grant")?;
                world.works(&tokens.access).await
            })
            .await;
    }
}

async fn kept(world: &World<'_>, code: &str, wrong: &Answer, error: &str) -> Seen {
    refused(wrong, 400, error)?;
    same("the right one afterwards", world.client.redeem(code).await.status, 200)
}

async fn wrong_attempts(report: &mut Report, world: &World<'_>) {
    let (bravo, toolset) = (world.bravo.mcp_url(), world.toolset.clone());
    for (what, name, value, error) in [
        ("another verifier", "code_verifier", &*"v".repeat(43), "invalid_grant"),
        ("another redirect URI", "redirect_uri", "http://127.0.0.1:9/other", "invalid_grant"),
        ("another port of it", "redirect_uri", "http://127.0.0.1:10/callback", "invalid_grant"),
        ("no redirect URI, though one was asked with", "redirect_uri", "", "invalid_grant"),
        ("another tenant's endpoint", "resource", &*bravo, "invalid_target"),
        ("a toolset's endpoint", "resource", &*toolset, "invalid_target"),
        ("an endpoint that is none", "resource", "https://elsewhere.example/mcp", "invalid_target"),
    ] {
        report
            .case("O-14", format!("{what}, and then the right one"), async {
                let code = world.code().await;
                let wrong = redeem(&world.client, &code, &[(name, value)]).await;
                kept(world, &code, &wrong, error).await
            })
            .await;
    }
    report
        .case("O-14", "another client, and then the right one", async {
            let other = OAuthClient::register(world.app).await;
            let code = world.code().await;
            kept(world, &code, &other.redeem(&code).await, "invalid_grant").await
        })
        .await;
    report
        .case("O-14", "after three wrong ones it is dead", async {
            let code = world.code().await;
            for _ in 0..3 {
                refused(&redeem(&world.client, &code, &[("code_verifier", &"v".repeat(43))]).await, 400, "invalid_grant")?;
            }
            refused(&world.client.redeem(&code).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("O-14", "the redirect URI may be left out where it was not asked with", async {
            let query = world.web.query(&world.acme.mcp_url(), &[("redirect_uri", "")]);
            let code = answer_of(&world.web.consent(&world.owner, &query, &[]).await)["code"].clone();
            same("status", redeem(&world.web, &code, &[("redirect_uri", "")]).await.status, 200)
        })
        .await;
}
