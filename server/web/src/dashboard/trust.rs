//! Whom a tenant believes beside its own members: identity providers, and certification authorities.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents,
    certificates::{self, CertificateName, CertificatePolicy, ListedName},
    error::{Error, Result},
    ids::{AgentId, CertificateNameId, TrustedIssuerId},
    oauth::{self, NewTrustedIssuer, TrustedIssuer},
};

use super::{
    Page,
    components::{Choice, Moment},
    layout::Layout,
    page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTenant, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTenant);
    vec![
        Route::get("/t/{tenant}/trust", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/trust/issuers", manage, add_issuer),
        Route::post("/t/{tenant}/trust/issuers/{issuer}/remove", manage, remove_issuer),
        Route::post("/t/{tenant}/trust/certificates", manage, set_policy),
        Route::post("/t/{tenant}/trust/names", manage, add_name),
        Route::post("/t/{tenant}/trust/names/{certificate_name}/remove", manage, remove_name),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/trust.html")]
struct TrustPage {
    layout: Layout,
    errors: FieldErrors,
    can_change: bool,
    sees_certificates: bool,
    issuers: Vec<IssuerRow>,
    names: Vec<NameRow>,
    issuers_url: String,
    certificates_url: String,
    names_url: String,
    clients_url: String,
    issuer: String,
    clients: String,
    agent_claim: String,
    agents: Vec<Choice>,
    name_agents: Vec<Choice>,
    bundle: String,
    is_required: bool,
    certificate_name: String,
}

struct IssuerRow {
    issuer: String,
    clients: String,
    acts_as: String,
    since: Moment,
    remove_url: String,
}

struct NameRow {
    name: String,
    agent: String,
    remove_url: String,
}

async fn show(state: web::Data<WebState>, member: InTenant) -> Page {
    render(&state, &member, FieldErrors::default(), None).await
}

async fn render<P>(state: &WebState, member: &Allowed<P>, errors: FieldErrors, form: Option<Fields>) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let policy = certificates::policy(platform, actor).await?;
    let field = |name: &str| form.as_ref().map(|fields| fields.exactly(name).trim().to_owned()).unwrap_or_default();
    let known = agents::list(platform, actor).await?;
    let choices = |none: &str| -> Vec<Choice> {
        let none = Choice { label: none.to_owned(), ..Choice::default() };
        let choice = |agent: &agents::Agent| Choice {
            chosen: field("agent") == agent.id.to_string(),
            value: agent.id.to_string(),
            label: agent.name.to_string(),
            hint: String::new(),
        };
        std::iter::once(none).chain(known.iter().map(choice)).collect()
    };
    let posted_bundle = form.as_ref().is_some_and(|fields| fields.get("bundle").len() + fields.get("required").len() > 0);
    let page = TrustPage {
        layout: member.layout("Trust", "clients"),
        can_change: member.may(Permission::ManageTenant),
        sees_certificates: state.settings.sees_certificates(),
        issuers: oauth::list_trusted_issuers(platform, actor).await?.into_iter().map(|one| issuer_row(slug, one)).collect(),
        names: certificates::names(platform, actor).await?.into_iter().map(|one| name_row(slug, one)).collect(),
        issuers_url: urls::trust_issuers(slug),
        certificates_url: urls::trust_certificates(slug),
        names_url: urls::trust_names(slug),
        clients_url: urls::clients(slug),
        issuer: field("issuer"),
        clients: field("clients"),
        agent_claim: field("agent_claim"),
        agents: choices("The agent that a claim names"),
        name_agents: choices("Choose an agent"),
        bundle: if posted_bundle { field("bundle") } else { policy.bundle().to_owned() },
        is_required: if posted_bundle { field("required") == "yes" } else { policy.is_required() },
        certificate_name: field("certificate_name"),
        errors,
    };
    let status = if form.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    page_with(status, &page)
}

fn issuer_row(slug: &str, one: TrustedIssuer) -> IssuerRow {
    IssuerRow {
        remove_url: urls::trust_issuer_remove(slug, one.id),
        issuer: one.issuer,
        clients: one.clients.join(", "),
        acts_as: match (one.agent, one.agent_claim) {
            (Some((_, name)), _) => name,
            (None, claim) => format!("Claim {}", claim.unwrap_or_default()),
        },
        since: Moment::second(one.created_at),
    }
}

fn name_row(slug: &str, one: ListedName) -> NameRow {
    NameRow { remove_url: urls::trust_name_remove(slug, one.id), name: one.name, agent: one.agent_name }
}

/// Back to the page with what happened, or the form again with what does not fit.
async fn done(state: &WebState, member: &Allowed<ManageTenant>, form: Fields, outcome: Result<()>, said: &'static str) -> Page {
    match outcome {
        Ok(()) => {
            member.visitor.leave_flash("success", said);
            Ok(see_other(&urls::trust(member.slug())))
        }
        Err(error) => render(state, member, FieldErrors::from_failure(error)?, Some(form)).await,
    }
}

async fn add_issuer(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let form = form.0;
    let agent: Option<AgentId> = form.get("agent").parse().ok();
    let added = async {
        let new = NewTrustedIssuer::parse(form.get("issuer"), form.get("clients"), agent, form.get("agent_claim"))?;
        oauth::trust_issuer(&state.platform, &member.actor, new).await.map(drop)
    };
    let outcome = added.await;
    done(&state, &member, form, outcome, "Its assertions are taken from now on.").await
}

async fn remove_issuer(
    state: web::Data<WebState>,
    member: Allowed<ManageTenant>,
    issuer: Path<TrustedIssuerId>,
    _: Form<Fields>,
) -> Page {
    oauth::remove_trusted_issuer(&state.platform, &member.actor, issuer.0).await?;
    member.visitor.leave_flash("success", "It is not believed any more, and what came of its assertions is refused.");
    Ok(see_other(&urls::trust(member.slug())))
}

async fn set_policy(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let form = form.0;
    let set = async {
        let is_required = form.get("required") == "yes";
        if is_required && !state.settings.sees_certificates() {
            let why =
                "this installation sees no certificates, so that nobody could be served: its operator has to set that up first";
            return Err(Error::invalid("bundle", why));
        }
        let policy = CertificatePolicy::parse(form.exactly("bundle"), is_required)?;
        certificates::set_policy(&state.platform, &member.actor, &policy).await
    };
    let outcome = set.await;
    done(&state, &member, form, outcome, "Saved. It counts from the next request on.").await
}

async fn add_name(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let form = form.0;
    let added = async {
        let agent = form.get("agent").parse().map_err(|_| Error::invalid("name_agent", "choose an agent"))?;
        let name = CertificateName::parse(form.get("certificate_name"))?;
        certificates::add_name(&state.platform, &member.actor, &name, agent).await.map(drop)
    };
    let outcome = added.await;
    done(&state, &member, form, outcome, "Whoever has a certificate with that name acts as that agent.").await
}

async fn remove_name(
    state: web::Data<WebState>,
    member: Allowed<ManageTenant>,
    name: Path<CertificateNameId>,
    _: Form<Fields>,
) -> Page {
    certificates::remove_name(&state.platform, &member.actor, name.0).await?;
    member.visitor.leave_flash("success", "The name stands for nobody any more.");
    Ok(see_other(&urls::trust(member.slug())))
}
