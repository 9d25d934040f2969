//! Pages of usage as somebody who is signed in gets them: how long they are, and what they take from the request to their last byte.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, PgConnection};
use trunkline_platform::{ids::UserId, secret::Plaintext};

use crate::{
    installation::{Ground, Installation},
    say,
};

/// Each page is asked for so often, after it was asked for a few times.
const TIMES: usize = 40;
const WARM: usize = 3;

/// Serves the ground, asks for each page by name and path, and gives the ground back.
pub(crate) async fn measure(program: &Path, ground: Ground, user: UserId, pages: &[(String, String)]) -> anyhow::Result<Ground> {
    let secret = sign_in(&ground, user).await?;
    let installation = Installation::on(program, ground, &[]).await?;
    say("  page over HTTP            | bytes   p50 ms  p95 ms (from the request to the last byte)");
    for (name, path) in pages {
        let (mut times, mut length) = (Vec::new(), 0);
        for number in 0..WARM + TIMES {
            let began = Instant::now();
            let answer = installation.page(path, &secret).await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
            if number >= WARM {
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            length = answer.split_once("\r\n\r\n").context("no body")?.1.len();
        }
        times.sort_by(f64::total_cmp);
        say(format!("  {name:<25} | {length:>6} {:>7.1} {:>7.1}", times[TIMES / 2], times[TIMES * 95 / 100]));
    }
    installation.end().await
}

/// A session of that user.
async fn sign_in(ground: &Ground, user: UserId) -> anyhow::Result<Plaintext> {
    let secret = Plaintext::generate("");
    let mut sql = PgConnection::connect(ground.admin_url().reveal()).await?;
    sqlx::query(
        "INSERT INTO app.user_sessions (digest, id, user_id, created_at, last_seen_at, expires_at)
         VALUES ($1, gen_random_uuid(), $2, now(), now(), now() + interval '1 day')",
    )
    .bind(secret.digest().as_bytes())
    .bind(user)
    .execute(&mut sql)
    .await?;
    sql.close().await?;
    Ok(secret)
}
