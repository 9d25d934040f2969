//! The front page: for strangers what this is, for members their organisation, for the others the way to one.

use actix_web::web;
use askama::Template;
use serde::Deserialize;
use trunkline_platform::accounts;

use super::{
    Page,
    layout::{Layout, TenantLink},
    page, see_other, unfit,
};
use crate::{
    Access, Route, WebState,
    extract::{FieldErrors, Form, SignedIn, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/", Access::Public, start),
        Route::get("/welcome", Access::Session, show),
        Route::post("/welcome", Access::Session, create),
    ]
}

#[derive(Template)]
#[template(path = "landing.html")]
struct LandingPage {
    layout: Layout,
    mcp_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/welcome.html")]
struct WelcomePage {
    layout: Layout,
    errors: FieldErrors,
    organisation: String,
    tenants: Vec<TenantLink>,
}

#[derive(Deserialize)]
struct WelcomeForm {
    organisation: String,
}

async fn start(state: web::Data<WebState>, visitor: Visitor) -> Page {
    let Some(session) = visitor.session() else {
        let layout = visitor.layout("One URL for every tool your agents use");
        return page(&LandingPage { layout, mcp_url: format!("{}/t/your-team/mcp", state.settings.origin()) });
    };
    let memberships = accounts::memberships(&state.platform, session).await?;
    match memberships.as_slice() {
        [only] => Ok(see_other(&urls::tenant(only.slug.as_str()))),
        _ => Ok(see_other(urls::welcome())),
    }
}

async fn welcome_page(
    state: &WebState,
    signed_in: &SignedIn,
    errors: FieldErrors,
    organisation: String,
) -> Result<WelcomePage, crate::error::HtmlError> {
    let memberships = accounts::memberships(&state.platform, &signed_in.session).await?;
    let title = if memberships.is_empty() { "Welcome" } else { "Your organisations" };
    let tenants = memberships.into_iter().map(|m| TenantLink { slug: m.slug.to_string(), name: m.name }).collect();
    Ok(WelcomePage { layout: signed_in.visitor.layout(title), errors, organisation, tenants })
}

async fn show(state: web::Data<WebState>, signed_in: SignedIn) -> Page {
    page(&welcome_page(&state, &signed_in, FieldErrors::default(), String::new()).await?)
}

async fn create(state: web::Data<WebState>, signed_in: SignedIn, form: Form<WelcomeForm>) -> Page {
    let organisation = form.0.organisation;
    match accounts::create_tenant(&state.platform, &signed_in.session, &organisation).await {
        Ok(slug) => Ok(see_other(&urls::tenant(slug.as_str()))),
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            unfit(&welcome_page(&state, &signed_in, errors, organisation).await?)
        }
    }
}
