//! Imported APIs: bringing a description, picking its operations, and making tools of them.

mod change;
mod import;
mod operation;
mod pick;

use actix_web::web;
use trunkline_platform::{
    Error, Platform,
    catalog::{
        api::{self, Document, ListedApi},
        openapi::MAX_BYTES,
    },
    error::Result,
};

use crate::{
    Route,
    dashboard::{components::Moment, format},
    extract::{FieldErrors, Fields, Upload},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    import::routes().into_iter().chain(change::routes()).chain(operation::routes()).chain(pick::routes()).collect()
}

/// A form with a description.
type Description = Upload<MAX_BYTES>;

/// An API in the list of sources.
pub(super) struct ApiRow {
    pub(super) url: String,
    pub(super) name: String,
    pub(super) place: String,
    pub(super) tools: String,
    pub(super) operations: String,
    pub(super) changed: String,
    pub(super) read: Moment,
    /// Where another document waits; empty: none does.
    pub(super) waits_url: String,
    /// Why its link cannot be read; empty while it can.
    pub(super) failure: String,
    /// When its link last led to the pinned document.
    pub(super) verified: Option<Moment>,
}

impl ApiRow {
    pub(super) fn new(slug: &str, listed: &ListedApi) -> Self {
        let (api, counts) = (&listed.api, listed.counts);
        let waiting = counts.changed + counts.gone;
        Self {
            url: urls::api(slug, api.id),
            name: api.name.to_string(),
            place: if api.server.is_empty() { api.title.clone() } else { format!("{} · {}", api.title, api.server) },
            tools: format::count(counts.tools),
            operations: format::count(counts.all),
            changed: if waiting == 0 { String::new() } else { format::count(waiting) },
            read: Moment::second(api.read_at),
            waits_url: if listed.is_waiting { urls::api_change(slug, api.id) } else { String::new() },
            failure: api.failing.as_ref().map(|failing| failing.why.clone()).unwrap_or_default(),
            verified: api.verified_at.map(Moment::second),
        }
    }
}

/// The description that the form brings: a file, or what a link leads to. What does not fit goes to the errors.
async fn document(
    platform: &web::Data<crate::WebState>,
    fields: &Fields,
    file: Option<Vec<u8>>,
    errors: &mut FieldErrors,
) -> std::result::Result<Option<Document>, crate::error::HtmlError> {
    let link = fields.get("link");
    match (file, link.is_empty()) {
        (Some(_), false) => errors.add("link", "a link and a file were given; give one of them"),
        (None, true) => errors.add("link", "enter a link, or choose a file"),
        (Some(bytes), true) => return Ok(Some(Document { bytes, link: None })),
        (None, false) => return errors.take(linked(&platform.platform, link).await),
    }
    Ok(None)
}

async fn linked(platform: &Platform, link: &str) -> Result<Document> {
    let link = api::parse_link(link)?;
    if let Some(why) = platform.settings.supply.manifest.refusal(&link) {
        return Err(Error::invalid("link", why));
    }
    let bytes = api::fetch(&platform.egress, &link).await?;
    Ok(Document { bytes, link: Some(link) })
}
