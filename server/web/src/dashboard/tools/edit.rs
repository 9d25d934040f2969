//! The form for a tool, new or not. Saving makes a draft, which goes through the gate at once unless somebody only wants to save.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    Error, ErrorKind,
    actor::Permission,
    catalog::{
        self, Builtin, Executor, HttpMethod, MAX_PARAMETERS, NewVersion, ParameterType, Place, Tool, ToolName,
        drafts::{self, Saved},
    },
    ids::ToolId,
    publishing::{self, Subject, Terms},
};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    code::{self, Ran},
    draft::{Draft, DraftParameter},
    publish,
};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::Choice,
        format,
        layout::Layout,
        limits::what_if::{self, WhatIf},
        page_with,
        probes::{self, SampleText},
        see_other,
    },
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/tools/new", manage, show_new),
        Route::post("/t/{tenant}/tools/new", manage, create),
        Route::get("/t/{tenant}/tools/{tool}/edit", manage, show_edit),
        Route::post("/t/{tenant}/tools/{tool}/edit", manage, change),
    ]
}

/// Empty rows for further parameters; a script shows them one by one.
const SPARE: usize = 8;

#[derive(Template)]
#[template(path = "dashboard/tool_edit.html")]
struct ToolEditPage {
    layout: Layout,
    is_new: bool,
    /// Does the definition come from a source? Then only price and limits are asked.
    is_imported: bool,
    lead: String,
    action: String,
    cancel_url: String,
    back_label: String,
    submit_label: String,
    currency: String,
    /// Number of the version that is edited; 0 for a new tool.
    version: i32,
    fields: ToolFields,
    tried: SampleText,
    ran: Option<Ran>,
    what_if: Option<WhatIf>,
    errors: FieldErrors,
}

struct ToolFields {
    draft: Draft,
    effects: Vec<Choice>,
    kinds: Vec<Choice>,
    builtins: Vec<Choice>,
    methods: Vec<Choice>,
    parameters: Vec<ParameterRow>,
    secret_hint: String,
}

struct ParameterRow {
    index: usize,
    name: String,
    places: Vec<Choice>,
    types: Vec<Choice>,
    required: bool,
    description: String,
    default: String,
    error: String,
}

/// What stands in the form beside what a version is made of.
struct Beside {
    /// Number of the newest version when the form was made.
    edited: i32,
    sample: SampleText,
    what_if: Option<WhatIf>,
    /// What a run of what is in the form came to.
    ran: Option<Ran>,
}

async fn show_new(state: web::Data<WebState>, member: Allowed<ManageTools>) -> Page {
    render_new(&state, &member, StatusCode::OK, (Draft::new(), SampleText::of(&Terms::default()), None), FieldErrors::default())
}

async fn create(state: web::Data<WebState>, member: Allowed<ManageTools>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let (mut draft, sample) = (Draft::read(&form), SampleText::sent(&form));
    if form.get("then") == "run" {
        let ran = code::run(&state, &member, None, &draft, &form, &mut errors).await?;
        ask_secret_again(&form, &mut errors);
        return render_new(&state, &member, code::status(ran.as_ref()), (draft, sample, ran), errors);
    }
    let name = errors.take(ToolName::parse(&draft.name))?;
    let new = draft.parse(typed_secret(&form), &mut errors)?;
    if let (Some(name), Some(new), Some(terms)) = (name, new, terms(&sample, &Terms::default(), &mut errors)?) {
        let saved = match drafts::save_new(&state.platform, &member.actor, name, new).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render_new(&state, &member, StatusCode::CONFLICT, (draft, sample, None), errors);
            }
            other => errors.take(other)?,
        };
        if let Some(saved) = saved {
            return go_on(&state, &member, saved, &terms, &form).await;
        }
    }
    ask_secret_again(&form, &mut errors);
    render_new(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, (draft, sample, None), errors)
}

/// How the call is made, as the fields say it.
fn terms(sample: &SampleText, before: &Terms, errors: &mut FieldErrors) -> Result<Option<Terms>, HtmlError> {
    let Some(terms) = sample.parse(before, errors) else { return Ok(None) };
    Ok(errors.take(terms.check())?.map(|()| terms))
}

/// What was saved goes through the gate, unless somebody only wanted to save it.
async fn go_on(state: &WebState, member: &Allowed<ManageTools>, saved: Saved, terms: &Terms, form: &Fields) -> Page {
    publishing::set_terms(&state.platform, &member.actor, Subject::Tool(saved.tool), terms).await?;
    let tool_url = urls::tool(member.slug(), saved.tool);
    if !saved.is_draft {
        member.visitor.leave_flash("success", "Saved. The definition is the same, so there is no new version.");
        return Ok(see_other(&tool_url));
    }
    if form.get("then") == "draft" {
        let text = format!("Version {} is saved as a draft. No agent sees it.", saved.number);
        member.visitor.leave_flash("success", text);
        return Ok(see_other(&tool_url));
    }
    publish::go_through(state, member, (saved.tool, saved.number), form.get("untried_reason")).await
}

async fn show_edit(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>) -> Page {
    let tool = catalog::get(&state.platform, &member.actor, tool.0).await?;
    let limits = catalog::limits(&state.platform, &member.actor, tool.id).await?;
    let (pending, edited) = drafts::pending(&state.platform, &member.actor, tool.id).await?;
    // A draft is gone on with.
    let tool = pending.map_or_else(|| tool.clone(), |version| Tool { version, ..tool.clone() });
    let sample = SampleText::of(&probes::terms_of(&state, &member.actor, Subject::Tool(tool.id)).await?);
    let beside = Beside { edited, sample, what_if: None, ran: None };
    render_edit(&state, &member, StatusCode::OK, &tool, (Draft::of(&tool, limits), beside), FieldErrors::default())
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let tool = catalog::get(&state.platform, &member.actor, tool.0).await?;
    let mut draft = Draft::read(&form);
    let edited: i32 = form.get("version").parse().unwrap_or_default();
    let mut beside = Beside { edited, sample: SampleText::sent(&form), what_if: None, ran: None };
    if form.get("then") == "run" {
        beside.ran = code::run(&state, &member, Some(tool.id), &draft, &form, &mut errors).await?;
        ask_secret_again(&form, &mut errors);
        let status = code::status(beside.ran.as_ref());
        return render_edit(&state, &member, status, &tool, (draft, beside), errors);
    }
    if form.get("then") == "check" {
        let limits = draft.parse_terms(&mut errors)?.map(|(_, limits)| limits);
        ask_secret_again(&form, &mut errors);
        let Some(limits) = limits else {
            return render_edit(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, &tool, (draft, beside), errors);
        };
        beside.what_if = Some(what_if::ask(&state, &member, &limits.scopes(tool.id)).await?);
        return render_edit(&state, &member, StatusCode::OK, &tool, (draft, beside), errors);
    }
    let saved = if is_imported(&tool) {
        set_terms(&state, &member, (&tool, edited), &draft, &mut errors).await?
    } else {
        save(&state, &member, (&tool, edited), &mut draft, (&form, &beside.sample), &mut errors).await?
    };
    match saved {
        Some(Ok(page)) => return page,
        Some(Err(error)) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            errors.add("form", error.to_string());
            return render_edit(&state, &member, StatusCode::CONFLICT, &tool, (draft, beside), errors);
        }
        Some(Err(error)) => {
            errors.take::<()>(Err(error))?;
        }
        None => {}
    }
    ask_secret_again(&form, &mut errors);
    render_edit(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, &tool, (draft, beside), errors)
}

/// Does the definition come from a source? Then nobody writes it here.
fn is_imported(tool: &Tool) -> bool {
    matches!(tool.version.executor, Executor::Upstream { .. } | Executor::Operation(_))
}

/// Sets what can be said of a tool whose definition comes from its source; `None` if the form cannot be read.
async fn set_terms(
    state: &WebState,
    member: &Allowed<ManageTools>,
    (tool, edited): (&Tool, i32),
    draft: &Draft,
    errors: &mut FieldErrors,
) -> Result<Option<Result<Page, Error>>, HtmlError> {
    let Some((price, limits)) = draft.parse_terms(errors)? else { return Ok(None) };
    let number = match catalog::set_terms(&state.platform, &member.actor, tool.id, edited, price, limits).await {
        Ok(number) => number,
        Err(error) => return Ok(Some(Err(error))),
    };
    let text = if number == edited {
        "Saved. The definition is the same, so there is no new version.".to_owned()
    } else {
        format!("Version {number} is published. Calls use it from now on.")
    };
    member.visitor.leave_flash("success", text);
    Ok(Some(Ok(Ok(see_other(&urls::tool(member.slug(), tool.id))))))
}

/// Saves what the form says, and goes on with it; `None` if it cannot be read.
async fn save(
    state: &WebState,
    member: &Allowed<ManageTools>,
    (tool, edited): (&Tool, i32),
    draft: &mut Draft,
    (form, sample): (&Fields, &SampleText),
    errors: &mut FieldErrors,
) -> Result<Option<Result<Page, Error>>, HtmlError> {
    let before = probes::terms_of(state, &member.actor, Subject::Tool(tool.id)).await?;
    let new: Option<NewVersion> = draft.parse(typed_secret(form), errors)?;
    let (Some(new), Some(terms)) = (new, terms(sample, &before, errors)?) else { return Ok(None) };
    match drafts::save(&state.platform, &member.actor, tool.id, edited, new).await {
        Ok(saved) => Ok(Some(Ok(go_on(state, member, saved, &terms, form).await))),
        Err(error) => Ok(Some(Err(error))),
    }
}

/// A page never shows a secret, so one that was typed is gone when the form is shown again.
fn ask_secret_again(form: &Fields, errors: &mut FieldErrors) {
    if !typed_secret(form).is_empty() && errors.of("secret").is_empty() {
        errors.add("secret", "Enter it again: a page never shows a secret.");
    }
}

/// The secret of the half of the form that belongs to the chosen kind.
pub(super) fn typed_secret(form: &Fields) -> &str {
    form.get(if form.get("kind") == "function" { "function_secret" } else { "secret" })
}

fn render_new(
    state: &WebState,
    member: &Allowed<ManageTools>,
    status: StatusCode,
    (draft, sample, ran): (Draft, SampleText, Option<Ran>),
    errors: FieldErrors,
) -> Page {
    let slug = member.slug();
    let page = ToolEditPage {
        layout: member.layout("New tool", "tools"),
        is_new: true,
        is_imported: false,
        lead: "One real call is made of it before any agent sees it.".to_owned(),
        action: urls::tool_new(slug),
        cancel_url: urls::tools(slug),
        back_label: "Tools".to_owned(),
        submit_label: "Publish tool".to_owned(),
        currency: member.tenant.currency.clone(),
        version: 0,
        fields: fields(state, draft, "It is sealed, sent to this URL’s host only, and never shown again.".to_owned()),
        tried: sample,
        ran,
        what_if: None,
        errors,
    };
    page_with(status, &page)
}

fn render_edit(
    state: &WebState,
    member: &Allowed<ManageTools>,
    status: StatusCode,
    tool: &Tool,
    (draft, Beside { edited, sample, what_if, ran }): (Draft, Beside),
    errors: FieldErrors,
) -> Page {
    let slug = member.slug();
    let secret_hint = match tool.version.executor.secret_use() {
        Some((_, origin)) if tool.version.credential.is_some() => {
            format!("Stored for {origin} and sent nowhere else. Leave empty to keep it.")
        }
        _ => "It is sealed, sent to this URL’s host only, and never shown again.".to_owned(),
    };
    let page = ToolEditPage {
        layout: member.layout(format!("Edit {}", tool.name), "tools"),
        is_new: false,
        is_imported: is_imported(tool),
        lead: format!("Saving makes version {}. Version {edited} stays as it is.", edited + 1),
        action: urls::tool_edit(slug, tool.id),
        cancel_url: urls::tool(slug, tool.id),
        back_label: tool.name.to_string(),
        submit_label: format!("Publish version {}", edited + 1),
        currency: member.tenant.currency.clone(),
        version: edited,
        fields: fields(state, Draft { name: tool.name.to_string(), ..draft }, secret_hint),
        tried: sample,
        what_if,
        ran,
        errors,
    };
    page_with(status, &page)
}

fn fields(state: &WebState, mut draft: Draft, secret_hint: String) -> ToolFields {
    // The halves of other kinds are not sent, or not filled in: they begin anew.
    let new = Draft::new();
    if draft.timeout_ms.is_empty() && draft.kind == "builtin" {
        draft.timeout_ms = new.timeout_ms;
    }
    if draft.kind != "function" && draft.code.is_empty() {
        (draft.code, draft.input_schema, draft.example) = (new.code, new.input_schema, new.example);
    }
    let rows = std::mem::take(&mut draft.parameters);
    let empty = (rows.len()..(rows.len() + SPARE).min(MAX_PARAMETERS)).map(|_| DraftParameter::default());
    ToolFields {
        effects: effects(state, &draft.effect),
        kinds: vec![
            choice("http", "HTTP request", "One endpoint of an API.", &draft.kind),
            choice("function", "Function", "Your JavaScript, run in a sandbox.", &draft.kind),
            choice("builtin", "Built-in", "Small tools of ours, ready to use.", &draft.kind),
        ],
        builtins: Builtin::ALL.iter().map(|one| choice(one.as_str(), &builtin_words(*one), "", &draft.builtin)).collect(),
        methods: HttpMethod::ALL.iter().map(|one| choice(one.as_str(), one.as_str(), "", &draft.method)).collect(),
        parameters: rows.into_iter().chain(empty).enumerate().map(|(index, row)| parameter_row(index, row)).collect(),
        secret_hint,
        draft,
    }
}

fn effects(state: &WebState, chosen: &str) -> Vec<Choice> {
    let effect = |effect: Effect| {
        let (label, what) = match effect {
            Effect::Read => ("Read", "Changes nothing."),
            Effect::Write => ("Write", "Changes what can be undone."),
            Effect::Destructive => ("Destructive", "Cannot be undone."),
        };
        let rate = format::rate(state.platform.settings.quota.of_effect(effect));
        choice(effect.as_str(), label, &format!("{what} {rate} per agent, unless set below."), chosen)
    };
    Effect::ALL.map(effect).into()
}

fn builtin_words(builtin: Builtin) -> String {
    format!("{}: {}", builtin.as_str(), builtin.words())
}

fn parameter_row(index: usize, row: DraftParameter) -> ParameterRow {
    let place = if row.place.is_empty() { "query" } else { row.place.as_str() };
    let DraftParameter { name, required, description, default, error, .. } = row;
    ParameterRow {
        index,
        name,
        places: Place::ALL.iter().map(|one| choice(one.as_str(), one.as_str(), "", place)).collect(),
        types: ParameterType::ALL.iter().map(|one| choice(one.as_str(), one.as_str(), "", &row.kind)).collect(),
        required,
        description,
        default,
        error,
    }
}

fn choice(value: &str, label: &str, hint: &str, chosen: &str) -> Choice {
    Choice { value: value.to_owned(), label: label.to_owned(), hint: hint.to_owned(), chosen: value == chosen }
}
