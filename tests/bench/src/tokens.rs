//! What it costs to know a caller by an access token: the first time, and from memory. In this process, without HTTP: the path of a call has it
//! exactly once.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use trunkline_platform::{
    Platform,
    accounts::{self, Browser, LogIn},
    gateway::{self, Shown},
    oauth::{self, Answer, Redemption},
    secret::Plaintext,
};

use super::{installation::Ground, say};

/// Tokens that are out at the same time.
pub(crate) const TOKENS: usize = 500;
/// Requests that are measured.
const REQUESTS: u32 = 400_000;
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const EMAIL: &str = "tokens@bench.example";
const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// Prints it.
pub(crate) async fn measure(program: &Path, count: usize) -> anyhow::Result<()> {
    let ground = Ground::prepare(program, "http://127.0.0.1:9", 0, 1).await?;
    let platform = ground.platform()?;
    let tokens = tokens(&platform, count.max(1)).await?;

    let began = Instant::now();
    for token in &tokens {
        ensure!(oauth::verify(&platform, token.reveal()).await.is_ok(), "a token is refused");
    }
    let first_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(tokens.len())?);
    let began = Instant::now();
    for token in tokens.iter().cycle().take(REQUESTS as usize) {
        ensure!(black_box(oauth::verify(&platform, token.reveal()).await).is_ok(), "a token is refused");
    }
    let verify_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS);
    let began = Instant::now();
    for token in tokens.iter().cycle().take(REQUESTS as usize) {
        let shown = Shown { bearer: Some(token.reveal()), proof: None, certificate: None };
        ensure!(black_box(gateway::authenticate(&platform, "tokens", None, shown).await).is_ok(), "a caller is refused");
    }
    let authenticate_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS);
    say(format!("access tokens, {} of them, {REQUESTS} requests on one thread:", tokens.len()));
    say(format!("  verified for the first time  {first_us:>8.2} µs"));
    say(format!("  verified again               {verify_us:>8.2} µs (bound: 5 µs)"));
    say(format!("  caller known by it           {authenticate_us:>8.2} µs (with tenant, audience, revocation and agent)"));
    platform.db.close().await;
    ground.clear().await?;
    ensure!(cfg!(debug_assertions) || verify_us <= 5.0, "verification costs more than 5 µs");
    Ok(())
}

/// That many tokens of one grant, by the verbs that a client and a person use.
async fn tokens(platform: &Platform, count: usize) -> anyhow::Result<Vec<Plaintext>> {
    let password = Plaintext::new("correct horse battery".to_owned());
    let slug = "tokens".parse()?;
    accounts::create_verified_user(platform, EMAIL, &password, "Tokens", &slug).await?;
    let browser = Browser { user_agent: String::new(), from: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let begun = accounts::log_in(platform, LogIn { email: EMAIL.to_owned(), password, browser }).await?.context("a session")?;
    let person = accounts::find_session(platform, &begun.secret).await?.context("a session")?;
    let metadata = serde_json::json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" });
    let registered = oauth::register(platform, IpAddr::V4(Ipv4Addr::LOCALHOST), &metadata).await?;
    let resource = format!("{}t/tokens/mcp", platform.settings.public_url);
    let query = format!(
        "response_type=code&client_id={}&redirect_uri={REDIRECT}&code_challenge={CHALLENGE}&code_challenge_method=S256&resource={resource}",
        registered.client_id
    );
    let trusted = oauth::trust(platform, &query).await?;
    let asked = trusted.read(platform).await?;
    let answer = Answer::parse("new", "bench", &["tools:read"], "720")?;
    let code = oauth::decide(platform, &person, &trusted, &asked, &resource, answer).await?;
    let shown = Redemption { code: code.reveal(), redirect_uri: Some(REDIRECT), verifier: VERIFIER, resource: None };
    let mut given = oauth::redeem(platform, &trusted.client, shown).await?;
    let mut tokens = Vec::new();
    while tokens.len() < count {
        let refresh = given.refresh_token.take().context("a refresh token")?;
        tokens.push(given.access_token);
        given = oauth::refresh(platform, &trusted.client, refresh.reveal(), None, None).await?;
    }
    Ok(tokens)
}
