//! Bringing a description, for the first time or again.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind,
    actor::Permission,
    catalog::{
        api::{
            self,
            supply::{self, Found},
        },
        source::SourceName,
    },
    ids::ApiId,
};

use super::{Description, document};
use crate::{
    Access, Route, WebState,
    dashboard::{Page, layout::Layout, page_with, see_other},
    extract::{Allowed, FieldErrors, Fields, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/sources/import", manage, show),
        Route::post("/t/{tenant}/sources/import", manage, create),
        Route::get("/t/{tenant}/apis/{api}/again", manage, show_again),
        Route::post("/t/{tenant}/apis/{api}/again", manage, read_again),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/api_import.html")]
struct ImportPage {
    layout: Layout,
    /// Of an API that is there already; empty: a new one.
    again: String,
    lead: &'static str,
    action: String,
    cancel_url: String,
    back_label: String,
    api_name: String,
    link: String,
    errors: FieldErrors,
}

async fn show(member: Allowed<ManageTools>) -> Page {
    render(&member, StatusCode::OK, None, &Fields::default(), FieldErrors::default())
}

async fn create(state: web::Data<WebState>, member: Allowed<ManageTools>, form: Description) -> Page {
    let mut errors = FieldErrors::default();
    let name = errors.take(SourceName::parse(form.fields.get("name")))?;
    if let Some(name) = name
        && let Some(document) = document(&state, &form.fields, form.file, &mut errors).await?
    {
        let imported = api::import(&state.platform, &member.actor, name, String::new(), document).await;
        match imported {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render(&member, StatusCode::CONFLICT, None, &form.fields, errors);
            }
            other => {
                if let Some(id) = errors.take(other)? {
                    return Ok(see_other(&urls::api(member.slug(), id)));
                }
            }
        }
    }
    render(&member, StatusCode::UNPROCESSABLE_ENTITY, None, &form.fields, errors)
}

async fn show_again(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>) -> Page {
    let api = api::get(&state.platform, &member.actor, id.0).await?.api;
    render(&member, StatusCode::OK, Some(&api), &Fields::default(), FieldErrors::default())
}

async fn read_again(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>, form: Description) -> Page {
    let api = api::get(&state.platform, &member.actor, id.0).await?.api;
    let mut errors = FieldErrors::default();
    if let Some(document) = document(&state, &form.fields, form.file, &mut errors).await? {
        let found = errors.take(supply::propose(&state.platform, &member.actor, api.id, document).await)?;
        let (url, change_url) = (urls::api(member.slug(), api.id), urls::api_change(member.slug(), api.id));
        match found {
            Some(Found::Same) => {
                member.visitor.leave_flash("success", "Read again: it is the document that is pinned.");
                return Ok(see_other(&url));
            }
            // What it changes is shown there, and nothing is used before it is approved.
            Some(Found::Waits(_) | Found::Ignored) => return Ok(see_other(&change_url)),
            None => {}
        }
    }
    render(&member, StatusCode::UNPROCESSABLE_ENTITY, Some(&api), &form.fields, errors)
}

fn render(
    member: &Allowed<ManageTools>,
    status: StatusCode,
    again: Option<&api::Api>,
    fields: &Fields,
    mut errors: FieldErrors,
) -> Page {
    // What is wrong with a file stands at the file, that with a link at the link.
    let why = errors.of("document").to_owned();
    if !why.is_empty() && !fields.get("link").is_empty() {
        errors.add("link", &why);
    } else if !why.is_empty() {
        errors.add("file", &why);
    }
    let slug = member.slug();
    let kept = again.and_then(|api| api.link.as_ref()).map(ToString::to_string).unwrap_or_default();
    let link = Some(fields.get("link")).filter(|link| !link.is_empty()).map_or(kept, str::to_owned);
    let page = ImportPage {
        layout: member
            .layout(again.map_or_else(|| "Import an API".to_owned(), |api| format!("Read {} again", api.name)), "sources"),
        again: again.map(|api| api.name.to_string()).unwrap_or_default(),
        lead: if again.is_some() {
            "You see what would change, and its digest, before it is pinned. Tools stay as they are until you publish."
        } else {
            "From its OpenAPI description: you pick the operations that become tools."
        },
        action: again.map_or_else(|| urls::api_import(slug), |api| urls::api_again(slug, api.id)),
        cancel_url: again.map_or_else(|| urls::sources(slug), |api| urls::api(slug, api.id)),
        back_label: again.map_or_else(|| "Sources".to_owned(), |api| api.name.to_string()),
        api_name: fields.get("name").to_owned(),
        link,
        errors,
    };
    page_with(status, &page)
}
