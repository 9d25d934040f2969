//! What a call costs: by the call, by what it carries, by how long it runs, by what its tool says.

use serde_json::json;
use trunkline_platform::catalog::{NewVersion, Price};

use crate::support::{Agent, Era, SOON, Tenant, TestApp, Upstream, Visitor, eventually, tools};

/// 100 for the call, 3 for each byte, 1 for each microsecond, up to 500 as reported.
const PRICE: Price = Price { call_micro: 100, kib_micro: 3 * 1024, second_micro: 1_000_000, reported_micro: 500 };

#[derive(Debug, sqlx::FromRow)]
struct Costs {
    cost_micro: i64,
    bytes_in: i64,
    bytes_out: i64,
    upstream_us: i64,
}

impl Costs {
    /// What it cost beside what its size and its time cost.
    fn beside_use(&self) -> i64 {
        assert!(self.bytes_in > 0 && self.bytes_out > 0, "{self:?}");
        self.cost_micro - 3 * (self.bytes_in + self.bytes_out) - self.upstream_us
    }
}

/// Calls a tool of that price whose server is at that address, and gives what was recorded.
async fn cost(app: &TestApp, acme: &Tenant<'_>, agent: &Agent, name: &str, url: &str) -> Costs {
    acme.tool(name, NewVersion { price: PRICE, ..tools::get(url) }).await;
    agent.call(Era::Stateless, name, json!({})).await;
    let mut sql = app.sql().await;
    eventually("the call is there", SOON, async || {
        sqlx::query_as("SELECT cost_micro, bytes_in, bytes_out, upstream_us FROM app.calls WHERE tool_name = $1")
            .bind(name)
            .fetch_optional(&mut sql)
            .await
            .expect("a query")
    })
    .await
}

#[tokio::test]
async fn a_call_costs_what_it_used_and_what_its_tool_reports_up_to_what_it_may() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let reports = [("0", 0), ("300", 300), ("500", 500), ("501", 500), ("-7", 0), ("1.5", 0), ("much", 0)];
    for (number, (reported, counted)) in reports.into_iter().enumerate() {
        let url = upstream.url(&format!("/cost/{reported}"));
        let costs = cost(&app, &acme, &agent, &format!("cost{number}"), &url).await;
        assert_eq!(costs.beside_use(), 100 + counted, "{reported}: {costs:?}");
    }
    // It was asked, so it is paid; what was never reached is not.
    let failed = cost(&app, &acme, &agent, "fails", &upstream.url("/status/500")).await;
    assert_eq!(failed.beside_use(), 100);
    let unreached = cost(&app, &acme, &agent, "unreached", "http://127.0.0.1:9/").await;
    assert_eq!(unreached.cost_micro, 0);
}

#[tokio::test]
async fn parts_of_a_price_are_entered_shown_and_refused_by_name() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", NewVersion { price: PRICE, ..tools::echo() }).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get(&format!("/t/acme/tools/{}", tool.id)).await.ok();
    for part in ["$0.0001", "$0.003072 per KiB", "$1.00 per second", "up to $0.0005 as the tool reports"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let edit = format!("/t/acme/tools/{}/edit", tool.id);
    let form = owner.get(&edit).await.ok();
    for field in [r#"name="price_kib" type="text" value="0.003072""#, r#"name="price_reported" type="text" value="0.0005""#] {
        assert!(form.body.contains(field), "{field}");
    }
    let common = [("version", "1"), ("description", "Echoes."), ("effect", "read"), ("kind", "builtin"), ("builtin", "echo")];
    for field in ["price", "price_kib", "price_second", "price_reported"] {
        let fields = [&common[..], &[(field, "0.0000001")]].concat();
        let refused = owner.post(&edit, &fields).await;
        assert_eq!(refused.status, 422, "{field}");
        assert!(
            refused.body.contains("with at most 6 decimals") && refused.body.contains(&format!("id=\"{field}-error\"")),
            "{}",
            refused.body
        );
    }
    let fields = [&common[..], &[("price_second", "0.5")]].concat();
    owner.post(&edit, &fields).await.leads_to(&format!("/t/acme/tools/{}", tool.id));
    let page = owner.get(&format!("/t/acme/tools/{}", tool.id)).await.ok();
    assert!(page.body.contains("$0.50 per second") && page.body.contains("v2"), "{}", page.body);
}
