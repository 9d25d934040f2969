//! Budgets: how they stand, on the pages of what they are about, and the form that sets them.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents,
    catalog::{self, parse_price},
    ids::{AgentId, ToolId},
    quota::budgets::{self, BudgetScope, Period, Stage, Standing, Terms},
};

use super::{Page, components::Moment, format, layout::Layout, page_with, see_other};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageAgents, ManageTenant, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let (tenant, agents, tools) = (
        Access::Member(Permission::ManageTenant),
        Access::Member(Permission::ManageAgents),
        Access::Member(Permission::ManageTools),
    );
    vec![
        Route::get("/t/{tenant}/settings/budgets", tenant, show_tenant),
        Route::post("/t/{tenant}/settings/budgets", tenant, set_tenant),
        Route::get("/t/{tenant}/agents/{agent}/budgets", agents, show_agent),
        Route::post("/t/{tenant}/agents/{agent}/budgets", agents, set_agent),
        Route::get("/t/{tenant}/tools/{tool}/budgets", tools, show_tool),
        Route::post("/t/{tenant}/tools/{tool}/budgets", tools, set_tool),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/budgets.html")]
struct BudgetsPage {
    layout: Layout,
    lead: &'static str,
    url: String,
    back_url: String,
    back_label: String,
    currency: String,
    budgets: Vec<BudgetRow>,
    fields: Vec<BudgetFields>,
    errors: FieldErrors,
}

/// A budget as it stands.
pub(super) struct BudgetRow {
    pub(super) period: &'static str,
    pub(super) spent: String,
    pub(super) amount: String,
    /// How far the bar goes.
    pub(super) percent: i64,
    /// The share in words.
    pub(super) share: String,
    /// `accent`, `warn` or `bad`.
    pub(super) tone: &'static str,
    /// Of what its owners were told; empty if of nothing.
    pub(super) stage: &'static str,
    /// What happens when it is spent.
    pub(super) then: &'static str,
    pub(super) ends: Moment,
}

/// The form's fields of one period.
struct BudgetFields {
    amount_field: &'static str,
    warn_field: &'static str,
    blocks_field: &'static str,
    title: &'static str,
    lead: &'static str,
    amount: String,
    warn: String,
    blocks: bool,
}

/// Whose budgets a page is about.
struct About {
    scope: BudgetScope,
    name: String,
    section: &'static str,
    lead: &'static str,
    url: String,
    back_url: String,
}

/// Budgets as they stand, for the page of what they are about.
pub(super) async fn rows<P>(state: &WebState, member: &Allowed<P>, scope: BudgetScope) -> Result<Vec<BudgetRow>, HtmlError> {
    let standings = budgets::list(&state.platform, &member.actor, scope).await?;
    Ok(standings.iter().map(|standing| row(standing, &member.tenant.currency)).collect())
}

fn row(standing: &Standing, currency: &str) -> BudgetRow {
    let (terms, spent) = (&standing.budget.terms, standing.spent_micro);
    let percent = i128::from(spent) * 100 / i128::from(terms.amount_micro.max(1));
    BudgetRow {
        period: match standing.budget.period {
            Period::Day => "Today",
            Period::Month => "This month",
        },
        spent: format::cost(spent, currency),
        amount: format::price(terms.amount_micro, currency),
        percent: i64::try_from(percent.min(100)).unwrap_or(100),
        share: share(spent, terms.amount_micro),
        tone: match standing.stage {
            Some(Stage::Spent) => "bad",
            _ if spent >= terms.amount_micro => "bad",
            Some(Stage::Warned) => "warn",
            None => "accent",
        },
        stage: match standing.stage {
            Some(Stage::Spent) => "spent",
            Some(Stage::Warned) => "warned",
            None => "",
        },
        then: if terms.blocks { "refuses calls when spent" } else { "only warns" },
        ends: Moment::second(standing.ends),
    }
}

/// How much of it, in percent.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn share(spent_micro: i64, amount_micro: i64) -> String {
    format::percent(spent_micro as f64 / amount_micro.max(1) as f64)
}

fn of_tenant(member: &Allowed<ManageTenant>) -> About {
    About {
        scope: BudgetScope::Tenant,
        name: member.tenant.name.clone(),
        section: "settings",
        lead: "What all agents together may spend.",
        url: urls::tenant_budgets(member.slug()),
        back_url: urls::settings(member.slug()),
    }
}

async fn of_agent(state: &WebState, member: &Allowed<ManageAgents>, id: AgentId) -> Result<About, HtmlError> {
    let agent = agents::get(&state.platform, &member.actor, id).await?;
    Ok(About {
        scope: BudgetScope::Agent(id),
        name: agent.name.to_string(),
        section: "agents",
        lead: "What this agent may spend, on all tools together.",
        url: urls::agent_budgets(member.slug(), id),
        back_url: urls::agent(member.slug(), id),
    })
}

async fn of_tool(state: &WebState, member: &Allowed<ManageTools>, id: ToolId) -> Result<About, HtmlError> {
    let tool = catalog::get(&state.platform, &member.actor, id).await?;
    Ok(About {
        scope: BudgetScope::Tool(id),
        name: tool.name.to_string(),
        section: "tools",
        lead: "What all agents together may spend on this tool.",
        url: urls::tool_budgets(member.slug(), id),
        back_url: urls::tool(member.slug(), id),
    })
}

async fn show_tenant(state: web::Data<WebState>, member: Allowed<ManageTenant>) -> Page {
    show(&state, &member, of_tenant(&member)).await
}

async fn set_tenant(state: web::Data<WebState>, member: Allowed<ManageTenant>, form: Form<Fields>) -> Page {
    set(&state, &member, of_tenant(&member), &form.0).await
}

async fn show_agent(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>) -> Page {
    let about = of_agent(&state, &member, agent.0).await?;
    show(&state, &member, about).await
}

async fn set_agent(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>, form: Form<Fields>) -> Page {
    let about = of_agent(&state, &member, agent.0).await?;
    set(&state, &member, about, &form.0).await
}

async fn show_tool(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>) -> Page {
    let about = of_tool(&state, &member, tool.0).await?;
    show(&state, &member, about).await
}

async fn set_tool(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let about = of_tool(&state, &member, tool.0).await?;
    set(&state, &member, about, &form.0).await
}

async fn show<P>(state: &WebState, member: &Allowed<P>, about: About) -> Page {
    let standings = budgets::list(&state.platform, &member.actor, about.scope).await?;
    let fields = Period::ALL.map(|period| {
        let terms = standings.iter().find(|standing| standing.budget.period == period).map(|standing| standing.budget.terms);
        let terms = terms.unwrap_or(Terms { amount_micro: 0, warn_percent: Some(80), blocks: true });
        let amount = if terms.amount_micro == 0 { String::new() } else { format::price_input(terms.amount_micro) };
        let warn = terms.warn_percent.map(|share| share.to_string()).unwrap_or_default();
        fields(period, amount, warn, terms.blocks)
    });
    render(state, member, about, StatusCode::OK, fields, FieldErrors::default()).await
}

async fn set<P>(state: &WebState, member: &Allowed<P>, about: About, form: &Fields) -> Page {
    let mut errors = FieldErrors::default();
    let day = parse(form, Period::Day, &mut errors)?;
    let month = parse(form, Period::Month, &mut errors)?;
    if errors.is_empty() {
        let terms = [(Period::Day, day), (Period::Month, month)];
        if let Some(()) = errors.take(budgets::set(&state.platform, &member.actor, about.scope, terms).await)? {
            member.visitor.leave_flash("success", "The budgets are saved. They hold from the next call on.");
            return Ok(see_other(&about.back_url));
        }
    }
    let fields = Period::ALL.map(|period| {
        let [amount, warn, blocks] = names(period).map(|name| form.get(name));
        fields(period, amount.to_owned(), warn.to_owned(), blocks == "yes")
    });
    render(state, member, about, StatusCode::UNPROCESSABLE_ENTITY, fields, errors).await
}

/// Reads the fields of one period. An empty amount is no budget.
fn parse(form: &Fields, period: Period, errors: &mut FieldErrors) -> Result<Option<Terms>, HtmlError> {
    let [amount_field, warn_field, blocks_field] = names(period);
    if form.get(amount_field).trim().is_empty() {
        return Ok(None);
    }
    let amount_micro = errors.take(parse_price(amount_field, form.get(amount_field)))?;
    let warn = match form.get(warn_field).trim() {
        "" => Some(None),
        text => {
            let share = text.parse().ok();
            if share.is_none() {
                errors.add(warn_field, "expected a whole number from 1 to 99, or nothing");
            }
            share.map(Some)
        }
    };
    let blocks = form.get(blocks_field) == "yes";
    Ok(amount_micro.zip(warn).map(|(amount_micro, warn_percent)| Terms { amount_micro, warn_percent, blocks }))
}

/// What the form calls amount, share and what happens then.
fn names(period: Period) -> [&'static str; 3] {
    match period {
        Period::Day => ["day_amount", "day_warn", "day_blocks"],
        Period::Month => ["month_amount", "month_warn", "month_blocks"],
    }
}

fn fields(period: Period, amount: String, warn: String, blocks: bool) -> BudgetFields {
    let (title, lead) = match period {
        Period::Day => ("Each day", "From midnight to midnight UTC. An empty amount: no budget."),
        Period::Month => ("Each month", "A month of the calendar, in UTC. An empty amount: no budget."),
    };
    let [amount_field, warn_field, blocks_field] = names(period);
    BudgetFields { amount_field, warn_field, blocks_field, title, lead, amount, warn, blocks }
}

async fn render<P>(
    state: &WebState,
    member: &Allowed<P>,
    about: About,
    status: StatusCode,
    fields: [BudgetFields; 2],
    errors: FieldErrors,
) -> Page {
    let page = BudgetsPage {
        layout: member.layout(format!("Budgets of {}", about.name), about.section),
        lead: about.lead,
        budgets: rows(state, member, about.scope).await?,
        url: about.url,
        back_url: about.back_url,
        back_label: about.name,
        currency: member.tenant.currency.clone(),
        fields: fields.into(),
        errors,
    };
    page_with(status, &page)
}
