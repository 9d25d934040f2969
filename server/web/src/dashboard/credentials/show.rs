//! One credential: who uses it, and its exchange. A secret comes in by these forms and never out.

use std::collections::BTreeMap;

use actix_web::{http::StatusCode, web};
use askama::Template;
use chrono::TimeDelta;
use trunkline_platform::{
    Error, ErrorKind, Result,
    actor::Permission,
    catalog::credential::{self, Credential, Detail, Entered, Kind, Part, Shape},
    ids::CredentialId,
    secret::Plaintext,
};

use super::{UseLink, name, sent};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Choice, Moment},
        format,
        layout::Layout,
        page_with, see_other,
    },
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/credentials/{credential}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/credentials/{credential}/rotate", manage, rotate),
        Route::post("/t/{tenant}/credentials/{credential}/back", manage, go_back),
        Route::post("/t/{tenant}/credentials/{credential}/end", manage, end),
        Route::post("/t/{tenant}/credentials/{credential}/label", manage, label),
        Route::post("/t/{tenant}/credentials/{credential}/delete", manage, delete),
    ]
}

/// For how long calls go on with the value before: what the form sends, in words, in hours.
const OVERLAPS: [(&str, &str, i64); 4] =
    [("none", "no time: it is destroyed now", 0), ("1h", "1 hour", 1), ("24h", "24 hours", 24), ("7d", "7 days", 7 * 24)];
/// The one that is chosen until somebody chooses another.
const USUAL_OVERLAP: &str = "24h";

#[derive(Template)]
#[template(path = "dashboard/credential.html")]
struct CredentialPage {
    layout: Layout,
    list_url: String,
    url: String,
    can_manage: bool,
    name: String,
    own_label: String,
    origin: String,
    sent: String,
    since: Moment,
    rotated: Option<Moment>,
    by: String,
    edition: i32,
    overlap: Option<OverlapNote>,
    fields: Vec<SecretField>,
    /// What is wrong with all of them together.
    fields_error: String,
    overlaps: Vec<Choice>,
    uses: Vec<UseLink>,
    used: String,
    more: String,
    is_used: bool,
    /// Versions of tools that nobody runs any more and that refer to it.
    older: String,
    can_delete: bool,
    errors: FieldErrors,
}

struct OverlapNote {
    until: Moment,
    refused: String,
    refused_at: Option<Moment>,
}

struct SecretField {
    name: String,
    label: String,
    hint: String,
    error: String,
    is_required: bool,
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<CredentialId>) -> Page {
    let detail = credential::get(&state.platform, &member.actor, id.0).await?;
    render(&member, StatusCode::OK, detail, USUAL_OVERLAP, FieldErrors::default())
}

async fn rotate(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<CredentialId>, form: Form<Fields>) -> Page {
    let (platform, actor, mut errors) = (&state.platform, &member.actor, FieldErrors::default());
    let detail = credential::get(platform, actor, id.0).await?;
    let chosen = form.0.get("overlap");
    let overlap = errors.take(parse_overlap(chosen))?;
    let seen = errors.take(parse_seen(&form.0))?;
    if let Some((overlap, seen)) = overlap.zip(seen) {
        let done = credential::rotate(platform, actor, id.0, seen, entered(&form.0, &detail.parts), overlap).await;
        if done_or_told(done, &mut errors)? {
            let kept = match overlap.num_hours() {
                0 => "The one before is destroyed.".to_owned(),
                _ => "Where it is refused, calls go on with the one before until the overlap ends.".to_owned(),
            };
            member.visitor.leave_flash("success", format!("Exchanged: all calls use the new secret from now on. {kept}"));
            return Ok(see_other(&urls::credential(member.slug(), id.0)));
        }
    }
    render(&member, status_of(&errors), detail, chosen, errors)
}

async fn go_back(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<CredentialId>, form: Form<Fields>) -> Page {
    let done = match parse_seen(&form.0) {
        Ok(seen) => credential::go_back(&state.platform, &member.actor, id.0, seen).await,
        Err(error) => Err(error),
    };
    finish(&state, &member, id.0, done, "The two have changed places: all calls use the other secret from now on.").await
}

async fn end(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<CredentialId>, form: Form<Fields>) -> Page {
    let done = match parse_seen(&form.0) {
        Ok(seen) => credential::end_overlap(&state.platform, &member.actor, id.0, seen).await,
        Err(error) => Err(error),
    };
    finish(&state, &member, id.0, done, "The overlap has ended: the other secret is destroyed.").await
}

async fn label(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<CredentialId>, form: Form<Fields>) -> Page {
    let done = credential::set_label(&state.platform, &member.actor, id.0, form.0.get("label")).await;
    finish(&state, &member, id.0, done, "Saved.").await
}

async fn delete(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<CredentialId>) -> Page {
    let done = credential::delete(&state.platform, &member.actor, id.0).await;
    let mut errors = FieldErrors::default();
    if done_or_told(done, &mut errors)? {
        member.visitor.leave_flash("success", "Deleted.");
        return Ok(see_other(&urls::credentials(member.slug())));
    }
    let detail = credential::get(&state.platform, &member.actor, id.0).await?;
    render(&member, StatusCode::CONFLICT, detail, USUAL_OVERLAP, errors)
}

async fn finish(state: &WebState, member: &Allowed<ManageTools>, id: CredentialId, done: Result<()>, said: &str) -> Page {
    let mut errors = FieldErrors::default();
    if done_or_told(done, &mut errors)? {
        member.visitor.leave_flash("success", said);
        return Ok(see_other(&urls::credential(member.slug(), id)));
    }
    let detail = credential::get(&state.platform, &member.actor, id).await?;
    render(member, status_of(&errors), detail, USUAL_OVERLAP, errors)
}

/// True if it is done. What is wrong with the form, or stands in its way, is told on the page.
fn done_or_told(done: Result<()>, errors: &mut FieldErrors) -> std::result::Result<bool, crate::error::HtmlError> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            errors.add("form", error.to_string());
            Ok(false)
        }
        other => Ok(errors.take(other)?.is_some()),
    }
}

/// Does a field not fit, or does something stand in the way?
fn status_of(errors: &FieldErrors) -> StatusCode {
    if errors.of("form").is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::CONFLICT }
}

fn parse_overlap(chosen: &str) -> Result<TimeDelta> {
    let overlap = OVERLAPS.iter().find(|(value, ..)| *value == chosen).map(|(.., hours)| TimeDelta::hours(*hours));
    overlap.ok_or_else(|| Error::invalid("overlap", "expected none, 1h, 24h or 7d"))
}

/// Which edition the page showed on which the button was pressed.
fn parse_seen(form: &Fields) -> Result<i32> {
    form.get("seen").parse().map_err(|_| Error::invalid("form", "the form has no edition: open the page again"))
}

fn entered(form: &Fields, parts: &[Part]) -> Entered {
    let value = |name: &str| Some(form.get(name)).filter(|text| !text.is_empty()).map(|text| Plaintext::new(text.to_owned()));
    let named = parts.iter().filter(|part| !part.scheme.is_empty());
    let of_schemes: BTreeMap<_, _> = named.filter_map(|part| Some((part.scheme.clone(), value(&field_name(part))?))).collect();
    Entered { secret: value("secret"), of_schemes }
}

fn field_name(part: &Part) -> String {
    if part.scheme.is_empty() { "secret".to_owned() } else { format!("secret_{}", part.scheme) }
}

fn render<P>(member: &Allowed<P>, status: StatusCode, detail: Detail, chosen: &str, errors: FieldErrors) -> Page {
    let (slug, Detail { credential, parts }) = (member.slug(), detail);
    let named = i64::try_from(credential.uses.len()).unwrap_or(i64::MAX);
    let (name, more) = (name(&credential), credential.used - named);
    let is_used = credential.used > 0;
    let page = CredentialPage {
        layout: member.layout(format!("Credential of {name}"), "sources"),
        list_url: urls::credentials(slug),
        url: urls::credential(slug, credential.id),
        can_manage: member.may(Permission::ManageTools),
        sent: match &credential.kind {
            Kind::Schemes => parts.iter().map(|part| part.scheme.as_str()).collect::<Vec<_>>().join(", "),
            other => sent(other),
        },
        since: Moment::second(credential.created_at),
        rotated: credential.rotated.as_ref().map(|(at, _)| Moment::second(*at)),
        by: credential.rotated.as_ref().and_then(|(_, by)| by.clone()).unwrap_or_default(),
        edition: credential.edition,
        overlap: credential.overlap.map(|overlap| OverlapNote {
            until: Moment::second(overlap.until),
            refused: match overlap.refused {
                0 => String::new(),
                1 => "once".to_owned(),
                many => format!("{} times", format::count(many)),
            },
            refused_at: overlap.refused_at.map(Moment::second),
        }),
        fields: parts.iter().map(|part| secret_field(&credential, part, &errors)).collect(),
        fields_error: if parts.iter().all(|part| part.scheme.is_empty()) {
            String::new()
        } else {
            errors.of("secret").to_owned()
        },
        overlaps: overlaps(chosen),
        uses: credential.uses.iter().map(|used| UseLink::new(slug, used)).collect(),
        used: format::count(credential.used),
        more: if more > 0 { format::count(more) } else { String::new() },
        is_used,
        older: if is_used || credential.versions == 0 { String::new() } else { format::count(credential.versions) },
        can_delete: !is_used && credential.versions == 0,
        own_label: credential.label,
        origin: credential.origin,
        name,
        errors,
    };
    page_with(status, &page)
}

fn secret_field(credential: &Credential, part: &Part, errors: &FieldErrors) -> SecretField {
    let (name, is_alone) = (field_name(part), part.scheme.is_empty());
    let what = match part.shape {
        Shape::Plain => String::new(),
        Shape::Scheme(word) => format!("The whole value of the header, beginning with {word}. "),
        Shape::Basic => "As user:password. ".to_owned(),
        Shape::Client => "As client_id:client_secret, for the token endpoint that it was entered for. ".to_owned(),
    };
    let to = if part.shape == Shape::Client { "there" } else { credential.origin.as_str() };
    let kept = if is_alone { "" } else { " Empty: the one that is there stays." };
    SecretField {
        label: if is_alone { "New secret".to_owned() } else { format!("New secret for {}", part.scheme) },
        hint: format!("{what}Sealed, sent to {to} only, and never shown again.{kept}"),
        error: errors.of(&name).to_owned(),
        is_required: is_alone,
        name,
    }
}

fn overlaps(chosen: &str) -> Vec<Choice> {
    let choice = |(value, label, _): (&str, &str, i64)| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value == chosen,
    };
    OVERLAPS.into_iter().map(choice).collect()
}
