//! Telling of an alert: letters and hooks are jobs of the transaction that turned it, so each is there once or not at all.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use super::{
    alert::{Alert, State},
    store,
    targets::{self, Targets},
};
use crate::{
    Platform,
    db::TenantTx,
    error::Result,
    jobs::{self, Hook, Job},
    mail::{AlertLetter, EmailAddress, Letter},
};

/// Whose message it is, in words and in URLs.
pub(super) struct About {
    pub(super) organisation: String,
    pub(super) slug: String,
}

/// Tells that it begins, or that it is over.
pub(super) async fn tell(platform: &Platform, tx: &mut TenantTx, alert: &Alert, now: DateTime<Utc>) -> Result<()> {
    let (organisation, slug) = store::organisation(tx).await?;
    let (about, targets) = (About { organisation, slug }, targets::of(platform, tx).await?);
    if !alert.kind.has_letters_elsewhere() {
        let letter = letter(&about, alert);
        for address in store::addresses(tx, &targets.mail_roles()).await? {
            let job = Job::SendLetter { to: EmailAddress::parse(&address)?, letter: Letter::Alert(Box::new(letter.clone())) };
            jobs::enqueue(platform, tx, &job).await?;
        }
    }
    for hook in hooks(platform, &about, &targets, alert, now) {
        jobs::enqueue(platform, tx, &Job::PostHook(Box::new(hook))).await?;
    }
    Ok(())
}

fn letter(about: &About, alert: &Alert) -> AlertLetter {
    AlertLetter {
        is_firing: alert.state == State::Firing,
        organisation: about.organisation.clone(),
        slug: about.slug.clone(),
        headline: alert.headline(),
        message: alert.message.clone(),
    }
}

/// The messages to servers, each with an id that is the same for each attempt.
fn hooks(platform: &Platform, about: &About, targets: &Targets, alert: &Alert, now: DateTime<Utc>) -> Vec<Hook> {
    let (kind, word) = if alert.state == State::Firing { ("alert.firing", "begins") } else { ("alert.resolved", "over") };
    let url = format!("{}/t/{}/alerts", platform.settings.public_url.origin().ascii_serialization(), about.slug);
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let body = json!({
        "type": kind,
        "timestamp": at(now),
        "data": {
            "alert": alert.id,
            "tenant": about.slug,
            "kind": alert.kind.as_str(),
            "subject": { "id": alert.subject, "name": alert.name },
            "since": at(alert.since),
            "headline": alert.headline(),
            "message": alert.message,
            "url": url,
        },
    });
    let text = format!("{}{} ({})\n{}\n{url}", sign(alert.state), alert.headline(), about.organisation, alert.message);
    let webhook = targets.webhook.as_ref().map(|(url, secret)| Hook {
        url: url.clone(),
        secret: Some(secret.reveal().to_owned()),
        id: format!("msg_{}_{word}", alert.id),
        body: body.to_string(),
    });
    webhook.into_iter().chain(chat(targets, format!("msg_{}_{word}_chat", alert.id), &text)).collect()
}

/// A message for a chat, if there is one to be told.
fn chat(targets: &Targets, id: String, text: &str) -> Option<Hook> {
    // Names are somebody's: what a chat reads as markup is escaped.
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let url = targets.chat_url.clone()?;
    Some(Hook { url, secret: None, id, body: json!({ "text": text }).to_string() })
}

fn sign(state: State) -> &'static str {
    if state == State::Firing { "🔴 " } else { "🟢 " }
}

/// What a trial sends to each server.
pub(super) fn trials(about: &About, targets: &Targets, id: &str, now: DateTime<Utc>) -> Vec<(&'static str, Hook)> {
    let text = format!("This is how {} is told of alerts.", about.organisation);
    let body = json!({
        "type": "alert.test",
        "timestamp": now.to_rfc3339_opts(SecondsFormat::Secs, true),
        "data": { "tenant": about.slug, "message": text },
    });
    let webhook = targets.webhook.as_ref().map(|(url, secret)| Hook {
        url: url.clone(),
        secret: Some(secret.reveal().to_owned()),
        id: id.to_owned(),
        body: body.to_string(),
    });
    let webhook = webhook.map(|hook| ("webhook", hook));
    webhook.into_iter().chain(chat(targets, id.to_owned(), &text).map(|hook| ("chat", hook))).collect()
}
