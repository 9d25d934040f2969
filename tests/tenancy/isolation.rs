//! Every route × every id of another tenant × everybody who should not reach it. Driven by the router's own list: a new route fails here
//! until it has its place in the table below.

use std::collections::BTreeMap;

use actix_web::http::Method;
use trunkline_platform::actor::{Permission, Role};
use trunkline_web::{Access, Route, routes};

use crate::support::{
    PASSWORD, Page, SESSION, TestApp, Upstream, Visitor, link, say,
    seed::{self, Seeded},
};

/// Fields that make a form of that path right, so that it is refused for who asks and not for what is in it. `None`: not in the table.
fn fields(path: &str) -> Option<Vec<(&'static str, &'static str)>> {
    Some(match path {
        "/login" => vec![("email", "nobody@example.com"), ("password", "wrong horse battery")],
        "/signup" => vec![("email", "new@example.com"), ("password", PASSWORD), ("organisation", "New")],
        "/reset" => vec![("email", "nobody@example.com")],
        "/reset/{token}" | "/account/prove" | "/account/password" => vec![("password", PASSWORD)],
        "/login/second" | "/account/security/authenticator/confirm" => vec![("code", "000000")],
        "/login/passkey" | "/login/second/passkey" => vec![("attempt", "x"), ("answer", "{}")],
        "/login/sso" => vec![("organisation", "nobody-at-all")],
        "/account/email" => vec![("email", "other@example.com")],
        "/account/delete" => vec![("confirm", "delete")],
        "/account/security/passkeys" => vec![("name", "Laptop"), ("attempt", "x"), ("answer", "{}")],
        "/t/{tenant}/settings/sso" => vec![
            ("issuer", "http://127.0.0.1:9"),
            ("client_id", "other"),
            ("client_secret", "other"),
            ("domains", "example.com"),
            ("default_role", "viewer"),
        ],
        "/welcome" => vec![("organisation", "Another")],
        "/t/{tenant}/limits" => vec![("per_minute", "10"), ("burst", "5")],
        "/t/{tenant}/settings" => vec![("name", "Renamed"), ("currency", "EUR")],
        "/t/{tenant}/invitations" => vec![("email", "guest@example.com"), ("role", "viewer")],
        "/t/{tenant}/members/{member}/role" => vec![("role", "auditor")],
        "/t/{tenant}/agents/new" => vec![("name", "another"), ("description", ""), ("ceiling", "read"), ("tools", "")],
        "/t/{tenant}/agents/{agent}/edit" => {
            vec![
                ("name", "renamed"),
                ("description", ""),
                ("ceiling", "read"),
                ("tools", ""),
                ("per_minute", "10"),
                ("burst", "5"),
            ]
        }
        "/t/{tenant}/sources/{source}/resilience" | "/t/{tenant}/tools/{tool}/resilience" => {
            vec![("breaker_share", "50"), ("breaker_s", "5"), ("retries", "1")]
        }
        "/t/{tenant}/agents/{agent}/context" | "/t/{tenant}/toolsets/{toolset}/context" => vec![("search_mode", "off")],
        "/t/{tenant}/agents/{agent}/keys" => vec![("name", "another"), ("scopes", "tools:read"), ("days", "30")],
        "/t/{tenant}/credentials/{credential}/rotate" => vec![("seen", "1"), ("secret", "other"), ("overlap", "1h")],
        "/t/{tenant}/credentials/{credential}/back" | "/t/{tenant}/credentials/{credential}/end" => vec![("seen", "1")],
        "/t/{tenant}/credentials/{credential}/label" => vec![("label", "another")],
        "/t/{tenant}/keys/{key}/roll" => vec![("overlap", "1h")],
        "/oauth/token" => vec![("grant_type", "refresh_token"), ("refresh_token", "tl_refresh_x"), ("client_id", "x")],
        "/oauth/revoke" | "/oauth/introspect" => vec![("token", "tl_refresh_x"), ("client_id", "x")],
        "/oauth/register" | "/oauth/authorize" => vec![("request", ""), ("proof", ""), ("decision", "allow")],
        "/t/{tenant}/clients" => {
            vec![("name", "another"), ("redirect_uris", "https://app.example/cb"), ("proof", "client_secret")]
        }
        "/t/{tenant}/trust/issuers" => vec![("issuer", "http://127.0.0.1:9/idp"), ("clients", "x"), ("agent_claim", "agent")],
        "/t/{tenant}/trust/certificates" => vec![("bundle", "")],
        "/t/{tenant}/trust/names" => vec![("certificate_name", "dns:another.example"), ("agent", "")],
        "/t/{tenant}/clients/policy" => vec![("admission", "approval"), ("hosts", "")],
        "/t/{tenant}/keys/{key}/revoke" => vec![("from", "keys")],
        "/t/{tenant}/tools/new" | "/t/{tenant}/tools/{tool}/edit" => vec![
            ("name", "another"),
            ("title", ""),
            ("description", "Another tool."),
            ("effect", "read"),
            ("kind", "builtin"),
            ("builtin", "echo"),
            ("version", "1"),
            ("per_minute", "10"),
            ("burst", "5"),
        ],
        "/t/{tenant}/tools/{tool}/publish" => vec![("version", "1")],
        "/t/{tenant}/tools/{tool}/roll-back" => vec![("version", "1"), ("seen", "1")],
        "/t/{tenant}/tools/{tool}/pins" => vec![("agent", "nobody"), ("version", "1")],
        "/t/{tenant}/tools/{tool}/probe" | "/t/{tenant}/sources/{source}/probe" => {
            vec![("every_s", "900"), ("within_ms", "1000"), ("hides", "yes")]
        }
        "/t/{tenant}/tools/{tool}/try" => vec![("mode", "json"), ("arguments", r#"{"text":"x"}"#)],
        "/t/{tenant}/sources/new" | "/t/{tenant}/sources/{source}/edit" => vec![
            ("name", "another"),
            ("url", "http://127.0.0.1:9/mcp"),
            ("timeout_ms", "1000"),
            ("new_definitions", "wait"),
            ("changes", "harmless_pass"),
            ("meanwhile", "serve_approved"),
            ("default_effect", "destructive"),
        ],
        "/t/{tenant}/sources/import" | "/t/{tenant}/apis/{api}/again" => {
            vec![("name", "another"), ("link", "http://127.0.0.1:9/x")]
        }
        "/t/{tenant}/apis/{api}" => vec![("then", "none")],
        // What waits is that of the seeds: `sha256('y')`; once it is dismissed, nothing does.
        "/t/{tenant}/apis/{api}/change/approve" | "/t/{tenant}/apis/{api}/change/dismiss" => {
            vec![("digest", "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa")]
        }
        "/t/{tenant}/apis/{api}/operations/{operation}" => vec![("title", "Otherwise"), ("effect", "read")],
        "/t/{tenant}/sources/new/api" => vec![("name", "another-api"), ("url", "http://127.0.0.1:9")],
        // While people's accounts are connected, a source stays where it is.
        "/t/{tenant}/sources/{source}/accounts" => vec![("credential", "tenant")],
        "/t/{tenant}/sources/{source}/definitions" => vec![("action", "all"), ("seen", "2099-01-01T00:00:00Z")],
        "/t/{tenant}/settings/budgets" | "/t/{tenant}/agents/{agent}/budgets" | "/t/{tenant}/tools/{tool}/budgets" => {
            vec![("day_amount", "5"), ("day_warn", "80"), ("day_blocks", "yes"), ("month_amount", "")]
        }
        "/t/{tenant}/alerts/targets" => vec![("roles", "owner"), ("webhook", "")],
        "/t/{tenant}/alerts/{alert}/silence" => vec![("for", "1d")],
        "/t/{tenant}/toolsets/new" | "/t/{tenant}/toolsets/{toolset}/edit" => vec![("name", "another"), ("title", "Another")],
        "/t/{tenant}/clients/{client}/approve"
        | "/t/{tenant}/clients/{client}/block"
        | "/t/{tenant}/clients/{client}/secret"
        | "/t/{tenant}/audit/verify"
        | "/t/{tenant}/grants/{grant}/revoke"
        | "/t/{tenant}/trust/issuers/{issuer}/remove"
        | "/t/{tenant}/trust/names/{certificate_name}/remove"
        | "/t/{tenant}/agents/{agent}/suspend"
        | "/t/{tenant}/agents/{agent}/resume"
        | "/t/{tenant}/tools/{tool}/disable"
        | "/t/{tenant}/tools/{tool}/enable"
        | "/t/{tenant}/tools/{tool}/probe/now"
        | "/t/{tenant}/tools/{tool}/pins/{agent}/remove"
        | "/t/{tenant}/sources/{source}/probe/now"
        | "/t/{tenant}/sources/{source}/changes/{change}/approve"
        | "/t/{tenant}/sources/{source}/changes/{change}/reject"
        | "/t/{tenant}/sources/{source}/refresh"
        | "/t/{tenant}/sources/{source}/disable"
        | "/t/{tenant}/sources/{source}/enable"
        | "/t/{tenant}/sources/{source}/remove"
        | "/t/{tenant}/apis/{api}/remove"
        | "/t/{tenant}/connections/{source}"
        | "/t/{tenant}/connections/{source}/disconnect"
        | "/t/{tenant}/credentials/{credential}/delete"
        | "/t/{tenant}/toolsets/{toolset}/delete"
        | "/t/{tenant}/alerts/test"
        | "/t/{tenant}/alerts/{alert}/acknowledge"
        | "/logout"
        | "/account/sessions/end-others"
        | "/account/sessions/{session}/end"
        | "/account/security/authenticator"
        | "/account/security/authenticator/remove"
        | "/account/security/recovery"
        | "/account/security/passkeys/{passkey}/remove"
        | "/email/{token}"
        | "/t/{tenant}/settings/sign-in"
        | "/t/{tenant}/settings/sso/remove"
        | "/confirm/{token}"
        | "/invitations/{token}"
        | "/t/{tenant}/leave"
        | "/t/{tenant}/members/{member}/remove"
        | "/t/{tenant}/invitations/{invitation}/withdraw" => vec![],
        _ => return None,
    })
}

/// Ids of a tenant, by the name they have in paths.
fn ids(of: &Seeded<'_>) -> BTreeMap<&'static str, Vec<String>> {
    let members = vec![of.developer.user.to_string(), of.viewer.0.user.to_string(), of.tenant.owner.user.to_string()];
    let mut ids = BTreeMap::from([
        ("agent", vec![of.agent_id().to_string()]),
        ("key", vec![of.key_id().to_string()]),
        ("tool", vec![of.tool.to_string()]),
        ("alert", vec![of.alert.to_string()]),
        ("call", vec![of.call.to_string()]),
        ("member", members),
        ("invitation", vec![of.invitation.to_string()]),
        ("source", vec![of.source.to_string()]),
        ("credential", vec![of.credential.to_string()]),
        ("api", vec![of.api.to_string()]),
        ("operation", vec![of.operation.to_string()]),
        ("definition", vec![of.definition.to_string()]),
        ("change", vec![of.change.to_string()]),
        ("toolset", vec![of.toolset.to_string()]),
        ("client", vec![of.client.to_string()]),
        ("grant", vec![of.grant.to_string()]),
        ("issuer", vec![of.issuer.to_string()]),
        ("certificate_name", vec![of.certificate_name.to_string()]),
        ("session", vec![of.session.to_string()]),
        ("passkey", vec![of.passkey.to_string()]),
        ("toolset_name", vec![seed::TOOLSET.to_owned()]),
        ("server", vec![format!("127.0.0.1%2F{}", of.tenant.slug)]),
        ("version", vec!["latest".to_owned()]),
    ]);
    // Where a secret is expected, every id of the tenant is as good as any.
    let all: Vec<_> = ids.values().flatten().cloned().collect();
    ids.insert("token", all);
    ids
}

/// The paths of a pattern with that tenant and each fitting id.
fn paths(pattern: &str, slug: &str, ids: &BTreeMap<&'static str, Vec<String>>) -> Vec<String> {
    let path = pattern.replace("{tenant}", slug).replace("{path:.+}", "css/app.css");
    let Some((start, end)) = path.find('{').zip(path.find('}')) else { return vec![path] };
    let name = &path[start + 1..end];
    let known = ids.get(name).unwrap_or_else(|| panic!("{pattern}: what is a {{{name}}}? Add its ids to the table"));
    known.iter().flat_map(|id| paths(&path.replace(&format!("{{{name}}}"), id), slug, ids)).collect()
}

fn has_id(route: &Route) -> bool {
    route.path.replace("{tenant}", "").replace("{path:.+}", "").contains('{')
}

/// Somebody who tries.
struct Intruder<'a> {
    name: &'static str,
    visitor: Visitor,
    bearer: Option<String>,
    /// Role in A, if they have one.
    role_in_a: Option<Role>,
    /// Their own tenant and role in it, where they try A's ids too.
    home: Option<(&'a str, Role)>,
    signed_in: bool,
}

impl Intruder<'_> {
    async fn try_route(&self, route: &Route, path: &str) -> Page {
        let form = fields(route.path);
        let csrf = if route.method == Method::POST && form.is_some() { self.visitor.csrf().await } else { String::new() };
        let method = reqwest::Method::from_bytes(route.method.as_str().as_bytes()).expect("a method");
        self.visitor
            .request(method, path, |mut request| {
                if let Some(bearer) = &self.bearer {
                    request = request.bearer_auth(bearer);
                }
                match (&form, route.method == Method::POST) {
                    (Some(form), true) => {
                        let form: Vec<_> = form.iter().copied().chain([("csrf", csrf.as_str())]).collect();
                        request.form(&form)
                    }
                    (None, true) => request.json(&serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })),
                    _ => request,
                }
            })
            .await
    }

    /// Statuses that this intruder may get on a route of A's, or with A's ids at home.
    fn expected(&self, route: &Route, at_home: bool) -> &'static [u16] {
        match route.access {
            Access::Agent => &[401],
            Access::Client => &[303, 400, 401, 403],
            Access::Public if has_id(route) && route.path.contains("{token}") => &[404],
            Access::Public => &[200, 204, 303, 304, 400, 404, 422],
            Access::Session | Access::Member(_) if !self.signed_in => &[303],
            Access::Session if has_id(route) => &[404],
            // What is typed may not fit, or there may be nothing to remove.
            Access::Session => &[200, 303, 404, 409, 422],
            Access::Member(permission) => match self.home.filter(|_| at_home).map(|(_, role)| role).or(self.role_in_a) {
                None => &[404],
                Some(role) if !role.may(permission) => &[403],
                Some(_) if at_home => &[404],
                Some(_) => &[200, 303],
            },
        }
    }
}

async fn intruders<'a>(app: &TestApp, a: &Seeded<'_>, b: &'a Seeded<'_>) -> Vec<Intruder<'a>> {
    let url = &app.url;
    let signed_in = async |name, email: &str, role_in_a, home| Intruder {
        name,
        visitor: Visitor::signed_in(url, email).await,
        bearer: None,
        role_in_a,
        home,
        signed_in: true,
    };
    let stranger = |name, visitor, bearer| Intruder { name, visitor, bearer, role_in_a: None, home: None, signed_in: false };
    let gone = "gone@left.example";
    let ex_member = a.tenant.member(gone, Role::Admin).await;
    let left = signed_in("A ex-member", gone, None, None).await;
    let mut sql = app.sql().await;
    sqlx::query("DELETE FROM app.memberships WHERE user_id = $1").bind(ex_member.user).execute(&mut sql).await.expect("removed");

    // Signed up, has the right password, has not opened the letter.
    let half = Visitor::new(url);
    let fields = [("organisation", "Half"), ("email", "half@example.com"), ("password", PASSWORD)];
    half.post("/signup", &fields).await.leads_to("/signup/sent");
    assert_eq!(half.log_in("half@example.com", PASSWORD).await.status, 422);

    let forged = Visitor::new(url);
    forged.set_cookie(SESSION, &"f".repeat(43));
    let slug = b.tenant.slug.as_str();
    vec![
        signed_in("B owner", &b.owner_email, None, Some((slug, Role::Owner))).await,
        signed_in("B viewer", &b.viewer.1, None, Some((slug, Role::Viewer))).await,
        stranger("B agent key", Visitor::new(url), Some(b.agent.key.clone())),
        signed_in("A viewer", &a.viewer.1, Some(Role::Viewer), None).await,
        left,
        stranger("anonymous", Visitor::new(url), None),
        stranger("half-authenticated", half, None),
        stranger("forged cookie", forged, None),
    ]
}

#[tokio::test]
async fn no_route_gives_away_or_changes_anything_of_another_tenant() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = (seed::everything(&app, "acme", &upstream).await, seed::everything(&app, "bravo", &upstream).await);
    let (intruders, ids) = (intruders(&app, &a, &b).await, ids(&a));
    let before = state_of(&app, &a).await;
    let routes = routes();
    let (mut requests, mut hits) = (0, Vec::new());
    for route in &routes {
        if route.method == Method::POST && route.access != Access::Agent {
            assert!(fields(route.path).is_some(), "POST {} is not covered: put its fields into the table", route.path);
        }
        // Leaving is what every member may do with their own membership.
        let ends = matches!(route.path, "/logout" | "/account/delete");
        let leaves = route.path == "/t/{tenant}/leave" || ends;
        for intruder in
            intruders.iter().filter(|intruder| !(leaves && intruder.signed_in && (intruder.role_in_a.is_some() || ends)))
        {
            let mut tries: Vec<_> = paths(route.path, &a.tenant.slug, &ids).into_iter().map(|path| (path, false)).collect();
            if let Some((slug, _)) = intruder.home.filter(|_| route.path.contains("{tenant}") && has_id(route)) {
                tries.extend(paths(route.path, slug, &ids).into_iter().map(|path| (path, true)));
            }
            for (path, at_home) in tries {
                let page = intruder.try_route(route, &path).await;
                requests += 1;
                let mut hit =
                    |what: &str| hits.push(format!("{} {} {path}: {} {what}", intruder.name, route.method, page.status));
                if !intruder.expected(route, at_home).contains(&page.status) {
                    hit(&format!("instead of {:?}", intruder.expected(route, at_home)));
                }
                let may_look = intruder.role_in_a.is_some();
                let shown = format!("{}{:?}", page.body, page.headers);
                if !may_look && shown.contains(&a.canary) {
                    hit("with A's canary");
                }
            }
        }
    }
    assert!(hits.is_empty(), "{hits:#?}");
    let after = state_of(&app, &a).await;
    assert_eq!(before, after, "something of A was changed");
    let tried: usize = ids.iter().filter(|(name, _)| **name != "token").map(|(_, ids)| ids.len()).sum();
    assert!(routes.len() >= 60 && tried >= 8 && requests >= 900, "{} routes, {tried} ids, {requests} requests", routes.len());
    say(&format!(
        "isolation: {} routes x {tried} ids x {} actors = {requests} requests, {} hits",
        routes.len(),
        intruders.len(),
        hits.len()
    ));
}

/// Everything of a tenant that its members may change.
async fn state_of(app: &TestApp, of: &Seeded<'_>) -> Vec<String> {
    let mut sql = app.sql().await;
    let mut state = Vec::new();
    for table in [
        "memberships",
        "invitations",
        "agents",
        "keys",
        "tools",
        "tool_versions",
        "tool_publications",
        "agent_pins",
        "probes",
        "alerts",
        "alert_targets",
        "limits",
        "resilience",
        "credentials",
        "sources",
        "apis",
        "api_operations",
        "api_changes",
        "definitions",
        "definition_changes",
        "clients",
        "client_policies",
        "grants",
        "consents",
        "toolsets",
        "toolset_tools",
        "sso_connections",
        "connection_providers",
        "connections",
    ] {
        let rows = format!("SELECT (to_jsonb(t) - 'last_used_on')::text FROM app.{table} t WHERE tenant_id = $1 ORDER BY 1");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).bind(of.tenant.id).fetch_all(&mut sql).await.expect("rows");
        state.extend(rows);
    }
    let name: String = sqlx::query_scalar("SELECT name FROM app.tenants WHERE id = $1")
        .bind(of.tenant.id)
        .fetch_one(&mut sql)
        .await
        .expect("a name");
    state.push(name);
    state
}

/// The other half of the proof: with the same ids and fields, who may does get through.
#[tokio::test]
async fn the_same_requests_reach_their_goal_for_the_owner() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let a = seed::everything(&app, "acme", &upstream).await;
    let owner = Intruder {
        name: "A owner",
        visitor: Visitor::signed_in(&app.url, &a.owner_email).await,
        bearer: None,
        role_in_a: Some(Role::Owner),
        home: None,
        signed_in: true,
    };
    let ids: BTreeMap<_, _> = ids(&a).into_iter().map(|(name, ids)| (name, ids[..1].to_vec())).collect();
    for route in routes().iter().filter(|route| matches!(route.access, Access::Member(_))) {
        for path in paths(route.path, &a.tenant.slug, &ids) {
            let page = owner.try_route(route, &path).await;
            // 409: the last owner cannot leave. 422: a provider is asked who it is first, and there is none at that address.
            // Of a name in certificates no agent is known to a form that all tenants share.
            // A description is read first, and there is none either.
            let asks_first = ["/settings/sso", "/trust/issuers", "/trust/names", "/sources/import", "/again"]
                .iter()
                .any(|path| route.path.ends_with(path));
            let fits = matches!(page.status, 200 | 303 | 409) || (asks_first && page.status == 422);
            assert!(fits, "{} {path}: {} {}", route.method, page.status, page.body);
            let is_page = route.method == Method::GET && page.header("content-type").starts_with("text/html");
            assert!(!is_page || page.body.contains(&a.canary), "GET {path} shows nothing of A");
        }
    }
}

#[tokio::test]
async fn ids_of_another_tenant_in_a_query_show_nothing_of_it() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = (seed::everything(&app, "acme", &upstream).await, seed::everything(&app, "bravo", &upstream).await);
    let owner = Visitor::signed_in(&app.url, &b.owner_email).await;
    let (agent, tool, call) = (a.agent_id(), a.tool, a.call);
    for query in [
        format!("agent={agent}"),
        format!("tool={tool}"),
        format!("before={call}"),
        format!("agent={agent}&tool={tool}&before={call}"),
    ] {
        for page in
            ["", "/logs", "/agents", "/keys", "/tools", "/sources", "/toolsets", "/members", "/connect", "/audit", "/limits"]
        {
            let page = owner.get(&format!("/t/bravo{page}?{query}&q={}", a.canary)).await;
            // What was typed into a field stands in it again; nothing else may.
            let shown = page.body.replace(&format!("value=\"{}\"", a.canary), "").replace(&format!("q={}", a.canary), "");
            assert!(
                page.status < 500 && !shown.replace(&format!("“{}”", a.canary), "").contains(&format!("{}-", a.canary)),
                "{query}"
            );
            assert!(!shown.contains(&format!("@{}", a.canary)) && !shown.contains(&format!("{} ", a.canary)), "{query}: {shown}");
        }
    }
}

#[tokio::test]
async fn what_is_anothers_looks_like_what_is_nobodys() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = (seed::everything(&app, "acme", &upstream).await, seed::everything(&app, "bravo", &upstream).await);
    let owner = Visitor::signed_in(&app.url, &b.owner_email).await;
    let without_ids = |page: &Page, id: &str| {
        let request_id = page.header("x-request-id").to_owned();
        let nonce = page.between("nonce=\"", "\"").unwrap_or("-").to_owned();
        page.body.replace(&request_id, "").replace(&nonce, "").replace(id, "")
    };
    for route in routes().iter().filter(|route| matches!(route.access, Access::Member(Permission::View))) {
        let foreign = route.path.replace("{tenant}", &a.tenant.slug);
        let missing = route.path.replace("{tenant}", "nobody-at-all");
        if foreign.contains('{') || route.method != Method::GET {
            continue;
        }
        let (foreign, missing) = (owner.get(&foreign).await, owner.get(&missing).await);
        assert_eq!((foreign.status, missing.status), (404, 404), "{}", route.path);
        assert_eq!(without_ids(&foreign, ""), without_ids(&missing, ""), "{}", route.path);
    }
}

#[tokio::test]
async fn every_name_of_one_tenant_is_free_in_another() {
    let app = TestApp::start().await;
    let (a, b) = (app.tenant("acme").await, app.tenant("bravo").await);
    for tenant in [&a, &b] {
        tenant.tool("same", crate::support::tools::echo()).await;
        let agent = tenant.agent("same", "tools:read").await;
        assert_eq!(agent.list(crate::support::Era::Stateless).await.tool_names(), ["same"]);
        let owner = Visitor::signed_in(&app.url, &format!("owner@{}.example", tenant.slug)).await;
        let (path, fields) = (format!("/t/{}/invitations", tenant.slug), &[("email", "both@example.com"), ("role", "viewer")]);
        owner.post(&path, fields).await.leads_to(&format!("/t/{}/members", tenant.slug));
    }
    let letters = crate::support::eventually("two letters", crate::support::SOON, async || {
        let letters = app.letters("both@example.com").await;
        (letters.len() == 2).then_some(letters)
    })
    .await;
    assert_ne!(link(&letters[0], &app.url), link(&letters[1], &app.url));
}
