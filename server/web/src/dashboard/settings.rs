//! A tenant's name and currency, and the way out of it.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{ErrorKind, accounts, actor::Permission, quota::BudgetScope};

use super::{
    Page,
    budgets::{self, BudgetRow},
    components::Choice,
    layout::Layout,
    page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Form, InTenant, ManageTenant},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/t/{tenant}/settings", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/settings", Access::Member(Permission::ManageTenant), change),
        Route::post("/t/{tenant}/leave", Access::Member(Permission::View), leave),
    ]
}

/// What is offered; any other that is set already is offered too.
const CURRENCIES: [(&str, &str); 10] = [
    ("USD", "US dollar"),
    ("EUR", "Euro"),
    ("GBP", "Pound sterling"),
    ("CHF", "Swiss franc"),
    ("JPY", "Yen"),
    ("CAD", "Canadian dollar"),
    ("AUD", "Australian dollar"),
    ("SEK", "Swedish krona"),
    ("PLN", "Złoty"),
    ("INR", "Indian rupee"),
];

#[derive(Template)]
#[template(path = "dashboard/settings.html")]
struct SettingsPage {
    layout: Layout,
    problem: String,
    errors: FieldErrors,
    can_manage: bool,
    tenant_name: String,
    slug: String,
    tenant_id: String,
    currency: String,
    currencies: Vec<Choice>,
    url: String,
    budgets: Vec<BudgetRow>,
    budgets_url: String,
    leave_url: String,
    can_manage_sign_in: bool,
    sign_in_url: String,
    /// What members need, in a sentence.
    sign_in: &'static str,
}

#[derive(Deserialize)]
struct SettingsForm {
    name: String,
    currency: String,
}

#[derive(Deserialize)]
struct Nothing {}

async fn settings_page<P>(
    state: &WebState,
    member: &Allowed<P>,
    problem: String,
    errors: FieldErrors,
    (name, currency): (String, String),
) -> Result<SettingsPage, HtmlError> {
    let slug = member.slug();
    Ok(SettingsPage {
        budgets: budgets::rows(state, member, BudgetScope::Tenant).await?,
        budgets_url: urls::tenant_budgets(slug),
        layout: member.layout("Settings", "settings"),
        problem,
        errors,
        can_manage: member.may(Permission::ManageTenant),
        tenant_name: name,
        slug: slug.to_owned(),
        tenant_id: member.tenant.tenant.to_string(),
        currencies: currency_choices(&currency),
        currency,
        url: urls::settings(slug),
        leave_url: urls::leave(slug),
        can_manage_sign_in: member.may(Permission::ManageSignIn),
        sign_in_url: urls::sign_in_settings(slug),
        sign_in: match (member.tenant.requires_sso, member.tenant.requires_second_factor) {
            (true, _) => "Members come through the identity provider.",
            (false, true) => "Members need a second factor.",
            (false, false) => "Members log in with a password, a passkey, or whatever you set up here.",
        },
    })
}

fn currency_choices(chosen: &str) -> Vec<Choice> {
    let choice =
        |value: &str, label: String| Choice { value: value.to_owned(), label, hint: String::new(), chosen: value == chosen };
    let mut choices: Vec<_> = CURRENCIES.iter().map(|(code, name)| choice(code, format!("{code} · {name}"))).collect();
    if !choices.iter().any(|choice| choice.chosen) {
        choices.push(choice(chosen, chosen.to_owned()));
    }
    choices
}

async fn show(state: web::Data<WebState>, member: InTenant) -> Page {
    let set = (member.tenant.name.clone(), member.tenant.currency.clone());
    let page = settings_page(&state, &member, String::new(), FieldErrors::default(), set).await?;
    page_with(StatusCode::OK, &page)
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<SettingsForm>) -> Page {
    let SettingsForm { name, currency } = form.0;
    if let Err(error) = accounts::change_tenant(&state.platform, &member.actor, &name, &currency).await {
        let errors = FieldErrors::from_failure(error)?;
        let page = settings_page(&state, &member, String::new(), errors, (name, currency)).await?;
        return page_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    member.visitor.leave_flash("success", "The settings are saved.");
    Ok(see_other(&urls::settings(member.slug())))
}

async fn leave(state: web::Data<WebState>, member: InTenant, _: Form<Nothing>) -> Page {
    match accounts::leave(&state.platform, &member.actor).await {
        Ok(()) => {
            member.visitor.leave_flash("info", format!("You have left {}.", member.tenant.name));
            Ok(see_other(urls::welcome()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            let set = (member.tenant.name.clone(), member.tenant.currency.clone());
            let page = settings_page(&state, &member, error.to_string(), FieldErrors::default(), set).await?;
            page_with(StatusCode::CONFLICT, &page)
        }
        Err(error) => Err(error.into()),
    }
}
