//! The authorization endpoint: the page on which a person lets a client act as an agent.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use askama::Template;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use trunkline_platform::{
    ErrorKind,
    accounts::Session,
    handshake::{Fault, Hop, Told},
    ids::TenantId,
    oauth::{self, Answer, Asked, Decision, Failure, HOURS, OpenedScope, Question, Trusted},
};
use trunkline_protocol::oauth::{
    error::{ErrorCode, OAuthError},
    redirect_uri::shown_host,
    scope::{Effect, Scope},
};
use url::{Host, Url};

use crate::{
    WebState,
    dashboard::{Page, components::Choice, format, layout::Layout, page, see_other, unfit},
    doctor,
    error::HtmlError,
    extract::{FieldErrors, Fields, Form, Visitor},
    urls,
};

#[derive(Template)]
#[template(path = "oauth/consent.html")]
struct ConsentPage {
    layout: Layout,
    errors: FieldErrors,
    client: ClientRow,
    tenant: String,
    toolset: String,
    resource: String,
    agents: Vec<Choice>,
    new_agent: String,
    may_create: bool,
    new_scopes: Vec<Choice>,
    other_scopes: Vec<Choice>,
    hours: Vec<Choice>,
    request: String,
    proof: String,
}

struct ClientRow {
    name: String,
    /// Host of its document; empty if nobody vouches for the name.
    host: String,
    /// Where the answer goes.
    redirect_host: String,
    is_local: bool,
}

#[derive(Template)]
#[template(path = "oauth/choose.html")]
struct ChoosePage {
    layout: Layout,
    client: String,
    places: Vec<(String, String)>,
}

/// Who may give consent: somebody whose sign-in is complete. The one place that judges it.
fn person(visitor: &Visitor) -> Option<&Session> {
    visitor.session()
}

/// Shows the page, or answers at once.
pub(super) async fn show(state: Data<WebState>, visitor: Visitor, request: HttpRequest) -> Page {
    let query = request.query_string();
    let (trusted, asked) = match open(&state, &request, query).await? {
        Ok(opened) => opened,
        Err(response) => return Ok(response),
    };
    let tenant = told_tenant(&state, &asked).await;
    tell(&state, &request, tenant, &trusted, Told::well(Hop::Authorize));
    let Some(person) = person(&visitor) else {
        if asked.is_silent() {
            let error = OAuthError::new(ErrorCode::LoginRequired, "nobody is signed in");
            return Ok(lead_back(&trusted.location(&state.platform, Err(&error))));
        }
        return Err(HtmlError::SignIn(Some(request.uri().to_string())));
    };
    let decision = oauth::ask(&state.platform, person, &trusted, &asked).await;
    tell_outcome(&state, &request, tenant, &trusted, decision.as_ref().map(|decision| matches!(decision, Decision::Allowed(_))));
    match decision {
        Ok(Decision::Allowed(code)) => Ok(lead_back(&trusted.location(&state.platform, Ok(code.reveal())))),
        Ok(Decision::Choose(places)) => {
            let link =
                |(url, name): (String, String)| (format!("{}?{query}&{}", urls::authorize(), encode("resource", &url)), name);
            page(&ChoosePage {
                layout: visitor.layout("Choose an organisation"),
                client: trusted.client.name.clone(),
                places: places.into_iter().map(link).collect(),
            })
        }
        Ok(Decision::Ask(question)) => {
            page(&consent_page(&state, &visitor, person, &trusted, query, &question, &Fields::default(), FieldErrors::default()))
        }
        Err(failure) => refused(&state, &trusted, query, failure),
    }
}

/// Takes the answer.
pub(super) async fn decide(state: Data<WebState>, visitor: Visitor, form: Form<Fields>, request: HttpRequest) -> Page {
    let fields = form.0;
    let query = fields.exactly("request").to_owned();
    let Some(person) = person(&visitor) else { return Err(HtmlError::SignIn(None)) };
    // Bound to this person's session and to exactly the request that was shown.
    if !is_proof(&state, person, &query, fields.exactly("proof")) {
        return Err(HtmlError::Forged);
    }
    let (trusted, asked) = match open(&state, &request, &query).await? {
        Ok(opened) => opened,
        Err(response) => return Ok(response),
    };
    let tenant = told_tenant(&state, &asked).await;
    if fields.get("decision") != "allow" {
        let error = OAuthError::new(ErrorCode::AccessDenied, "the person did not allow it");
        tell(&state, &request, tenant, &trusted, Told::failed(Hop::Consent, Fault::Denied));
        return Ok(lead_back(&trusted.location(&state.platform, Err(&error))));
    }
    let scopes: Vec<&str> = fields.all("scopes").collect();
    let answer = Answer::parse(fields.get("agent"), fields.get("new_agent"), &scopes, fields.get("hours"));
    let decided = match answer {
        Ok(answer) => oauth::decide(&state.platform, person, &trusted, &asked, fields.get("resource"), answer).await,
        Err(error) => Err(error.into()),
    };
    tell_outcome(&state, &request, tenant, &trusted, decided.as_ref().map(|_| true));
    match decided {
        Ok(code) => Ok(lead_back(&trusted.location(&state.platform, Ok(code.reveal())))),
        Err(Failure::Failed(error)) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let errors = FieldErrors::from_failure(error)?;
            match oauth::ask(&state.platform, person, &trusted, &asked).await {
                Ok(Decision::Ask(question)) => {
                    unfit(&consent_page(&state, &visitor, person, &trusted, &query, &question, &fields, errors))
                }
                Ok(_) => Err(HtmlError::Forged),
                Err(failure) => refused(&state, &trusted, &query, failure),
            }
        }
        Err(failure) => refused(&state, &trusted, &query, failure),
    }
}

/// The request, read. What is wrong before its client is trusted is a page; afterwards it is told to the client.
async fn open(state: &WebState, request: &HttpRequest, query: &str) -> Result<Result<(Trusted, Asked), HttpResponse>, HtmlError> {
    let trusted = match oauth::trust(&state.platform, query).await {
        Ok(trusted) => trusted,
        Err(failure @ Failure::Refused(_)) => {
            let client = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "client_id");
            if let Some(told) = doctor::refused(Hop::Authorize, &failure) {
                doctor::tell_of(state, request, None, told, client.as_ref().map(|(_, id)| id.as_ref()), None);
            }
            return Err(HtmlError::Client(failure.to_oauth().description));
        }
        Err(Failure::Failed(error)) => return Err(error.into()),
    };
    match trusted.read(&state.platform).await {
        Ok(asked) => Ok(Ok((trusted, asked))),
        Err(failure) => {
            if let Some(told) = doctor::refused(Hop::Authorize, &failure) {
                tell(state, request, None, &trusted, told);
            }
            refused(state, &trusted, query, failure).map(Err)
        }
    }
}

/// The tenant whose endpoint is asked for, if one is.
async fn told_tenant(state: &WebState, asked: &Asked) -> Option<TenantId> {
    doctor::tenant(state, asked.endpoint()?.slug.as_str()).await
}

fn tell(state: &WebState, request: &HttpRequest, tenant: Option<TenantId>, trusted: &Trusted, told: Told) {
    doctor::tell_of(state, request, tenant, told, Some(&trusted.client.client_id), None);
}

/// Tells how the person's part went: allowed, refused, or neither yet.
fn tell_outcome(
    state: &WebState,
    request: &HttpRequest,
    tenant: Option<TenantId>,
    trusted: &Trusted,
    outcome: Result<bool, &Failure>,
) {
    let told = match outcome {
        Ok(true) => Some(Told::well(Hop::Consent)),
        Ok(false) => None,
        Err(failure) => doctor::refused(Hop::Consent, failure),
    };
    if let Some(told) = told {
        tell(state, request, tenant, trusted, told);
    }
}

fn refused(state: &WebState, trusted: &Trusted, query: &str, failure: Failure) -> Page {
    let failure = match failure {
        // What the organisation asks of the person comes first, and leads back here.
        Failure::Failed(error) if matches!(error.kind(), ErrorKind::First(_)) => {
            return Err(HtmlError::first(error, Some(&format!("{}?{query}", urls::authorize()))));
        }
        failure => failure,
    };
    if let Failure::Failed(error) = &failure
        && matches!(error.kind(), ErrorKind::Internal)
    {
        tracing::error!(error = error as &dyn std::error::Error, "an authorization failed");
    }
    Ok(lead_back(&trusted.location(&state.platform, Err(&failure.to_oauth()))))
}

/// 303: whatever carried a password or a decision here becomes a plain request there.
fn lead_back(location: &str) -> HttpResponse {
    let mut response = see_other(location);
    let no_referrer = header::HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(header::REFERRER_POLICY, no_referrer);
    response
}

/// What its key is for.
const PURPOSE: &str = "consent";

fn proof(state: &WebState, person: &Session, query: &str) -> String {
    let message = format!("{}|{query}", person.id);
    BASE64_URL_SAFE_NO_PAD.encode(state.platform.master_key.mac(PURPOSE, message.as_bytes()))
}

fn is_proof(state: &WebState, person: &Session, query: &str, given: &str) -> bool {
    let Ok(given) = BASE64_URL_SAFE_NO_PAD.decode(given) else { return false };
    let message = format!("{}|{query}", person.id);
    given.len() == 32 && state.platform.master_key.verify_mac(PURPOSE, message.as_bytes(), &given)
}

fn encode(name: &str, value: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

#[expect(clippy::too_many_arguments, reason = "everything that one page says, from one caller's hands")]
fn consent_page(
    state: &WebState,
    visitor: &Visitor,
    person: &Session,
    trusted: &Trusted,
    query: &str,
    question: &Question,
    fields: &Fields,
    errors: FieldErrors,
) -> ConsentPage {
    if let Some(source) = form_source(&trusted.redirect_uri) {
        visitor.let_forms_lead_to(source);
    }
    let again = !errors.is_empty();
    let chosen_agent = fields.get("agent");
    let last = question.agents.iter().any(|agent| agent.chosen);
    let mut agents: Vec<Choice> = Vec::new();
    for (i, agent) in question.agents.iter().enumerate() {
        let id = agent.id.to_string();
        let chosen = if again { chosen_agent == id } else { agent.chosen || (!last && i == 0) };
        agents.push(Choice { chosen, value: id, label: agent.name.clone(), hint: format!("May use at most: {}", agent.scopes) });
    }
    if question.may_create {
        let chosen = if again { chosen_agent == "new" } else { agents.is_empty() };
        let hint = "It may use exactly what you choose below.".to_owned();
        agents.push(Choice { value: "new".to_owned(), label: "A new agent".to_owned(), hint, chosen });
    }
    let chosen_scopes: Vec<&str> = fields.all("scopes").collect();
    let row = |opened: &OpenedScope| {
        let value = opened.scope.to_string();
        let chosen = if again { chosen_scopes.contains(&value.as_str()) } else { opened.asked || opened.before };
        Choice { label: words(&opened.scope), hint: opens(opened), chosen, value }
    };
    let (new, other): (Vec<_>, Vec<_>) = question.scopes.iter().partition(|opened| opened.asked && !opened.before);
    let hours = |hours: i32| {
        let label = if hours < 24 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        let chosen = if again { fields.get("hours") == hours.to_string() } else { hours == question.hours };
        Choice { value: hours.to_string(), label, hint: String::new(), chosen }
    };
    let new_agent = if again { fields.get("new_agent").to_owned() } else { trusted.client.name.clone() };
    ConsentPage {
        layout: visitor.layout("Allow access?"),
        errors,
        client: ClientRow {
            name: trusted.client.name.clone(),
            host: trusted.client.host().unwrap_or_default(),
            redirect_host: shown_host(&trusted.redirect_uri),
            is_local: trusted.is_local(),
        },
        tenant: question.tenant.clone(),
        toolset: question.toolset.clone().unwrap_or_default(),
        resource: question.resource.clone(),
        agents,
        new_agent,
        may_create: question.may_create,
        new_scopes: new.into_iter().map(row).collect(),
        other_scopes: other.into_iter().map(row).collect(),
        hours: HOURS.into_iter().map(hours).collect(),
        request: query.to_owned(),
        proof: proof(state, person, query),
    }
}

/// A scope in words.
fn words(scope: &Scope) -> String {
    match scope {
        Scope::Tools(Effect::Read) => "Tools that only read".to_owned(),
        Scope::Tools(Effect::Write) => "Tools that change things".to_owned(),
        Scope::Tools(Effect::Destructive) => "Tools that may destroy things".to_owned(),
        Scope::Tool(name) => format!("The tool {name}"),
        Scope::Toolset(name) => format!("The toolset {name}"),
        Scope::ResourcesRead => "Resources".to_owned(),
        Scope::PromptsRead => "Prompts".to_owned(),
    }
}

/// What it opens at the moment.
fn opens(opened: &OpenedScope) -> String {
    if opened.count == 0 {
        return "Nothing at the moment".to_owned();
    }
    let more = opened.count - opened.names.len();
    let names = opened.names.join(", ");
    let count = format::count(i64::try_from(opened.count).unwrap_or(i64::MAX));
    if more == 0 {
        format!("{count}: {names}")
    } else {
        format!("{count}: {names} and {} more", format::count(i64::try_from(more).unwrap_or(i64::MAX)))
    }
}

/// The place of a redirect URI as a policy names it. Addresses of IPv6 have no form there.
fn form_source(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(Host::Ipv6(_))) => Some(format!("{}:", url.scheme())),
        ("http" | "https", Some(_)) => Some(url.origin().ascii_serialization()),
        (scheme, _) => Some(format!("{scheme}:")),
    }
}
