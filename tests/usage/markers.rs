//! What was changed in the time of a chart, in words and with what leads there.

use trunkline_platform::catalog::{self, NewVersion, Price};

use super::log::recorded;
use crate::support::{TestApp, tools};

#[tokio::test]
async fn publishes_and_limits_are_marked_where_they_belong() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let echo = acme.tool("echo", tools::echo()).await;
    let other = acme.tool("other", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    let quiet = acme.agent("quiet", "tools:read").await;
    for _ in 0..2 {
        assert!(agent.echo("x").await.is_ok());
        assert!(quiet.echo("x").await.is_ok());
    }
    recorded(&app, 4).await;
    let (owner, id, dearer) = (acme.owner.clone(), echo.id, NewVersion { price: Price::per_call(1), ..tools::echo() });
    app.act(|platform| async move { catalog::publish(&platform, &owner, id, 1, dearer).await.expect("a version") }).await;
    let browser = acme.owner_browser().await;
    let limits = [("per_minute", "100"), ("burst", "50")];
    browser.post("/t/acme/limits", &limits).await.leads_to("/t/acme/limits");
    let agent_limits =
        [("name", "billing"), ("description", ""), ("ceiling", "read"), ("tools", ""), ("per_minute", "10"), ("burst", "5")];
    let edited = browser.post(&format!("/t/acme/agents/{}/edit", agent.id), &agent_limits).await;
    assert_eq!(edited.status, 303, "{}", edited.body);
    // A new name is no new limit.
    let renamed = [("name", "silent"), ("description", ""), ("ceiling", "read"), ("tools", "")];
    assert_eq!(browser.post(&format!("/t/acme/agents/{}/edit", quiet.id), &renamed).await.status, 303);

    let marks = async |path: String| {
        let page = browser.get(&path).await.ok().body;
        let list = page.split_once("data-marks>").map(|(_, rest)| rest.split("</details>").next().unwrap_or_default().to_owned());
        list.unwrap_or_default()
    };
    let (published, of_all, of_agent) = ("echo v2 published", "The organisation: limits changed", "billing: limits changed");
    for (path, there, absent) in [
        ("/t/acme/usage?range=1h".to_owned(), vec![published, of_all, of_agent, "other v1 published"], vec!["silent"]),
        (
            format!("/t/acme/tools/{}/usage?range=1h", echo.id),
            vec![published, of_all, "echo v1 published"],
            vec!["other", of_agent],
        ),
        (format!("/t/acme/tools/{}/usage?range=1h", other.id), vec![], vec![published]),
        (format!("/t/acme/agents/{}/usage?range=1h", agent.id), vec![of_all, of_agent], vec![published]),
        (format!("/t/acme/agents/{}/usage?range=1h", quiet.id), vec![of_all], vec![of_agent, "silent"]),
    ] {
        let list = marks(path.clone()).await;
        for text in there {
            assert!(list.contains(text), "{path}: {text}: {list}");
        }
        for text in absent {
            assert!(!list.contains(text), "{path}: {text}: {list}");
        }
    }
    let list = marks("/t/acme/usage?range=1h".to_owned()).await;
    let compare = format!("/t/acme/tools/{}/compare?from=1", echo.id);
    assert!(list.contains(&compare) && list.contains("/t/acme/audit?subject="), "{list}");
    let urls = list.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for url in urls.map(|url| url.replace("&#38;", "&").replace("&amp;", "&")) {
        assert_eq!(browser.get(&url).await.status, 200, "{url}");
    }
}
