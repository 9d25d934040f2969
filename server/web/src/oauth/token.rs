//! The token endpoint, and what is said of tokens afterwards: revocation (RFC 7009) and introspection (RFC 7662).

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, CONTENT_TYPE},
    web::{Data, Payload},
};
use serde_json::json as body;
use trunkline_platform::{
    handshake::{Hop, Told},
    oauth::{self, Client, Failure, Presented, Proven, Redemption},
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};
use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{ErrorCode, OAuthError, invalid_request},
    parameters::{MAX_LENGTH, Parameters},
    token::{ACCESS_TOKEN_TYPE, Exchange, TokenRequest, answer},
};

use super::answer::{failed, json};
use crate::{
    WebState, doctor,
    extract::{ClientIp, client_certificate},
};

const WITHIN: Duration = Duration::from_secs(10);

/// Exchanges a code or a refresh token.
pub(super) async fn token(state: Data<WebState>, ip: ClientIp, request: HttpRequest, payload: Payload) -> HttpResponse {
    let form = match read(&request, payload).await {
        Ok(form) => form,
        Err(error) => return slowed(&state, ip, error.into()).await,
    };
    let hop = if form.get("grant_type") == Some("refresh_token") { Hop::Refresh } else { Hop::Token };
    match exchange(&state, &request, &form, hop).await {
        Ok(response) => response,
        Err(failure) => {
            if let Some(told) = doctor::refused(hop, &failure) {
                doctor::tell_of(&state, &request, None, told, form.get("client_id"), None);
            }
            slowed(&state, ip, failure).await
        }
    }
}

async fn exchange(state: &WebState, request: &HttpRequest, form: &Parameters, hop: Hop) -> Result<HttpResponse, Failure> {
    let client = proven(state, request, client(state, request, form).await?).await?;
    let TokenRequest { exchange, resource } = TokenRequest::parse(form)?;
    let platform = &state.platform;
    let is_exchanged = matches!(exchange, Exchange::Token { .. });
    let tokens = match exchange {
        Exchange::AuthorizationCode { code, redirect_uri, verifier } => {
            let shown = Redemption {
                code: &code,
                redirect_uri: redirect_uri.as_deref(),
                verifier: &verifier,
                resource: resource.as_deref(),
            };
            oauth::redeem(platform, &client, shown).await?
        }
        Exchange::RefreshToken { token, scopes } => {
            oauth::refresh(platform, &client, &token, scopes, resource.as_deref()).await?
        }
        Exchange::ClientCredentials { scopes } => {
            oauth::client_credentials(platform, &client, scopes, resource.as_deref()).await?
        }
        Exchange::Token { subject, scopes } => oauth::exchange(platform, &client, &subject, scopes, resource.as_deref()).await?,
        Exchange::Assertion { assertion, scopes } => {
            oauth::redeem_assertion(platform, &client, &assertion, scopes, resource.as_deref()).await?
        }
    };
    doctor::tell_of(
        state,
        request,
        Some(tokens.tenant),
        Told::well(hop),
        Some(&client.client_id),
        Some(tokens.grant.to_string()),
    );
    let refresh_token = tokens.refresh_token.as_ref().map(Plaintext::reveal);
    let token_type = if tokens.is_proven { "DPoP" } else { "Bearer" };
    let mut answer = answer(tokens.access_token.reveal(), token_type, tokens.expires_in, &tokens.scopes, refresh_token);
    if is_exchanged {
        answer["issued_token_type"] = body!(ACCESS_TOKEN_TYPE);
    }
    Ok(json(200, &answer))
}

/// The client with the key that it proves to have, if it sent a proof (RFC 9449 §5).
async fn proven(state: &WebState, request: &HttpRequest, client: Client) -> Result<Client, Failure> {
    let mut proofs = request.headers().get_all("dpop");
    let Some(proof) = proofs.next() else { return Ok(client) };
    if proofs.next().is_some() {
        return Err(Failure::refuse(ErrorCode::InvalidDpopProof, "there are several DPoP headers"));
    }
    let url = format!("{}/token", oauth::issuer(&state.platform));
    let proof = Proven { proof: proof.to_str().unwrap_or_default(), method: request.method().as_str(), url: &url };
    client.proven(&state.platform, proof).await
}

/// Whoever only fails is slowed down.
async fn slowed(state: &WebState, ip: ClientIp, failure: Failure) -> HttpResponse {
    if let Failure::Refused(_) = &failure
        && let Err(exhausted) = attempts::check(&state.platform, Attempt::TokenFailureFromIp, &ip.0.to_string()).await
    {
        return failed(&exhausted.into());
    }
    failed(&failure)
}

/// Gives a token back.
pub(super) async fn revoke(state: Data<WebState>, ip: ClientIp, request: HttpRequest, payload: Payload) -> HttpResponse {
    let revoked = async {
        let form = read(&request, payload).await?;
        let client = client(&state, &request, &form).await?;
        Ok::<_, Failure>(oauth::revoke_token(&state.platform, &client, form.require("token")?).await?)
    };
    match revoked.await {
        // Also for a token that is not known: there is nothing the client could do about it.
        Ok(()) => json(200, &body!({})),
        Err(failure) => slowed(&state, ip, failure).await,
    }
}

/// Says what a token is worth.
pub(super) async fn introspect(state: Data<WebState>, ip: ClientIp, request: HttpRequest, payload: Payload) -> HttpResponse {
    let introspected = async {
        let form = read(&request, payload).await?;
        let client = client(&state, &request, &form).await?;
        if client.authentication == Authentication::None {
            return Err(Failure::refuse(ErrorCode::InvalidClient, "only clients that prove who they are may ask"));
        }
        let found = oauth::introspect(&state.platform, &client, form.require("token")?).await?;
        let Some(found) = found else { return Ok(body!({ "active": false })) };
        let mut answer = body!({
            "active": true,
            "scope": found.scopes.to_string(),
            "client_id": client.client_id,
            "sub": found.agent,
            "aud": found.audience,
            "iss": found.issuer,
            "exp": found.expires_at,
        });
        if let Some(issued_at) = found.issued_at {
            answer["iat"] = body!(issued_at);
        }
        if found.is_access {
            let is_proven = found.binding.as_ref().is_some_and(|binding| binding.get("jkt").is_some());
            answer["token_type"] = body!(if is_proven { "DPoP" } else { "Bearer" });
        }
        for (name, value) in [("cnf", found.binding), ("act", found.acts)] {
            if let Some(value) = value {
                answer[name] = value;
            }
        }
        Ok(answer)
    };
    match introspected.await {
        Ok(answer) => json(200, &answer),
        Err(failure) => slowed(&state, ip, failure).await,
    }
}

async fn client(state: &WebState, request: &HttpRequest, form: &Parameters) -> Result<Client, Failure> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().map(|value| value.to_str().unwrap_or_default());
    if headers.next().is_some() {
        return Err(OAuthError::new(ErrorCode::InvalidClient, "there are several Authorization headers").into());
    }
    let presented = Presented::read(header, form)?.with_certificate(client_certificate(state, request));
    oauth::authenticate(&state.platform, &presented).await
}

/// The form. The query is no part of it: what stands in an address is kept by servers on the way.
async fn read(request: &HttpRequest, payload: Payload) -> Result<Parameters, OAuthError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(invalid_request("the request is sent as application/x-www-form-urlencoded"));
    }
    let form = tokio::time::timeout(WITHIN, payload.to_bytes_limited(MAX_LENGTH)).await;
    let form = form.map_err(|_| invalid_request("the form took too long to arrive"))?;
    let form = form.map_err(|_| invalid_request("the form is too long"))?.map_err(|_| invalid_request("the form ended early"))?;
    let form = std::str::from_utf8(&form).map_err(|_| invalid_request("the form is not UTF-8"))?;
    Parameters::parse(form)
}
