//! The newest calls that fit, for a page that is open already.

use actix_web::{HttpResponse, web};
use askama::Template;
use sha2::{Digest as _, Sha256};
use trunkline_platform::usage::{self, Call};

use super::filter::{Asked, FIELDS};
use crate::{
    WebState,
    dashboard::{Page, components::CallRow, page},
    extract::{InTenant, Query},
    urls,
};

#[derive(Template)]
#[template(path = "dashboard/logs_tail.html")]
struct Tail {
    /// What the page says the next time, so that it hears nothing where nothing is new.
    known: String,
    rows: Vec<CallRow>,
}

/// Where a page with that filter asks.
pub(super) fn url(slug: &str, query: &Query) -> String {
    let fields: Vec<(&str, &str)> = FIELDS.into_iter().map(|name| (name, query.get(name))).collect();
    urls::with_query(&format!("{}/tail", urls::logs(slug)), &fields)
}

pub(super) async fn show(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let asked = Asked::read(&state, &member, &query).await?;
    if !asked.errors.is_empty() {
        return Ok(HttpResponse::UnprocessableEntity().finish());
    }
    let calls = usage::newest_calls(&state.platform, &member.actor, &asked.filter).await?;
    let known = digest(&calls);
    if query.get("known") == known {
        return Ok(HttpResponse::NoContent().finish());
    }
    let (slug, currency) = (member.slug(), &member.tenant.currency);
    page(&Tail { known, rows: calls.into_iter().map(|call| CallRow::new(slug, currency, call)).collect() })
}

/// Calls never change, so their ids say what is shown.
fn digest(calls: &[Call]) -> String {
    let mut digest = Sha256::new();
    for call in calls {
        digest.update(call.id.uuid().as_bytes());
    }
    digest.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
