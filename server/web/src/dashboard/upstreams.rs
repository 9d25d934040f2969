//! How calls treat upstreams: the list, and the form for a source or for the origin of HTTP tools.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    Error, ErrorKind,
    actor::Permission,
    catalog::{self, source},
    execution,
    ids::{SourceId, ToolId},
    quota::{
        breakers::{Protected, Terms},
        resilience::{self, Resilience},
    },
};

use super::{Page, components::Choice, format, layout::Layout, limits::standing_words, page, page_with, see_other};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/upstreams", manage, list),
        Route::get("/t/{tenant}/sources/{source}/resilience", manage, show_of_source),
        Route::post("/t/{tenant}/sources/{source}/resilience", manage, change_of_source),
        Route::get("/t/{tenant}/tools/{tool}/resilience", manage, show_of_tool),
        Route::post("/t/{tenant}/tools/{tool}/resilience", manage, change_of_tool),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/upstreams.html")]
struct UpstreamsPage {
    layout: Layout,
    base: String,
    rows: Vec<Row>,
}

struct Row {
    url: String,
    name: String,
    at_once: String,
    retries: u8,
    standing: String,
}

#[derive(Template)]
#[template(path = "dashboard/upstream.html")]
struct UpstreamPage {
    layout: Layout,
    back_url: String,
    back_label: String,
    action: String,
    standing: String,
    deadline_ms: String,
    at_once: String,
    breaker_share: String,
    breaker_s: String,
    retries: Vec<Choice>,
    errors: FieldErrors,
}

/// An upstream, and where its page is.
struct Subject {
    upstream: Protected,
    name: String,
    url: String,
    back_url: String,
    back_label: String,
}

impl Subject {
    async fn of_source(state: &WebState, member: &Allowed<ManageTools>, id: SourceId) -> Result<Self, HtmlError> {
        let source = source::get(&state.platform, &member.actor, id).await?.source;
        let back_url = urls::source(member.slug(), id);
        let (upstream, url) = (Protected::Source(id), urls::resilience(&back_url));
        Ok(Self { upstream, name: source.name.to_string(), url, back_url, back_label: source.name.to_string() })
    }

    /// The upstream that the tool calls; a tool of ours has none.
    async fn of_tool(state: &WebState, member: &Allowed<ManageTools>, id: ToolId) -> Result<Option<Self>, HtmlError> {
        let tool = catalog::get(&state.platform, &member.actor, id).await?;
        let Some(upstream) = execution::upstream(&tool.version.executor) else { return Ok(None) };
        if let Protected::Source(source) = upstream {
            return Self::of_source(state, member, source).await.map(Some);
        }
        let (name, url) = (upstream.to_text(), urls::resilience(&urls::tool(member.slug(), id)));
        Ok(Some(Self { upstream, name, url, back_url: urls::upstreams(member.slug()), back_label: "Upstreams".to_owned() }))
    }
}

async fn list(state: web::Data<WebState>, member: Allowed<ManageTools>) -> Page {
    let (slug, tenant) = (member.slug(), member.actor.tenant);
    let row = |listed: resilience::Listed| Row {
        url: match (&listed.upstream, listed.tool) {
            (Protected::Source(id), _) => urls::resilience(&urls::source(slug, *id)),
            (Protected::Origin(_), Some(tool)) => urls::resilience(&urls::tool(slug, tool)),
            (Protected::Origin(_), None) => urls::upstreams(slug),
        },
        name: listed.name,
        at_once: listed.resilience.at_once.map_or("–".to_owned(), |most| format::count(most.into())),
        retries: listed.resilience.retries,
        standing: match listed.resilience.breaker.share {
            Some(_) => standing_words(state.platform.breakers.standing(tenant, &listed.upstream)),
            None => "Never left alone.".to_owned(),
        },
    };
    let listed = resilience::list(&state.platform, &member.actor).await?;
    page(&UpstreamsPage {
        layout: member.layout("Upstreams", "sources"),
        base: urls::tenant(slug),
        rows: listed.into_iter().map(row).collect(),
    })
}

async fn show_of_source(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>) -> Page {
    let subject = Subject::of_source(&state, &member, id.0).await?;
    show(&state, &member, subject).await
}

async fn show_of_tool(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ToolId>) -> Page {
    match Subject::of_tool(&state, &member, id.0).await? {
        Some(subject) => show(&state, &member, subject).await,
        None => Ok(see_other(&urls::tool(member.slug(), id.0))),
    }
}

async fn change_of_source(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    id: Path<SourceId>,
    form: Form<Fields>,
) -> Page {
    let subject = Subject::of_source(&state, &member, id.0).await?;
    change(&state, &member, subject, &form.0).await
}

async fn change_of_tool(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ToolId>, form: Form<Fields>) -> Page {
    match Subject::of_tool(&state, &member, id.0).await? {
        Some(subject) => change(&state, &member, subject, &form.0).await,
        None => Ok(see_other(&urls::tool(member.slug(), id.0))),
    }
}

async fn show(state: &WebState, member: &Allowed<ManageTools>, subject: Subject) -> Page {
    let now = resilience::get(&state.platform, &member.actor, &subject.upstream).await?;
    render(state, member, StatusCode::OK, subject, sent_of(now), FieldErrors::default())
}

async fn change(state: &WebState, member: &Allowed<ManageTools>, subject: Subject, form: &Fields) -> Page {
    let (sent, mut errors) = (Sent::read(form), FieldErrors::default());
    if let Some(new) = sent.parse(&mut errors)? {
        match resilience::set(&state.platform, &member.actor, &subject.upstream, new).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => errors.add("form", error.to_string()),
            other => {
                if errors.take(other)?.is_some() {
                    member.visitor.leave_flash("success", "Saved. It holds from the next call on.");
                    return Ok(see_other(&subject.url));
                }
            }
        }
    }
    render(state, member, StatusCode::UNPROCESSABLE_ENTITY, subject, sent, errors)
}

/// What stands in the fields.
struct Sent {
    deadline_ms: String,
    at_once: String,
    breaker_share: String,
    breaker_s: String,
    retries: String,
}

fn sent_of(resilience: Resilience) -> Sent {
    let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    Sent {
        deadline_ms: number(resilience.deadline_ms),
        at_once: number(resilience.at_once),
        breaker_share: number(resilience.breaker.share),
        breaker_s: resilience.breaker.open_s.to_string(),
        retries: resilience.retries.to_string(),
    }
}

impl Sent {
    fn read(form: &Fields) -> Self {
        let field = |name: &str| form.get(name).trim().to_owned();
        Self {
            deadline_ms: field("deadline_ms"),
            at_once: field("at_once"),
            breaker_share: field("breaker_share"),
            breaker_s: field("breaker_s"),
            retries: field("retries"),
        }
    }

    fn parse(&self, errors: &mut FieldErrors) -> Result<Option<Resilience>, HtmlError> {
        let whole = |name: &str, text: &str| text.parse::<u32>().map_err(|_| Error::invalid(name, "expected a whole number"));
        let maybe = |name: &str, text: &str| if text.is_empty() { Ok(None) } else { whole(name, text).map(Some) };
        let deadline_ms = errors.take(maybe("deadline_ms", &self.deadline_ms))?;
        let at_once = errors.take(maybe("at_once", &self.at_once))?;
        let share = errors.take(maybe("breaker_share", &self.breaker_share))?;
        let open_s = errors.take(whole("breaker_s", &self.breaker_s))?;
        let retries = errors.take(self.retries.parse::<u8>().map_err(|_| Error::invalid("retries", "expected 0 to 3")))?;
        let (Some(deadline_ms), Some(at_once), Some(share), Some(open_s), Some(retries)) =
            (deadline_ms, at_once, share, open_s, retries)
        else {
            return Ok(None);
        };
        Ok(Some(Resilience { deadline_ms, at_once, breaker: Terms { share, open_s }, retries }))
    }
}

fn render(
    state: &WebState,
    member: &Allowed<ManageTools>,
    status: StatusCode,
    subject: Subject,
    sent: Sent,
    errors: FieldErrors,
) -> Page {
    let words = ["Never", "Once", "Twice", "Three times"];
    let choice = |(count, words): (usize, &str)| Choice {
        value: count.to_string(),
        label: words.to_owned(),
        hint: String::new(),
        chosen: sent.retries == count.to_string(),
    };
    let retries = words.into_iter().enumerate().map(choice).collect();
    let page = UpstreamPage {
        layout: member.layout(format!("Resilience of {}", subject.name), "sources"),
        standing: standing_words(state.platform.breakers.standing(member.actor.tenant, &subject.upstream)),
        back_url: subject.back_url,
        back_label: subject.back_label,
        action: subject.url,
        deadline_ms: sent.deadline_ms,
        at_once: sent.at_once,
        breaker_share: sent.breaker_share,
        breaker_s: sent.breaker_s,
        retries,
        errors,
    };
    page_with(status, &page)
}
