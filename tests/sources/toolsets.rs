//! Toolsets: made, shown, deleted.

use crate::support::{TestApp, Visitor, tools};

#[tokio::test]
async fn a_toolset_is_a_choice_of_tools_with_a_url() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for name in ["alpha", "beta", "gamma"] {
        acme.tool(name, tools::echo()).await;
    }
    acme.agent("reader", "tools:read").await;
    acme.agent("narrow", "tool:alpha").await;
    acme.agent("named", "toolset:billing").await;
    acme.agent("stranger", "tool:gamma").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    assert!(owner.get("/t/acme/toolsets").await.ok().body.contains("No toolsets yet"));
    for (field, value) in [("name", "Bad Name"), ("name", ".."), ("tool", "nothing")] {
        let mut fields = vec![("name", "billing"), ("title", ""), ("description", ""), ("tool", "alpha")];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        assert_eq!(owner.post("/t/acme/toolsets/new", &fields).await.status, 422, "{field} {value}");
    }
    let fields =
        [("name", "billing"), ("title", "Billing"), ("description", "For invoices."), ("tool", "alpha"), ("tool", "beta")];
    let made = owner.post("/t/acme/toolsets/new", &fields).await;
    assert_eq!(made.status, 303, "{}", made.body);
    assert_eq!(owner.post("/t/acme/toolsets/new", &fields).await.status, 422, "the name is taken");
    let url = made.location().to_owned();
    let page = owner.get(&url).await.ok();
    for text in ["/t/acme/mcp/billing", "alpha", "beta", "2 of 2", "1 of 2", "toolset:billing", "For invoices."] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert!(!page.body.contains("gamma") && !page.body.contains("stranger"));
    let snapshot_has = async || {
        app.act(|platform| async move {
            let snapshot = platform.snapshots.get(&platform, "acme").await.expect("a snapshot").expect("the tenant");
            snapshot.toolset("billing").map(|toolset| toolset.tools.len())
        })
        .await
    };
    assert_eq!(snapshot_has().await, Some(2));
    owner.post(&format!("{url}/edit"), &[("title", ""), ("description", ""), ("tool", "gamma")]).await.leads_to(&url);
    assert_eq!(snapshot_has().await, Some(1));
    owner.post(&format!("{url}/delete"), &[("confirm", "billing")]).await.leads_to("/t/acme/toolsets");
    assert_eq!((snapshot_has().await, owner.get(&url).await.status), (None, 404));
}
