//! Alerts: what fires, what did, and whom they are told.

use actix_web::{http::StatusCode, web};
use askama::Template;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use trunkline_platform::{
    Error, Result,
    actor::{Permission, Role},
    alerts::{self, Alert, Kind, NewTargets, State, Targets},
    ids::{AgentId, AlertId, SourceId, ToolId},
};

use super::{
    Page,
    components::{Choice, Moment},
    layout::Layout,
    page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTenant, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let (mends, manages) = (Access::Member(Permission::ManageTools), Access::Member(Permission::ManageTenant));
    vec![
        Route::get("/t/{tenant}/alerts", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/alerts/targets", manages, set_targets),
        Route::post("/t/{tenant}/alerts/test", manages, try_targets),
        Route::post("/t/{tenant}/alerts/{alert}/acknowledge", mends, acknowledge),
        Route::post("/t/{tenant}/alerts/{alert}/silence", mends, silence),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/alerts.html")]
struct AlertsPage {
    layout: Layout,
    errors: FieldErrors,
    can_mend: bool,
    can_manage: bool,
    firing: Vec<AlertRow>,
    history: Vec<AlertRow>,
    targets_url: String,
    test_url: String,
    roles: Vec<Choice>,
    told: String,
    webhook: String,
    has_webhook: bool,
    chat: String,
    chat_host: String,
    /// What the webhook is signed with: in the one answer that shows it.
    secret: String,
}

struct AlertRow {
    headline: String,
    kind: &'static str,
    message: String,
    url: String,
    state: &'static str,
    since: Moment,
    resolved: Option<Moment>,
    lasted: String,
    acknowledged_by: String,
    silenced_until: Option<Moment>,
    acknowledge_url: String,
    silence_url: String,
}

async fn show(state: web::Data<WebState>, member: InTenant) -> Page {
    render(&state, &member, Shown::default()).await
}

/// What a form has brought to the page.
#[derive(Default)]
struct Shown {
    errors: FieldErrors,
    form: Option<Fields>,
    secret: String,
}

async fn render<P>(state: &WebState, member: &Allowed<P>, shown: Shown) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let overview = alerts::overview(platform, actor).await?;
    let targets = alerts::targets(platform, actor).await?;
    let now = platform.clock.now();
    let row = |alert: &Alert| {
        let by = alert.acknowledged.map(|(user, _)| overview.emails.get(&user).map_or("a former member", String::as_str));
        alert_row(slug, alert, by.unwrap_or_default(), now)
    };
    let status = if shown.form.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let can_manage = member.may(Permission::ManageTenant);
    // A URL of a server may say more than its host.
    let webhook = targets.webhook.as_ref().filter(|_| can_manage).map(|(url, _)| url.to_string()).unwrap_or_default();
    let sent = |field: &str, stored: String| shown.form.as_ref().map_or(stored, |form| form.get(field).to_owned());
    let page = AlertsPage {
        layout: member.layout("Alerts", "alerts"),
        can_mend: member.may(Permission::ManageTools),
        can_manage,
        firing: overview.firing.iter().map(row).collect(),
        history: overview.history.iter().map(row).collect(),
        targets_url: urls::alert_targets(slug),
        test_url: urls::alert_test(slug),
        roles: roles(&targets, shown.form.as_ref()),
        told: told(&targets),
        has_webhook: targets.webhook.is_some(),
        webhook: sent("webhook", webhook),
        chat: sent("chat", String::new()),
        chat_host: targets.chat_host().unwrap_or_default().to_owned(),
        secret: shown.secret,
        errors: shown.errors,
    };
    page_with(status, &page)
}

fn alert_row(slug: &str, alert: &Alert, acknowledged_by: &str, now: DateTime<Utc>) -> AlertRow {
    let until = alert.resolved_at.unwrap_or(now);
    AlertRow {
        headline: alert.headline(),
        kind: alert.kind.label(),
        message: alert.message.clone(),
        url: match alert.kind {
            Kind::Authentication => urls::connect(slug),
            Kind::Usage => urls::usage(slug),
            _ => subject_url(slug, &alert.subject),
        },
        state: match alert.state {
            State::Firing if alert.is_silenced(now) => "silenced",
            state => state.as_str(),
        },
        since: Moment::second(alert.since),
        resolved: alert.resolved_at.map(Moment::second),
        lasted: lasted(until - alert.since),
        acknowledged_by: acknowledged_by.to_owned(),
        silenced_until: alert.silenced_until.filter(|until| *until > now).map(Moment::second),
        acknowledge_url: urls::alert_acknowledge(slug, alert.id),
        silence_url: urls::alert_silence(slug, alert.id),
    }
}

/// The page of what it is about.
fn subject_url(slug: &str, subject: &str) -> String {
    let tool = subject.parse::<ToolId>().map(|id| urls::tool(slug, id));
    let agent = || subject.parse::<AgentId>().map(|id| urls::agent(slug, id));
    let source = || subject.parse::<SourceId>().map(|id| urls::source(slug, id));
    tool.or_else(|_| agent()).or_else(|_| source()).unwrap_or_else(|_| urls::alerts(slug))
}

fn lasted(time: TimeDelta) -> String {
    match time.num_minutes() {
        minutes @ ..60 => format!("{minutes}\u{a0}min"),
        minutes @ 60..1440 => format!("{}\u{a0}h {}\u{a0}min", minutes / 60, minutes % 60),
        minutes => format!("{}\u{a0}d {}\u{a0}h", minutes / 1440, minutes % 1440 / 60),
    }
}

fn roles(targets: &Targets, form: Option<&Fields>) -> Vec<Choice> {
    let chosen = |role: Role| match form {
        Some(form) => form.all("roles").any(|sent| sent == role.as_str()),
        None => targets.roles.contains(&role),
    };
    let choice = |role: Role| {
        let mut label = role.as_str().to_owned();
        label[..1].make_ascii_uppercase();
        Choice { value: role.as_str().to_owned(), label: format!("{label}s"), hint: String::new(), chosen: chosen(role) }
    };
    Role::ALL.into_iter().map(choice).collect()
}

/// Whom alerts are told, for who cannot change it.
fn told(targets: &Targets) -> String {
    let mut told: Vec<String> = targets.roles.iter().map(|role| format!("{role}s by mail")).collect();
    told.extend(targets.webhook.iter().map(|_| "a webhook".to_owned()));
    told.extend(targets.chat_host().map(|host| format!("a chat at {host}")));
    if told.is_empty() { "nobody".to_owned() } else { told.join(", ") }
}

async fn acknowledge(state: web::Data<WebState>, member: Allowed<ManageTools>, alert: Path<AlertId>, _: Form<Fields>) -> Page {
    alerts::acknowledge(&state.platform, &member.actor, alert.0).await?;
    member.visitor.leave_flash("success", "Others see that you look after it.");
    Ok(see_other(&urls::alerts(member.slug())))
}

async fn silence(state: web::Data<WebState>, member: Allowed<ManageTools>, alert: Path<AlertId>, form: Form<Fields>) -> Page {
    let silenced = async {
        let until = until(&form.0, state.platform.clock.now())?;
        alerts::silence(&state.platform, &member.actor, alert.0, until).await
    };
    let mut errors = FieldErrors::default();
    match errors.take(silenced.await)? {
        Some(()) => member.visitor.leave_flash("success", "Nobody is told of it until then."),
        None => member.visitor.leave_flash("error", format!("Nothing was changed. {}.", errors.of("until"))),
    }
    Ok(see_other(&urls::alerts(member.slug())))
}

/// Until when, by one of the form's words or by a time in UTC.
fn until(form: &Fields, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    match form.get("for") {
        "1h" => Ok(now + TimeDelta::hours(1)),
        "1d" => Ok(now + TimeDelta::days(1)),
        "until" => {
            let at = NaiveDateTime::parse_from_str(form.get("until"), "%Y-%m-%dT%H:%M").map(|at| at.and_utc());
            at.map_err(|_| Error::invalid("until", "expected a time such as 2026-11-22T18:00"))
        }
        _ => Err(Error::invalid("until", "expected an hour, a day or a time")),
    }
}

async fn set_targets(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let form = form.0;
    let set = async {
        let is_checked = |field: &str| form.get(field) == "yes";
        let chat = (form.get("chat"), is_checked("chat_removed"));
        let new = NewTargets::parse(form.all("roles"), form.get("webhook"), is_checked("secret_renewed"), chat)?;
        alerts::set_targets(&state.platform, &member.actor, new).await
    };
    match set.await {
        Ok(Some(secret)) => {
            let shown = Shown { secret: secret.reveal().to_owned(), ..Shown::default() };
            render(&state, &member, shown).await
        }
        Ok(None) => {
            member.visitor.leave_flash("success", "Saved.");
            Ok(see_other(&urls::alerts(member.slug())))
        }
        Err(error) => {
            let shown = Shown { errors: FieldErrors::from_failure(error)?, form: Some(form), secret: String::new() };
            render(&state, &member, shown).await
        }
    }
}

async fn try_targets(
    state: web::Data<WebState>,
    member: Allowed<ManageTenant>,
    _: Form<Fields>,
) -> Result<actix_web::HttpResponse, HtmlError> {
    let tried = alerts::try_targets(&state.platform, &member.actor).await?;
    let refused: Vec<String> =
        tried.iter().filter_map(|(what, why)| why.as_ref().map(|why| format!("The {what} did not take it: {why}."))).collect();
    match (tried.is_empty(), refused.is_empty()) {
        (true, _) => member.visitor.leave_flash("error", "There is no webhook and no chat to send a test to."),
        (false, true) => member.visitor.leave_flash("success", "The test was taken."),
        (false, false) => member.visitor.leave_flash("error", refused.join(" ")),
    }
    Ok(see_other(&urls::alerts(member.slug())))
}
