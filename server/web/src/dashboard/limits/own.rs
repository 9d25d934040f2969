//! The form for an organisation's own limits, within its plan.

use actix_web::{http::StatusCode, web};
use trunkline_platform::{
    actor::Permission,
    quota::{
        self, Limit, LimitScope, TenantLimits,
        limits::{parse_at_once, parse_per_day, parse_rate},
    },
};

use super::{
    render,
    what_if::{self, WhatIf},
};
use crate::{
    WebState,
    dashboard::{Page, format, see_other},
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageTenant},
    urls,
};

/// What stands in the form, and what it is under.
pub(super) struct OwnLimits {
    pub(super) can_manage: bool,
    pub(super) url: String,
    pub(super) holds: Vec<(&'static str, String)>,
    pub(super) ceiling: String,
    pub(super) per_minute: String,
    pub(super) burst: String,
    pub(super) per_day: String,
    pub(super) at_once: String,
    pub(super) what_if: Option<WhatIf>,
    pub(super) errors: FieldErrors,
}

impl OwnLimits {
    /// As they are set.
    pub(super) fn of<P>(member: &Allowed<P>, limits: &TenantLimits) -> Self {
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        Self {
            can_manage: member.may(Permission::ManageTenant),
            url: urls::limits(member.slug()),
            holds: words(&limits.holds),
            ceiling: ceiling(limits),
            per_minute: number(limits.own.rate.map(|rate| rate.per_minute)),
            burst: number(limits.own.rate.map(|rate| rate.burst)),
            per_day: number(limits.own.per_day),
            at_once: number(limits.own.at_once),
            what_if: None,
            errors: FieldErrors::default(),
        }
    }

    /// With what was sent in the fields.
    fn sent(self, form: &Fields, errors: FieldErrors) -> Self {
        let text = |field: &str| form.get(field).to_owned();
        Self {
            per_minute: text("per_minute"),
            burst: text("burst"),
            per_day: text("per_day"),
            at_once: text("at_once"),
            errors,
            ..self
        }
    }
}

pub(super) async fn change(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    let (form, mut errors) = (form.0, FieldErrors::default());
    let limits = quota::tenant_limits(&state.platform, &member.actor).await?;
    let wanted = match parse(&form, &mut errors)? {
        Some(own) => errors.take(limits.check(&own))?.map(|()| own),
        None => None,
    };
    if let Some(own) = wanted.filter(|_| form.get("then") == "check") {
        let found = what_if::ask(&state, &member, &[(LimitScope::Tenant, own)]).await?;
        let own = OwnLimits { what_if: Some(found), ..OwnLimits::of(&member, &limits).sent(&form, errors) };
        return render(&state, &member, StatusCode::OK, own).await;
    }
    if let Some(own) = wanted
        && errors.take(quota::set_tenant_limits(&state.platform, &member.actor, own).await)?.is_some()
    {
        member.visitor.leave_flash("success", "The limits are saved. They hold from the next call on.");
        return Ok(see_other(&urls::limits(member.slug())));
    }
    let own = OwnLimits::of(&member, &limits).sent(&form, errors);
    render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, own).await
}

fn parse(form: &Fields, errors: &mut FieldErrors) -> Result<Option<Limit>, HtmlError> {
    let rate = errors.take(parse_rate("", form.get("per_minute"), form.get("burst")))?;
    let per_day = errors.take(parse_per_day("per_day", form.get("per_day")))?;
    let at_once = errors.take(parse_at_once("at_once", form.get("at_once")))?;
    let (Some(rate), Some(per_day), Some(at_once)) = (rate, per_day, at_once) else { return Ok(None) };
    Ok(Some(Limit { rate, per_day, at_once }))
}

/// What a limit says, part by part.
fn words(limit: &Limit) -> Vec<(&'static str, String)> {
    let number = |number: Option<u32>| number.map_or_else(|| "not limited".to_owned(), |number| format::count(number.into()));
    vec![
        ("Calls", limit.rate.map_or_else(|| "not limited".to_owned(), format::rate)),
        ("Calls a day (UTC)", number(limit.per_day)),
        ("Running at the same time", number(limit.at_once)),
    ]
}

/// The most that can be set, in a sentence.
fn ceiling(limits: &TenantLimits) -> String {
    let Limit { rate, per_day, at_once } = limits.ceiling;
    let parts = [
        rate.map(format::rate),
        per_day.map(|most| format!("{} a day", format::count(most.into()))),
        at_once.map(|most| format!("{} running at the same time", format::count(most.into()))),
    ];
    let most = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    match &limits.plan {
        Some(plan) => format!("Your plan “{plan}” allows {most}. What you set is never above it."),
        None => format!("This installation allows {most}. What you set is never above it."),
    }
}
