//! Whether a source has one credential for the tenant or each person uses their own account, and whom people have it with.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind,
    actor::Permission,
    catalog::source::{self, Source, SourceKind, SourceName},
    connections::{self, Authentication, CALLBACK, NewProvider, Provider},
    ids::SourceId,
    secret::Plaintext,
};

use crate::{
    Access, Route, WebState,
    dashboard::{Page, components::Choice, layout::Layout, page_with, see_other},
    extract::{Allowed, FieldErrors, Fields, Form, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/sources/new/api", manage, show_new_api),
        Route::post("/t/{tenant}/sources/new/api", manage, create_api),
        Route::get("/t/{tenant}/sources/{source}/accounts", manage, show),
        Route::post("/t/{tenant}/sources/{source}/accounts", manage, change),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/source_accounts.html")]
struct AccountsPage {
    layout: Layout,
    source_url: String,
    source: String,
    action: String,
    callback: String,
    connected: i64,
    can_be_asked: bool,
    secret_hint: &'static str,
    credential: Vec<Choice>,
    authentications: Vec<Choice>,
    draft: Draft,
    errors: FieldErrors,
}

/// What stands in the fields. The secret goes in and never comes back.
#[derive(Default)]
struct Draft {
    personal: bool,
    issuer: String,
    authorization_url: String,
    token_url: String,
    revocation_url: String,
    client_id: String,
    authentication: String,
    scopes: String,
    resource: String,
}

impl Draft {
    fn of(provider: &Provider) -> Self {
        Self {
            personal: true,
            issuer: provider.issuer.clone().unwrap_or_default(),
            authorization_url: provider.authorization_url.to_string(),
            token_url: provider.token_url.to_string(),
            revocation_url: provider.revocation_url.as_ref().map(ToString::to_string).unwrap_or_default(),
            client_id: provider.client_id.clone(),
            authentication: provider.authentication.as_str().to_owned(),
            scopes: provider.scopes.clone(),
            resource: provider.resource.clone(),
        }
    }

    fn read(form: &Fields) -> Self {
        let text = |field: &str| form.get(field).to_owned();
        Self {
            personal: form.get("credential") == "person",
            issuer: text("issuer"),
            authorization_url: text("authorization_url"),
            token_url: text("token_url"),
            revocation_url: text("revocation_url"),
            client_id: text("client_id"),
            authentication: text("authentication"),
            scopes: text("scopes"),
            resource: text("resource"),
        }
    }

    fn provider(&self, secret: &str) -> NewProvider {
        NewProvider {
            issuer: self.issuer.clone(),
            authorization_url: self.authorization_url.clone(),
            token_url: self.token_url.clone(),
            revocation_url: self.revocation_url.clone(),
            client_id: self.client_id.clone(),
            client_secret: Some(secret).filter(|secret| !secret.is_empty()).map(|secret| Plaintext::new(secret.to_owned())),
            authentication: self.authentication.clone(),
            scopes: self.scopes.clone(),
            resource: self.resource.clone(),
        }
    }
}

async fn show(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>) -> Page {
    let source = source::get(&state.platform, &member.actor, id.0).await?.source;
    let provider = connections::find_provider(&state.platform, &member.actor, id.0).await?;
    let draft = provider.as_ref().map(Draft::of).unwrap_or_default();
    render(&state, &member, StatusCode::OK, &source, draft, FieldErrors::default()).await
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let (platform, actor) = (&state.platform, &member.actor);
    let source = source::get(platform, actor, id.0).await?.source;
    let draft = Draft::read(&form);
    if !draft.personal {
        connections::remove_provider(platform, actor, source.id).await?;
        member.visitor.leave_flash("success", "From now on, everybody uses the credential of the organisation.");
        return Ok(see_other(&urls::source(member.slug(), source.id)));
    }
    let set = match connections::set_provider(platform, actor, source.id, draft.provider(form.get("client_secret"))).await {
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            errors.add("form", error.to_string());
            return render(&state, &member, StatusCode::CONFLICT, &source, draft, errors).await;
        }
        other => errors.take(other)?,
    };
    if set.is_some() {
        member.visitor.leave_flash(
            "success",
            "From now on, each person uses their own account. Connect yours first, and see that it works.",
        );
        return Ok(see_other(&urls::connection(member.slug(), source.id)));
    }
    if !form.get("client_secret").is_empty() && errors.of("client_secret").is_empty() {
        errors.add("client_secret", "Enter it again: a page never shows a secret.");
    }
    render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, &source, draft, errors).await
}

fn choice(value: &str, label: &str, hint: &str, chosen: bool) -> Choice {
    Choice { value: value.to_owned(), label: label.to_owned(), hint: hint.to_owned(), chosen }
}

async fn render(
    state: &WebState,
    member: &Allowed<ManageTools>,
    status: StatusCode,
    source: &Source,
    draft: Draft,
    errors: FieldErrors,
) -> Page {
    let provider = connections::find_provider(&state.platform, &member.actor, source.id).await?;
    let (working, broken) = connections::count(&state.platform, &member.actor, source.id).await?;
    let is = |one: Authentication| draft.authentication == one.as_str();
    let page = AccountsPage {
        layout: member.layout(format!("Accounts at {}", source.name), "sources"),
        source_url: urls::source(member.slug(), source.id),
        source: source.name.to_string(),
        action: urls::source_accounts(member.slug(), source.id),
        callback: format!("{}{CALLBACK}", state.settings.public_url.origin().ascii_serialization()),
        connected: working + broken,
        can_be_asked: matches!(source.kind, SourceKind::Mcp { .. }),
        secret_hint: if provider.is_some_and(|provider| provider.authentication != Authentication::None) {
            "Stored. Leave it empty to keep it; another token URL or client id needs it again."
        } else {
            "It is sealed, sent to the token URL only, and never shown again."
        },
        credential: vec![
            choice("tenant", "One for the organisation", "Everybody’s calls use the same credential, or none.", !draft.personal),
            choice(
                "person",
                "Each person’s own account",
                "Whoever calls uses the account that they connected themselves.",
                draft.personal,
            ),
        ],
        authentications: vec![
            choice("", "As it fits", "", draft.authentication.is_empty()),
            choice("client_secret_basic", "Secret in the header (basic)", "", is(Authentication::Basic)),
            choice("client_secret_post", "Secret in the form (post)", "", is(Authentication::Post)),
            choice("none", "None: a public client", "", is(Authentication::None)),
        ],
        draft,
        errors,
    };
    page_with(status, &page)
}

#[derive(Template)]
#[template(path = "dashboard/source_new_api.html")]
struct NewApiPage {
    layout: Layout,
    action: String,
    cancel_url: String,
    source_name: String,
    host_url: String,
    errors: FieldErrors,
}

fn render_api(
    member: &Allowed<ManageTools>,
    status: StatusCode,
    [source_name, host_url]: [String; 2],
    errors: FieldErrors,
) -> Page {
    let slug = member.slug();
    let layout = member.layout("Accounts for HTTP tools", "sources");
    page_with(
        status,
        &NewApiPage {
            layout,
            action: urls::source_new_api(slug),
            cancel_url: urls::sources(slug),
            source_name,
            host_url,
            errors,
        },
    )
}

async fn show_new_api(member: Allowed<ManageTools>) -> Page {
    render_api(&member, StatusCode::OK, Default::default(), FieldErrors::default())
}

async fn create_api(state: web::Data<WebState>, member: Allowed<ManageTools>, form: Form<Fields>) -> Page {
    let mut errors = FieldErrors::default();
    let fields = [form.0.get("name").to_owned(), form.0.get("url").to_owned()];
    let (name, url) = (errors.take(SourceName::parse(&fields[0]))?, errors.take(source::parse_url(&fields[1]))?);
    if let (Some(name), Some(url)) = (name, url) {
        let created = match source::create_api(&state.platform, &member.actor, name, url).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render_api(&member, StatusCode::CONFLICT, fields, errors);
            }
            other => errors.take(other)?,
        };
        if let Some(source) = created {
            member.visitor.leave_flash("success", "Added. Say now whom people have their accounts with.");
            return Ok(see_other(&urls::source_accounts(member.slug(), source.id)));
        }
    }
    render_api(&member, StatusCode::UNPROCESSABLE_ENTITY, fields, errors)
}
