//! OAuth clients: whom members let act as agents, what the tenant thinks of them, and how a grant ends.

use actix_web::{
    http::{
        StatusCode,
        header::{CACHE_CONTROL, HeaderValue},
    },
    web,
};
use askama::Template;
use trunkline_platform::{
    actor::{Member, Permission},
    agents,
    ids::{ClientId, GrantId},
    oauth::{self, Admission, ClientKind, ClientPolicy, ClientState, ListedClient, ListedGrant, NewClient, NewProof, Revoked},
    secret::Plaintext,
};
use trunkline_protocol::oauth::redirect_uri::shown_host;

use super::{
    Page,
    components::{Choice, Moment},
    format,
    layout::Layout,
    page, page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageAgents, ManageKeys, ManageTenant, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let (agents, keys) = (Access::Member(Permission::ManageAgents), Access::Member(Permission::ManageKeys));
    vec![
        Route::get("/t/{tenant}/clients", Access::Member(Permission::View), list),
        Route::post("/t/{tenant}/clients", keys, add),
        Route::post("/t/{tenant}/clients/policy", Access::Member(Permission::ManageTenant), set_policy),
        Route::post("/t/{tenant}/clients/{client}/approve", agents, approve),
        Route::post("/t/{tenant}/clients/{client}/block", agents, block),
        Route::post("/t/{tenant}/clients/{client}/secret", keys, replace_secret),
        Route::post("/t/{tenant}/grants/{grant}/revoke", keys, revoke),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/clients.html")]
struct ClientsPage {
    layout: Layout,
    errors: FieldErrors,
    can_add: bool,
    can_judge: bool,
    url: String,
    policy_url: String,
    clients: Vec<ClientRow>,
    /// Empty for who may not change it.
    admissions: Vec<Choice>,
    hosts: String,
    client_name: String,
    redirect_uris: String,
    proofs: Vec<Choice>,
    keys: String,
    certificate_name: String,
    trust_url: String,
    agents: Vec<Choice>,
}

struct ClientRow {
    name: String,
    /// Its host or its id.
    note: String,
    kind: &'static str,
    state: &'static str,
    grants: String,
    last_used: Option<Moment>,
    is_blocked: bool,
    is_approved: bool,
    has_secret: bool,
    approve_url: String,
    block_url: String,
    secret_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/client_created.html")]
struct ClientCreatedPage {
    layout: Layout,
    back_url: String,
    client_id: String,
    secret: String,
    issuer: String,
}

/// A grant in a list.
pub(super) struct GrantRow {
    pub(super) client: String,
    pub(super) note: String,
    pub(super) user: String,
    pub(super) scopes: String,
    pub(super) since: Moment,
    pub(super) last_used: Moment,
    pub(super) until: Moment,
    pub(super) may_revoke: bool,
    pub(super) revoke_url: String,
}

/// What the page says beside the list.
#[derive(Default)]
struct Said {
    errors: FieldErrors,
    form: Option<Fields>,
}

async fn list(state: web::Data<WebState>, member: InTenant) -> Page {
    render(&state, &member, StatusCode::OK, Said::default()).await
}

async fn render<P>(state: &WebState, member: &Allowed<P>, status: StatusCode, said: Said) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let policy = oauth::client_policy(platform, actor).await?;
    let field = |name: &str| said.form.as_ref().map(|fields| fields.get(name).to_owned()).unwrap_or_default();
    let admission = |admission: Admission, label: &str, hint: &str| Choice {
        value: admission.as_str().to_owned(),
        label: label.to_owned(),
        hint: hint.to_owned(),
        chosen: policy.admission == admission,
    };
    let nobody = Choice { label: "No agent of its own".to_owned(), ..Choice::default() };
    let agent = |agent: agents::Agent| Choice {
        chosen: field("agent") == agent.id.to_string(),
        value: agent.id.to_string(),
        label: agent.name.to_string(),
        hint: String::new(),
    };
    let agents = agents::list(platform, actor).await?.into_iter().map(agent);
    let admissions = if member.may(Permission::ManageTenant) {
        vec![
            admission(Admission::Any, "Any client", "Members decide for themselves; single clients can be blocked."),
            admission(
                Admission::Listed,
                "Listed hosts only",
                "Clients whose document, or whose redirect, is on one of the hosts below.",
            ),
            admission(Admission::Approval, "After approval", "A client that somebody brings waits here until it is approved."),
        ]
    } else {
        Vec::new()
    };
    let page = ClientsPage {
        layout: member.layout("Clients", "clients"),
        can_add: member.may(Permission::ManageKeys),
        can_judge: member.may(Permission::ManageAgents),
        url: urls::clients(slug),
        policy_url: urls::client_policy(slug),
        clients: oauth::list_clients(platform, actor).await?.into_iter().map(|client| row(slug, client)).collect(),
        admissions,
        hosts: policy.hosts.join("\n"),
        client_name: field("name"),
        redirect_uris: field("redirect_uris"),
        proofs: proofs(&field("proof")),
        keys: field("keys"),
        certificate_name: field("certificate_name"),
        trust_url: urls::trust(slug),
        agents: std::iter::once(nobody).chain(agents).collect(),
        errors: said.errors,
    };
    page_with(status, &page)
}

/// How a new client may prove who it is.
fn proofs(chosen: &str) -> Vec<Choice> {
    let choice = |value: &str, label: &str, hint: &str| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: hint.to_owned(),
        chosen: value == if chosen.is_empty() { "client_secret" } else { chosen },
    };
    vec![
        choice("client_secret", "A secret", "Shown once. For a server that can keep it."),
        choice("private_key_jwt", "A key of its own", "It signs; nothing secret ever leaves it."),
        choice("tls_client_auth", "A certificate", "Of an authority on the Trust page."),
        choice("none", "Nothing", "A program on people’s computers can keep no secret."),
    ]
}

fn row(slug: &str, client: ListedClient) -> ClientRow {
    let kind = match client.kind {
        ClientKind::Manual => "Made by hand",
        ClientKind::Document => "Document",
        ClientKind::Dynamic => "Registered itself",
    };
    ClientRow {
        note: if client.kind == ClientKind::Document { shown_host(&client.client_id) } else { client.client_id },
        name: client.name,
        kind,
        state: client.state.as_str(),
        grants: format::count(client.live_grants),
        last_used: client.last_used_at.map(Moment::second),
        is_blocked: client.state == ClientState::Blocked,
        is_approved: client.state == ClientState::Approved,
        has_secret: client.has_secret,
        approve_url: urls::client_approve(slug, client.id),
        block_url: urls::client_block(slug, client.id),
        secret_url: urls::client_secret(slug, client.id),
    }
}

async fn add(state: web::Data<WebState>, member: Allowed<ManageKeys>, form: Form<Fields>) -> Page {
    let fields = form.0;
    let agent = fields.get("agent").parse().ok();
    let proof = NewProof::parse(fields.get("proof"), fields.exactly("keys"), fields.get("certificate_name"));
    let new = proof.and_then(|proof| NewClient::parse(fields.get("name"), fields.exactly("redirect_uris"), proof, agent));
    let created = match new {
        Ok(new) => oauth::add_client(&state.platform, &member.actor, new).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(created) => show_secret(&state, &member, created.client_id, created.secret),
        Err(error) => {
            let said = Said { errors: FieldErrors::from_failure(error)?, form: Some(fields) };
            render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, said).await
        }
    }
}

async fn replace_secret(
    state: web::Data<WebState>,
    member: Allowed<ManageKeys>,
    client: Path<ClientId>,
    _: Form<Fields>,
) -> Page {
    let created = oauth::replace_client_secret(&state.platform, &member.actor, client.0).await?;
    show_secret(&state, &member, created.client_id, Some(created.secret))
}

/// The page with a client's id and secret. No cache may keep it.
fn show_secret(state: &WebState, member: &Allowed<ManageKeys>, client_id: String, secret: Option<Plaintext>) -> Page {
    let mut response = page(&ClientCreatedPage {
        layout: member.layout("Your client", "clients"),
        back_url: urls::clients(member.slug()),
        client_id,
        secret: secret.map(|secret| secret.reveal().to_owned()).unwrap_or_default(),
        issuer: oauth::issuer(&state.platform),
    })?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn set_policy(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let fields = form.0;
    let policy = ClientPolicy::parse(fields.get("admission"), fields.get("hosts"));
    let set = match policy {
        Ok(policy) => oauth::set_client_policy(&state.platform, &member.actor, &policy).await,
        Err(error) => Err(error),
    };
    if let Err(error) = set {
        let said = Said { errors: FieldErrors::from_failure(error)?, form: Some(fields) };
        return render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, said).await;
    }
    member.visitor.leave_flash("success", "Saved. It counts for the next consent; what was allowed before stays.");
    Ok(see_other(&urls::clients(member.slug())))
}

async fn approve(state: web::Data<WebState>, member: Allowed<ManageAgents>, client: Path<ClientId>, _: Form<Fields>) -> Page {
    oauth::approve_client(&state.platform, &member.actor, client.0).await?;
    member.visitor.leave_flash("success", "Members may use this client.");
    Ok(see_other(&urls::clients(member.slug())))
}

async fn block(state: web::Data<WebState>, member: Allowed<ManageAgents>, client: Path<ClientId>, _: Form<Fields>) -> Page {
    let revoked = oauth::block_client(&state.platform, &member.actor, client.0).await?;
    member.visitor.leave_flash("success", refused_words(revoked));
    Ok(see_other(&urls::clients(member.slug())))
}

async fn revoke(state: web::Data<WebState>, member: Allowed<ManageKeys>, grant: Path<GrantId>, _: Form<Fields>) -> Page {
    let (agent, revoked) = oauth::revoke_grant(&state.platform, &member.actor, grant.0).await?;
    member.visitor.leave_flash("success", refused_words(revoked));
    Ok(see_other(&urls::agent(member.slug(), agent)))
}

/// What is known of who refuses it, and since when.
fn refused_words(revoked: Revoked) -> String {
    if revoked.everywhere {
        let ms = revoked.within.as_millis().max(1);
        return format!("Refused everywhere from now on ({ms} ms): every replica compares before it serves the next request.");
    }
    "Refused here from now on. Redis is away: the other replicas hear of it through Postgres, within seconds.".to_owned()
}

/// Grants as a list shows them.
pub(super) fn grant_rows(slug: &str, actor: &Member, grants: Vec<ListedGrant>) -> Vec<GrantRow> {
    let may_revoke = actor.role.may(Permission::ManageKeys);
    let row = |grant: ListedGrant| GrantRow {
        client: grant.client_name,
        note: match &grant.toolset {
            Some(toolset) => format!("toolset {toolset}"),
            None => shown_host(&grant.client_id),
        },
        user: if grant.user_email.is_empty() { "A service".to_owned() } else { grant.user_email },
        scopes: grant.scopes.to_string(),
        since: Moment::second(grant.created_at),
        last_used: Moment::second(grant.last_used_at),
        until: Moment::second(grant.expires_at),
        may_revoke,
        revoke_url: urls::grant_revoke(slug, grant.id),
    };
    grants.into_iter().map(row).collect()
}
