//! What the server says of itself and of its endpoints (O-01, O-02).

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    report::{Report, holds, same},
    world::World,
};

/// Everywhere clients look.
const PLACES: [&str; 5] = [
    "/.well-known/oauth-authorization-server/oauth",
    "/.well-known/openid-configuration/oauth",
    "/oauth/.well-known/openid-configuration",
    "/oauth/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server",
];

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    server(report, world).await;
    resource(report, world).await;
}

async fn server(report: &mut Report, world: &World<'_>) {
    let first = world.get(PLACES[0]).await;
    for place in PLACES {
        report
            .case("O-01", format!("the same document at {place}"), async {
                let document = world.get(place).await;
                same("status", document.status, 200)?;
                let kind = document.header("content-type");
                holds("JSON", kind.starts_with("application/json"), kind)?;
                same("for scripts of any origin", document.header("access-control-allow-origin"), "*")?;
                same("kept for", document.header("cache-control"), "max-age=300")?;
                same("document", &document.text, &first.text)
            })
            .await;
    }
    let (document, issuer) = (&first.json, world.issuer());
    for (name, value) in [
        ("issuer", json!(issuer)),
        ("authorization_endpoint", json!(format!("{issuer}/authorize"))),
        ("token_endpoint", json!(format!("{issuer}/token"))),
        ("registration_endpoint", json!(format!("{issuer}/register"))),
        ("revocation_endpoint", json!(format!("{issuer}/revoke"))),
        ("introspection_endpoint", json!(format!("{issuer}/introspect"))),
        ("jwks_uri", json!(format!("{issuer}/jwks"))),
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(["query"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("client_id_metadata_document_supported", json!(true)),
    ] {
        report.case("O-01", name, async { same(name, &document[name], &value) }).await;
    }
    report
        .case("O-01", "no signature is optional", async {
            let texts = document.to_string();
            let algorithms = ["token_endpoint_auth_signing_alg_values_supported", "dpop_signing_alg_values_supported"];
            for name in algorithms {
                let listed: BTreeSet<_> =
                    document[name].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
                let known = BTreeSet::from(["ES256", "EdDSA", "RS256", "PS256"]);
                holds(name, !listed.is_empty() && listed.is_subset(&known), &listed)?;
            }
            holds("no HS256 anywhere", !texts.contains("HS256") && !texts.contains("\"plain\""), texts)
        })
        .await;
    report
        .case("O-01", "grants are the ones there are", async {
            let listed: BTreeSet<_> =
                document["grant_types_supported"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
            let there_are = BTreeSet::from([
                "authorization_code",
                "refresh_token",
                "client_credentials",
                "urn:ietf:params:oauth:grant-type:token-exchange",
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
            ]);
            same("grant types", listed, there_are)
        })
        .await;
    report
        .case("O-01", "public clients are welcome, and said to be", async {
            let methods = document["token_endpoint_auth_methods_supported"].as_array().cloned().unwrap_or_default();
            holds("none is listed", methods.contains(&json!("none")), methods)
        })
        .await;
    report
        .case("O-01", "there is none for an issuer that is not there", async {
            for path in ["/.well-known/oauth-authorization-server/other", "/.well-known/oauth-authorization-server/t/acme/mcp"] {
                same(path, world.get(path).await.status, 404)?;
            }
            Ok(())
        })
        .await;
}

async fn resource(report: &mut Report, world: &World<'_>) {
    let path = |rest: &str| format!("/.well-known/oauth-protected-resource{rest}");
    for (what, rest, resource) in [
        ("the tenant's endpoint", "/t/acme/mcp", world.acme.mcp_url()),
        ("a toolset's endpoint", "/t/acme/mcp/some", world.toolset.clone()),
        ("another tenant's endpoint", "/t/bravo/mcp", world.bravo.mcp_url()),
    ] {
        report
            .case("O-02", format!("{what} is named exactly"), async {
                let document = world.get(&path(rest)).await;
                let seen = (document.status, &document.json["resource"]);
                same("resource", seen, (200, &json!(resource)))?;
                same("for scripts of any origin", document.header("access-control-allow-origin"), "*")
            })
            .await;
    }
    let document = world.get(&path("/t/acme/mcp")).await.json;
    for (name, value) in [
        ("authorization_servers", json!([world.issuer()])),
        ("bearer_methods_supported", json!(["header"])),
        ("scopes_supported", json!(["tools:read"])),
    ] {
        report.case("O-02", name, async { same(name, &document[name], &value) }).await;
    }
    report
        .case("O-02", "a tenant that is not there is like any page that is not", async {
            let (unknown, other) = (world.get(&path("/t/nobody/mcp")).await, world.get(&path("/t/nobody2/mcp")).await);
            same("status", (unknown.status, other.status), (404, 404))?;
            same("body", unknown.text, other.text)
        })
        .await;
    report
        .case("O-02", "a toolset that is not there is not told from one that is", async {
            let (there, missing) = (world.get(&path("/t/acme/mcp/some")).await, world.get(&path("/t/acme/mcp/none")).await);
            same("status", missing.status, 200)?;
            same("body", missing.text.replace("/none", "/some"), there.text)
        })
        .await;
    for rest in ["", "/", "/t/acme", "/t/acme/mcp/", "/mcp", "/t/acme/mcp/a/b"] {
        report
            .case("O-02", format!("nothing is claimed at {rest:?}"), async {
                same("status", world.get(&path(rest)).await.status, 404)
            })
            .await;
    }
}
