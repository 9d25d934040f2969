//! One operation of an imported API: what is wanted of it otherwise than its description has it.

use std::collections::BTreeMap;

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde_json::Value;
use trunkline_platform::{
    Error,
    actor::Permission,
    catalog::{
        ToolName,
        api::{self, OperationDetail, Overrides, Pinned},
    },
    ids::{ApiId, OperationId},
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    Access, Route, WebState,
    dashboard::{Page, components::Choice, layout::Layout, page_with, see_other},
    extract::{Allowed, FieldErrors, Fields, Form, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/apis/{api}/operations/{operation}", manage, show),
        Route::post("/t/{tenant}/apis/{api}/operations/{operation}", manage, change),
    ]
}

/// Arguments that get a row each.
const ROWS: usize = 64;

#[derive(Template)]
#[template(path = "dashboard/api_operation.html")]
struct OperationPage {
    layout: Layout,
    key: String,
    action: String,
    back_url: String,
    /// Has it its name for good?
    is_published: bool,
    new_name: String,
    their_name: String,
    title: String,
    their_title: String,
    description: String,
    their_description: String,
    effects: Vec<Choice>,
    select: String,
    max_bytes: String,
    arguments: Vec<ArgumentRow>,
    more_arguments: usize,
    errors: FieldErrors,
}

struct ArgumentRow {
    name: String,
    kind: String,
    required: bool,
    description: String,
    modes: Vec<Choice>,
    value: String,
    error: String,
}

async fn show(state: web::Data<WebState>, member: Allowed<ManageTools>, api: Path<ApiId>, id: Path<OperationId>) -> Page {
    let (api, id) = (api.0, id.0);
    let found = api::operation(&state.platform, &member.actor, api, id).await?;
    let sent = Sent::of(&found.overrides);
    render(&member, StatusCode::OK, (api, id), found, sent, FieldErrors::default())
}

async fn change(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    api: Path<ApiId>,
    id: Path<OperationId>,
    form: Form<Fields>,
) -> Page {
    let (api, id) = (api.0, id.0);
    let found = api::operation(&state.platform, &member.actor, api, id).await?;
    let (sent, mut errors) = (Sent::read(&form.0, &found), FieldErrors::default());
    let overrides = sent.parse(&found, &mut errors);
    if errors.is_empty() {
        let saved = api::override_operation(&state.platform, &member.actor, api, id, overrides).await;
        if errors.take(saved)?.is_some() {
            member.visitor.leave_flash("success", "Saved. Agents see it when you publish.");
            return Ok(see_other(&urls::api(member.slug(), api)));
        }
    }
    render(&member, StatusCode::UNPROCESSABLE_ENTITY, (api, id), found, sent, errors)
}

/// What stands in the fields.
struct Sent {
    name: String,
    title: String,
    description: String,
    effect: String,
    select: String,
    max_bytes: String,
    /// How, and what with, by argument.
    arguments: BTreeMap<String, (String, String)>,
}

impl Sent {
    fn of(overrides: &Overrides) -> Self {
        let argument = |(name, pinned): (&String, &Pinned)| {
            let mode = match pinned {
                Pinned::Default(_) => "default",
                Pinned::Hidden(_) => "hidden",
            };
            (name.clone(), (mode.to_owned(), shown(pinned.value())))
        };
        Self {
            name: overrides.name.clone().unwrap_or_default(),
            title: overrides.title.clone().unwrap_or_default(),
            description: overrides.description.clone().unwrap_or_default(),
            effect: overrides.effect.map(|effect| effect.as_str().to_owned()).unwrap_or_default(),
            select: overrides.select.clone().unwrap_or_default(),
            max_bytes: overrides.max_bytes.map(|most| most.to_string()).unwrap_or_default(),
            arguments: overrides.arguments.iter().map(argument).collect(),
        }
    }

    fn read(form: &Fields, found: &OperationDetail) -> Self {
        let field = |name: &str| form.get(name).trim().replace("\r\n", "\n");
        let mut arguments: BTreeMap<_, _> = properties(found)
            .into_iter()
            .take(ROWS)
            .map(|(name, _)| {
                let (mode, value) = (field(&format!("mode_{name}")), field(&format!("value_{name}")));
                (name, (mode, value))
            })
            .collect();
        // Pinned, and not there any more: what has no row is let go.
        arguments.retain(|_, (mode, _)| matches!(mode.as_str(), "default" | "hidden"));
        let (select, max_bytes) = (field("select"), field("max_bytes"));
        let (name, title, description, effect) = (field("name"), field("title"), field("description"), field("effect"));
        Self { name, title, description, effect, select, max_bytes, arguments }
    }

    /// What is the same as in the description is nothing of its own.
    fn parse(&self, found: &OperationDetail, errors: &mut FieldErrors) -> Overrides {
        let own = |sent: &str, theirs: &str| (!sent.is_empty() && sent != theirs).then(|| sent.to_owned());
        let name = own(&self.name, &found.name).filter(|_| found.tool.is_none());
        if let Some(Err(error)) = name.as_deref().map(ToolName::parse) {
            errors.add("name", error.to_string());
        }
        let schemas: BTreeMap<String, Value> = properties(found).into_iter().collect();
        let mut arguments = BTreeMap::new();
        for (argument, (mode, value)) in &self.arguments {
            let Ok(value) = read_value(schemas.get(argument), value) else {
                errors.add(&format!("value_{argument}"), "expected JSON, such as 7, true, \"text\" or [1, 2]");
                continue;
            };
            let pinned = if mode == "hidden" { Pinned::Hidden(value) } else { Pinned::Default(value) };
            arguments.insert(argument.clone(), pinned);
        }
        let max_bytes = Some(&self.max_bytes).filter(|text| !text.is_empty()).and_then(|text| {
            let read = text.parse().ok();
            if read.is_none() {
                errors.add("max_bytes", "expected a number of bytes, or nothing");
            }
            read
        });
        Overrides {
            select: Some(self.select.clone()).filter(|select| !select.is_empty()),
            max_bytes,
            name,
            title: own(&self.title, &found.title),
            description: own(&self.description, &found.description),
            effect: self.effect.parse().ok().filter(|effect| *effect != found.effect),
            arguments,
        }
    }
}

/// Arguments of an operation with their schemas.
fn properties(found: &OperationDetail) -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(found.input_schema.get()).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// Text where text is wanted, JSON elsewhere.
fn read_value(schema: Option<&Value>, text: &str) -> Result<Value, Error> {
    if schema.is_some_and(|schema| schema["type"] == "string") && !text.starts_with('"') {
        return Ok(text.into());
    }
    serde_json::from_str(text).map_err(|_| Error::invalid("value", "expected JSON"))
}

fn shown(value: &Value) -> String {
    value.as_str().filter(|text| !text.starts_with('"')).map_or_else(|| value.to_string(), str::to_owned)
}

fn render(
    member: &Allowed<ManageTools>,
    status: StatusCode,
    (api, id): (ApiId, OperationId),
    found: OperationDetail,
    sent: Sent,
    errors: FieldErrors,
) -> Page {
    let schema: Value = serde_json::from_str(found.input_schema.get()).unwrap_or_default();
    let is_required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|required| required == name);
    let properties = properties(&found);
    let more_arguments = properties.len().saturating_sub(ROWS);
    let row = |(name, schema): (String, Value)| {
        let (mode, value) = sent.arguments.get(&name).cloned().unwrap_or_default();
        let choice = |(value, label): (&str, &str)| Choice {
            value: value.to_owned(),
            label: label.to_owned(),
            hint: String::new(),
            chosen: value == mode,
        };
        let modes = [("", "Caller says"), ("default", "Default"), ("hidden", "Always, hidden")];
        ArgumentRow {
            kind: schema["type"].as_str().unwrap_or("any").to_owned(),
            required: is_required(&name),
            description: schema["description"].as_str().unwrap_or_default().chars().take(200).collect(),
            modes: modes.into_iter().map(choice).collect(),
            value,
            error: errors.of(&format!("value_{name}")).to_owned(),
            name,
        }
    };
    let effect_words = |effect: Effect| Choice {
        value: effect.as_str().to_owned(),
        label: effect.as_str().to_owned(),
        hint: String::new(),
        chosen: if sent.effect.is_empty() { effect == found.effect } else { effect.as_str() == sent.effect },
    };
    let slug = member.slug();
    let page = OperationPage {
        layout: member.layout(found.key.clone(), "sources"),
        action: urls::api_operation(slug, api, id),
        back_url: urls::api(slug, api),
        is_published: found.tool.is_some(),
        effects: Effect::ALL.map(effect_words).into(),
        arguments: properties.into_iter().take(ROWS).map(row).collect(),
        more_arguments,
        key: found.key,
        new_name: sent.name,
        their_name: found.name,
        title: sent.title,
        their_title: found.title,
        description: sent.description,
        select: sent.select,
        max_bytes: sent.max_bytes,
        their_description: found.description,
        errors,
    };
    page_with(status, &page)
}
