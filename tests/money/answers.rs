//! What callers, owners and members hear of budgets.

use serde_json::json;
use trunkline_platform::{
    catalog::{NewVersion, Price},
    quota::budgets::{BudgetScope, Period, Terms},
};

use super::{blocks_at, plenty, set, sum};
use crate::support::{Answer, Era, OwnRedis, SOON, TestApp, Visitor, eventually, tools};

fn scope(answer: &Answer) -> (&str, &str) {
    let data = &answer.json["error"]["data"];
    (data["scope"].as_str().unwrap_or_default(), data["of"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_call_that_nothing_is_left_for_is_refused_before_it_runs_and_owners_are_told_once() {
    let redis = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("paid", NewVersion { price: Price::per_call(250), ..tools::echo() }).await;
    acme.tool("free", tools::echo()).await;
    let (agent, other) = (acme.agent("agent", "tools:read").await, acme.agent("other", "tools:read").await);
    set(&app, &acme, BudgetScope::Agent(agent.id), Period::Month, blocks_at(1_000)).await;
    let text = json!({ "text": "x" });
    for number in 0..4 {
        let answer = agent.call(Era::Stateless, "paid", text.clone()).await;
        assert!(answer.is_ok(), "{number}: {}", answer.text);
    }
    for era in Era::ALL {
        let refused = agent.call(era, "paid", text.clone()).await;
        assert_eq!((refused.status, refused.code(), scope(&refused)), (429, 4290, ("budget", "agent")), "{}", refused.text);
        let data = &refused.json["error"]["data"];
        assert_eq!((&data["limit"], &data["remaining"], &data["unit"]), (&json!(1_000), &json!(0), &json!("micro")));
        let left_s = data["retry_after_ms"].as_u64().expect("a time").div_ceil(1000);
        assert!(left_s <= 31 * 86_400 && refused.header("retry-after") == left_s.to_string(), "{}", refused.text);
        assert!(refused.text.contains("the budget of this month (UTC) is spent"), "{}", refused.text);
    }
    // What is free, and whom the budget is not about, goes on.
    assert!(agent.call(Era::Stateless, "free", text.clone()).await.is_ok());
    assert!(other.call(Era::Stateless, "paid", text.clone()).await.is_ok());

    let mut sql = app.sql().await;
    eventually("both are noted", SOON, async || {
        let noted =
            sum(&mut sql, "SELECT count(*) FROM app.audit_entries WHERE action IN ('budget.warned', 'budget.spent')").await;
        (noted == 2).then_some(())
    })
    .await;
    let letters = eventually("both letters are sent", SOON, async || {
        let letters = app.letters("owner@acme.example").await;
        (letters.len() == 2).then_some(letters)
    })
    .await;
    let words = letters.iter().map(|letter| letter.text.as_str()).collect::<String>();
    assert!(words.contains("$0.001, has reached 50 %") && words.contains("$0.001, is spent"), "{words}");
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get(&format!("/t/acme/agents/{}", agent.id)).await.ok();
    assert!(page.body.contains(r#"<span class="badge badge-bad">spent</span>"#), "{}", page.body);
    let page = eventually("the record has all of it", SOON, async || {
        let page = owner.get(&format!("/t/acme/agents/{}/budgets", agent.id)).await.ok();
        page.body.contains("100 % spent").then_some(page)
    });
    assert!(page.await.body.contains("$0.001"));
    assert_eq!(app.letters("owner@acme.example").await.len(), 2, "once in a period");
    // More of it, and the next call runs; owners are told of what it is now.
    set(&app, &acme, BudgetScope::Agent(agent.id), Period::Month, blocks_at(1_300)).await;
    assert!(agent.call(Era::Stateless, "paid", text.clone()).await.is_ok());
    // One that only warns refuses nobody.
    let warns = Terms { blocks: false, ..blocks_at(100) };
    set(&app, &acme, BudgetScope::Agent(agent.id), Period::Month, warns).await;
    assert!(agent.call(Era::Stateless, "paid", text.clone()).await.is_ok());
    eventually("owners are told of the other two", SOON, async || {
        (app.letters("owner@acme.example").await.len() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_not_sent_gives_its_reservation_back() {
    let redis = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    let tool = NewVersion { price: Price::per_call(400), ..tools::get("http://127.0.0.1:9/") };
    let tool = acme.tool("unreached", tool).await;
    let agent = acme.agent("agent", "tools:read").await;
    set(&app, &acme, BudgetScope::Tool(tool.id), Period::Day, blocks_at(1_000)).await;
    for _ in 0..6 {
        let answer = eventually("there is room again", SOON, async || {
            let answer = agent.call(Era::Stateless, "unreached", json!({})).await;
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(answer.await.error_class(), "upstream_unreachable");
    }
    eventually("nothing is left of it", SOON, async || (super::counter(&redis).await == (Some(0), vec![])).then_some(())).await;
}

#[tokio::test]
async fn budgets_are_set_on_three_pages_and_what_does_not_fit_is_named() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("paid", NewVersion { price: Price::per_call(1), ..tools::echo() }).await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let agent_page = format!("/t/acme/agents/{}", agent.id);
    let tool_page = format!("/t/acme/tools/{}", tool.id);
    for page in ["/t/acme/settings", agent_page.as_str(), tool_page.as_str()] {
        let form = format!("{page}/budgets");
        assert!(owner.get(page).await.ok().body.contains("is not bounded here"), "{page}");
        for (field, value) in [
            ("day_amount", "ten"),
            ("day_amount", "0"),
            ("day_amount", "-1"),
            ("day_amount", "0.0000001"),
            ("month_amount", "1000000001"),
        ] {
            let refused = owner.post(&form, &[(field, value)]).await;
            assert_eq!(refused.status, 422, "{page} {field}={value}");
            assert!(refused.body.contains(&format!("id=\"{field}-error\"")), "{value}: {}", refused.body);
        }
        for share in ["0", "100", "x", "50.5"] {
            let refused = owner.post(&form, &[("month_amount", "1"), ("month_warn", share)]).await;
            assert!(refused.status == 422 && refused.body.contains("id=\"month_warn-error\""), "{share}: {}", refused.body);
        }
        assert!(owner.get(page).await.ok().body.contains("is not bounded here"), "{page}: nothing has changed");
        let fields = [("day_amount", "0.000001"), ("month_amount", "12.5"), ("month_warn", "80"), ("month_blocks", "yes")];
        owner.post(&form, &fields).await.leads_to(page);
        let shown = owner.get(page).await.ok().body;
        assert!(shown.contains("$0.000001") && shown.contains("$12.50") && shown.contains("refuses calls when spent"), "{shown}");
        let again = owner.get(&form).await.ok().body;
        assert!(again.contains(r#"value="12.5""#) && again.contains(r#"value="80""#), "{again}");
        owner.post(&form, &[("day_amount", ""), ("month_amount", "")]).await.leads_to(page);
        assert!(owner.get(page).await.ok().body.contains("is not bounded here"), "{page}");
    }
    let mut sql = app.sql().await;
    assert_eq!(sum(&mut sql, "SELECT count(*) FROM app.audit_entries WHERE action = 'budget.set'").await, 6);
    assert_eq!(sum(&mut sql, "SELECT count(*) FROM app.audit_entries WHERE action = 'budget.removed'").await, 6);
    for (query, what) in [
        (
            "SELECT count(*) FROM app.audit_entries WHERE action = 'budget.set' AND details->'after' =
               '{\"month_amount_micro\": 12500000, \"month_warn_percent\": 80, \"month_blocks\": true}'
             AND details->'before'->'month_amount_micro' = 'null'",
            "set",
        ),
        (
            "SELECT count(*) FROM app.audit_entries WHERE action = 'budget.removed' AND details->'before' =
               '{\"month_amount_micro\": 12500000, \"month_warn_percent\": 80, \"month_blocks\": true}'
             AND details->'after'->'month_amount_micro' = 'null'",
            "removed",
        ),
    ] {
        assert_eq!(sum(&mut sql, query).await, 3, "what was {what}, before and after");
    }
}
