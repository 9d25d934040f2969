//! How members of a tenant sign in: its identity provider, and what it asks of them.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    Error, ErrorKind,
    accounts::{self, CALLBACK, Connection, NewConnection, SignInRules},
    actor::{Permission, Role},
};

use super::{Page, components::Choice, layout::Layout, page_with, see_other};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Form, ManageSignIn},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageSignIn);
    vec![
        Route::get("/t/{tenant}/settings/sign-in", manage, show),
        Route::post("/t/{tenant}/settings/sign-in", manage, change_rules),
        Route::post("/t/{tenant}/settings/sso", manage, set),
        Route::post("/t/{tenant}/settings/sso/remove", manage, remove),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/sign_in.html")]
struct SignInPage {
    layout: Layout,
    errors: FieldErrors,
    base: String,
    settings_url: String,
    rules: SignInRules,
    is_signed_on: bool,
    sign_on_url: String,
    has_connection: bool,
    callback: String,
    secret_hint: &'static str,
    fields: SsoForm,
    default_roles: Vec<Choice>,
}

#[derive(Deserialize)]
struct RulesForm {
    #[serde(default)]
    second_factor: String,
    #[serde(default)]
    sso: String,
}

#[derive(Default, Deserialize)]
struct SsoForm {
    issuer: String,
    client_id: String,
    #[serde(default)]
    client_secret: String,
    domains: String,
    #[serde(default)]
    groups_claim: String,
    #[serde(default)]
    groups: String,
    #[serde(default)]
    default_role: String,
}

#[derive(Deserialize)]
struct Nothing {}

impl SsoForm {
    fn of(connection: &Connection) -> Self {
        let groups = connection.group_roles.iter().map(|row| format!("{} = {}", row.group, row.role));
        Self {
            issuer: connection.issuer.to_string(),
            client_id: connection.client_id.clone(),
            client_secret: String::new(),
            domains: connection.domains.join("\n"),
            groups_claim: connection.groups_claim.clone(),
            groups: groups.collect::<Vec<_>>().join("\n"),
            default_role: connection.default_role.map(|role| role.to_string()).unwrap_or_default(),
        }
    }

    fn parse(&self) -> Result<NewConnection, Error> {
        let Self { issuer, client_id, client_secret, domains, groups_claim, groups, default_role } = self;
        NewConnection::parse(
            [issuer, client_id, client_secret, domains, groups_claim, groups, default_role].map(|text| text.trim()),
        )
    }
}

async fn show(state: web::Data<WebState>, member: Allowed<ManageSignIn>) -> Page {
    render(&state, &member, StatusCode::OK, FieldErrors::default(), None).await
}

async fn render(
    state: &WebState,
    member: &Allowed<ManageSignIn>,
    status: StatusCode,
    errors: FieldErrors,
    typed: Option<SsoForm>,
) -> Page {
    let connection = accounts::find_connection(&state.platform, &member.actor).await?;
    let rules = accounts::sign_in_rules(&state.platform, &member.actor, &member.tenant).await?;
    let fields = typed.or_else(|| connection.as_ref().map(SsoForm::of)).unwrap_or_default();
    let slug = member.slug();
    let here = urls::sign_in_settings(slug);
    page_with(
        status,
        &SignInPage {
            layout: member.layout("Sign-in", "settings"),
            errors,
            base: urls::tenant(slug),
            settings_url: urls::settings(slug),
            rules,
            is_signed_on: member.session.signed_on.contains(&member.tenant.tenant),
            sign_on_url: urls::sso_then(slug, &here),
            has_connection: connection.is_some(),
            secret_hint: match connection {
                Some(_) => "Stored sealed. Leave it empty to keep it.",
                None => "Stored sealed, and never shown again.",
            },
            callback: format!("{}{CALLBACK}", state.settings.origin()),
            default_roles: role_choices(&fields.default_role),
            fields,
        },
    )
}

fn role_choices(chosen: &str) -> Vec<Choice> {
    let choice =
        |value: &str, label: String| Choice { value: value.to_owned(), label, hint: String::new(), chosen: value == chosen };
    let nobody = choice("", "Nobody new without a group".to_owned());
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Owner);
    std::iter::once(nobody).chain(roles.map(|role| choice(role.as_str(), format!("Everybody new, as {role}")))).collect()
}

async fn change_rules(state: web::Data<WebState>, member: Allowed<ManageSignIn>, form: Form<RulesForm>) -> Page {
    let RulesForm { second_factor, sso } = form.0;
    let (second_factor, sso) = (second_factor == "yes", sso == "yes");
    match accounts::change_rules(&state.platform, &member.actor, &member.session, second_factor, sso).await {
        Ok(()) => Ok(saved(&member, "What members need to sign in is saved.")),
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, errors, None).await
        }
    }
}

async fn set(state: web::Data<WebState>, member: Allowed<ManageSignIn>, form: Form<SsoForm>) -> Page {
    let set = match form.0.parse() {
        Ok(connection) => accounts::set_connection(&state.platform, &member.actor, connection).await,
        Err(error) => Err(error),
    };
    match set {
        Ok(()) => Ok(saved(&member, "The identity provider is saved. Sign on through it once to see that it works.")),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let errors = FieldErrors::from_failure(error)?;
            // A secret is never sent back.
            let typed = SsoForm { client_secret: String::new(), ..form.0 };
            render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, errors, Some(typed)).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(state: web::Data<WebState>, member: Allowed<ManageSignIn>, _: Form<Nothing>) -> Page {
    accounts::remove_connection(&state.platform, &member.actor).await?;
    Ok(saved(&member, "Single sign-on is switched off."))
}

fn saved(member: &Allowed<ManageSignIn>, text: &'static str) -> HttpResponse {
    member.visitor.leave_flash("success", text);
    see_other(&urls::sign_in_settings(member.slug()))
}
