//! The form for a source, new or not.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind,
    actor::Permission,
    catalog::{
        SecretChange,
        source::{self, Changes, Meanwhile, NewDefinitions, NewSource, Policy, Refreshed, Source, SourceKind, SourceName},
    },
    ids::SourceId,
    publishing,
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    Access, Route, WebState,
    dashboard::{Page, components::Choice, layout::Layout, page_with, see_other},
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/sources/new", manage, show_new),
        Route::post("/t/{tenant}/sources/new", manage, create),
        Route::get("/t/{tenant}/sources/{source}/edit", manage, show_edit),
        Route::post("/t/{tenant}/sources/{source}/edit", manage, change),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/source_edit.html")]
struct SourceEditPage {
    layout: Layout,
    is_new: bool,
    lead: &'static str,
    action: String,
    cancel_url: String,
    back_label: String,
    submit_label: &'static str,
    secret_hint: String,
    draft: Draft,
    new_definitions: Vec<Choice>,
    changes: Vec<Choice>,
    meanwhile: Vec<Choice>,
    effects: Vec<Choice>,
    errors: FieldErrors,
}

/// What stands in the fields. The secret is not among them: it goes in and never comes back.
struct Draft {
    name: String,
    url: String,
    secret_header: String,
    timeout_ms: String,
    prefix: bool,
    new_definitions: String,
    changes: String,
    meanwhile: String,
    default_effect: String,
}

impl Draft {
    fn new() -> Self {
        let policy = Policy::default();
        Self {
            name: String::new(),
            url: String::new(),
            secret_header: String::new(),
            timeout_ms: "30000".to_owned(),
            prefix: true,
            new_definitions: policy.new.as_str().to_owned(),
            changes: policy.changes.as_str().to_owned(),
            meanwhile: policy.meanwhile.as_str().to_owned(),
            default_effect: Effect::Destructive.as_str().to_owned(),
        }
    }

    fn of(source: &Source) -> Self {
        let (url, secret_header) = match &source.kind {
            SourceKind::Mcp { url, secret_header, .. } => (url.to_string(), secret_header.clone().unwrap_or_default()),
            SourceKind::Api { url } => (url.to_string(), String::new()),
            SourceKind::Conformance => (String::new(), String::new()),
        };
        Self {
            name: source.name.to_string(),
            url,
            secret_header,
            timeout_ms: source.timeout_ms.to_string(),
            prefix: source.prefix,
            new_definitions: source.policy.new.as_str().to_owned(),
            changes: source.policy.changes.as_str().to_owned(),
            meanwhile: source.policy.meanwhile.as_str().to_owned(),
            default_effect: source.default_effect.as_str().to_owned(),
        }
    }

    fn read(form: &Fields) -> Self {
        let text = |field: &str| form.get(field).to_owned();
        Self {
            name: text("name"),
            url: text("url"),
            secret_header: text("secret_header"),
            timeout_ms: text("timeout_ms"),
            prefix: !form.get("prefix").is_empty(),
            new_definitions: text("new_definitions"),
            changes: text("changes"),
            meanwhile: text("meanwhile"),
            default_effect: text("default_effect"),
        }
    }

    /// Reads the fields. What does not fit goes to the errors, all at once.
    fn parse(&self, secret: &str, errors: &mut FieldErrors) -> Result<Option<NewSource>, HtmlError> {
        let url = errors.take(source::parse_url(&self.url))?;
        let timeout_ms = self.timeout_ms.parse::<u32>().ok();
        if timeout_ms.is_none() {
            errors.add("timeout_ms", "expected 100 to 60000 milliseconds");
        }
        let new = errors.take(self.new_definitions.parse::<NewDefinitions>())?;
        let changes = errors.take(self.changes.parse::<Changes>())?;
        let meanwhile = errors.take(self.meanwhile.parse::<Meanwhile>())?;
        let default_effect = self.default_effect.parse::<Effect>().ok();
        if default_effect.is_none() {
            errors.add("default_effect", "choose one");
        }
        let (Some(url), Some(timeout_ms), Some(new), Some(changes), Some(meanwhile), Some(default_effect)) =
            (url, timeout_ms, new, changes, meanwhile, default_effect)
        else {
            return Ok(None);
        };
        Ok(Some(NewSource {
            url,
            secret_header: Some(self.secret_header.clone()).filter(|name| !name.is_empty()),
            secret: if secret.is_empty() { SecretChange::Keep } else { SecretChange::Set(Plaintext::new(secret.to_owned())) },
            timeout_ms,
            policy: Policy { new, changes, meanwhile },
            default_effect,
        }))
    }
}

async fn show_new(member: Allowed<ManageTools>) -> Page {
    render_new(&member, StatusCode::OK, Draft::new(), FieldErrors::default())
}

async fn create(state: web::Data<WebState>, member: Allowed<ManageTools>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let draft = Draft::read(&form);
    let name = errors.take(SourceName::parse(&draft.name))?;
    if let (Some(name), Some(new)) = (name, draft.parse(form.get("secret"), &mut errors)?) {
        // Where nobody looks at what comes in, probes do.
        let lets_in = new.policy.new == NewDefinitions::Approve;
        let created = match source::create(&state.platform, &member.actor, name, draft.prefix, new).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render_new(&member, StatusCode::CONFLICT, draft, errors);
            }
            other => errors.take(other)?,
        };
        if let Some(source) = created {
            if lets_in {
                publishing::watch_source(&state.platform, &member.actor, source.id).await?;
            }
            let (kind, text) = first_look(&state, &member, source.id).await;
            member.visitor.leave_flash(kind, text);
            return Ok(see_other(&urls::source(member.slug(), source.id)));
        }
    }
    ask_secret_again(&form, &mut errors);
    render_new(&member, StatusCode::UNPROCESSABLE_ENTITY, draft, errors)
}

/// Reads the source right away, so that its page has something to show. What fails is tried again by itself.
async fn first_look(state: &WebState, member: &Allowed<ManageTools>, id: SourceId) -> (&'static str, String) {
    match source::refresh_now(&state.platform, &member.actor, id).await {
        Ok(Refreshed::Done(tally)) if tally.added == 0 => {
            ("info", "The source is added. It has nothing to offer yet.".to_owned())
        }
        Ok(Refreshed::Done(_)) => {
            ("success", "The source is added. Look at what it has, and switch on what agents may use.".to_owned())
        }
        Ok(Refreshed::Stale(_)) => {
            ("error", "The source is added, but it cannot be read yet. It is tried again by itself.".to_owned())
        }
        Err(_) => ("info", "The source is added, and is read in a moment.".to_owned()),
    }
}

async fn show_edit(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>) -> Page {
    let source = source::get(&state.platform, &member.actor, id.0).await?.source;
    render_edit(&member, StatusCode::OK, &source, Draft::of(&source), FieldErrors::default())
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let source = source::get(&state.platform, &member.actor, id.0).await?.source;
    let draft = Draft::read(&form);
    if let Some(new) = draft.parse(form.get("secret"), &mut errors)? {
        let changed = match source::update(&state.platform, &member.actor, source.id, new).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render_edit(&member, StatusCode::CONFLICT, &source, draft, errors);
            }
            other => errors.take(other)?,
        };
        if changed.is_some() {
            member.visitor.leave_flash("success", "Saved. The source is read again in a moment.");
            return Ok(see_other(&urls::source(member.slug(), source.id)));
        }
    }
    ask_secret_again(&form, &mut errors);
    render_edit(&member, StatusCode::UNPROCESSABLE_ENTITY, &source, draft, errors)
}

/// A page never shows a secret, so one that was typed is gone when the form is shown again.
fn ask_secret_again(form: &Fields, errors: &mut FieldErrors) {
    if !form.get("secret").is_empty() && errors.of("secret").is_empty() {
        errors.add("secret", "Enter it again: a page never shows a secret.");
    }
}

fn render_new(member: &Allowed<ManageTools>, status: StatusCode, draft: Draft, errors: FieldErrors) -> Page {
    let slug = member.slug();
    let hint = "It is sealed, sent to this URL’s host only, and never shown again.".to_owned();
    let page = SourceEditPage {
        layout: member.layout("New source", "sources"),
        is_new: true,
        lead: "An MCP server whose tools, prompts and resources your agents reach through your endpoint.",
        action: urls::source_new(slug),
        cancel_url: urls::sources(slug),
        back_label: "Sources".to_owned(),
        submit_label: "Add source",
        secret_hint: hint,
        ..fields(member, draft, errors)
    };
    page_with(status, &page)
}

fn render_edit(member: &Allowed<ManageTools>, status: StatusCode, source: &Source, draft: Draft, errors: FieldErrors) -> Page {
    let slug = member.slug();
    let secret_hint = match &source.kind {
        SourceKind::Mcp { url, credential: Some(_), .. } => {
            format!("Stored for {} and sent nowhere else. Leave empty to keep it.", url.origin().ascii_serialization())
        }
        _ => "It is sealed, sent to this URL’s host only, and never shown again.".to_owned(),
    };
    let page = SourceEditPage {
        layout: member.layout(format!("Edit {}", source.name), "sources"),
        is_new: false,
        lead: "What was approved goes on being served while you change this.",
        action: format!("{}/edit", urls::source(slug, source.id)),
        cancel_url: urls::source(slug, source.id),
        back_label: source.name.to_string(),
        submit_label: "Save",
        secret_hint,
        ..fields(member, Draft { name: source.name.to_string(), prefix: source.prefix, ..draft }, errors)
    };
    page_with(status, &page)
}

/// The page with everything that does not depend on whether the source is new.
fn fields(member: &Allowed<ManageTools>, draft: Draft, errors: FieldErrors) -> SourceEditPage {
    let of = |chosen: &str, choices: &[(&str, &str, &str)]| {
        let choice = |(value, label, hint): &(&str, &str, &str)| Choice {
            value: (*value).to_owned(),
            label: (*label).to_owned(),
            hint: (*hint).to_owned(),
            chosen: *value == chosen,
        };
        choices.iter().map(choice).collect::<Vec<_>>()
    };
    SourceEditPage {
        layout: member.layout("", "sources"),
        is_new: true,
        lead: "",
        action: String::new(),
        cancel_url: String::new(),
        back_label: String::new(),
        submit_label: "",
        secret_hint: String::new(),
        new_definitions: of(
            &draft.new_definitions,
            &[
                ("wait", "Off until you switch them on", "Nothing reaches an agent that nobody has looked at."),
                ("approve", "On at once", "Unless one is suspicious or fails the gate’s real call; then it waits."),
            ],
        ),
        changes: of(
            &draft.changes,
            &[
                (
                    "harmless_pass",
                    "Harmless ones pass",
                    "Instructions, new addresses, new required parameters and the like wait for you; so does what fails the gate’s real call.",
                ),
                ("everything_waits", "Every change waits", "Not a comma changes without you."),
            ],
        ),
        meanwhile: of(
            &draft.meanwhile,
            &[
                ("serve_approved", "Serve the approved version", "Agents go on with what you have seen."),
                ("block", "Serve nothing", "The definition disappears until you decide."),
            ],
        ),
        effects: of(
            &draft.default_effect,
            &[
                ("destructive", "Destructive: cannot be undone", ""),
                ("write", "Write: changes what can be undone", ""),
                ("read", "Read: changes nothing", ""),
            ],
        ),
        draft,
        errors,
    }
}
