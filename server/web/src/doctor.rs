//! Telling the connection doctor what a client did, from the request in which it did it.

use actix_web::{FromRequest as _, HttpRequest, dev, http::header};
use trunkline_platform::{
    ErrorKind,
    handshake::{self, Fault, Hop, Told, Walker},
    ids::TenantId,
    oauth::Failure,
};
use trunkline_protocol::oauth::error::{Cause, ErrorCode, OAuthError};

use crate::{WebState, extract::ClientIp};

/// Tells of a step. Without a tenant it goes to the one whose endpoint the same place has touched.
pub(crate) fn tell(state: &WebState, request: &HttpRequest, tenant: Option<TenantId>, told: Told) {
    tell_of(state, request, tenant, told, None, None);
}

/// The same of a client that has an id, and perhaps a grant.
pub(crate) fn tell_of(
    state: &WebState,
    request: &HttpRequest,
    tenant: Option<TenantId>,
    told: Told,
    client_id: Option<&str>,
    grant: Option<String>,
) {
    let mut walker = walker(request);
    walker.client_id = client_id.map(str::to_owned);
    walker.grant = grant;
    let told = if told.fault.is_none() && came_elsewhere(state, request) {
        Told { fault: Some(Fault::OtherOrigin), ..told }
    } else {
        told
    };
    handshake::tell(&state.platform, tenant, walker, told);
}

/// The tenant of that slug, if it is in memory or can be loaded.
pub(crate) async fn tenant(state: &WebState, slug: &str) -> Option<TenantId> {
    Some(state.platform.snapshots.get(&state.platform, slug).await.ok()??.tenant)
}

/// A browser says much about itself that nobody here needs: its name is enough.
fn walker(request: &HttpRequest) -> Walker {
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let program = if agent.starts_with("Mozilla/") { "Browser" } else { agent };
    let address = ClientIp::from_request(request, &mut dev::Payload::None).into_inner().map(|ip| ip.0.to_string());
    Walker { address: address.unwrap_or_default(), program: program.to_owned(), ..Walker::default() }
}

/// Does the proxy in front say that the client used another scheme than the public address has? Then the addresses it was given will not
/// look like the one it knows.
fn came_elsewhere(state: &WebState, request: &HttpRequest) -> bool {
    let scheme = request.headers().get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
    state.settings.behind_proxy && scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(state.settings.public_url.scheme()))
}

/// A client was told to log in, or that what it showed is not good.
pub(crate) async fn challenged(state: &WebState, request: &HttpRequest, slug: &str, fault: Option<Fault>) {
    if let Some(tenant) = tenant(state, slug).await {
        tell(state, request, Some(tenant), Told { hop: Hop::Challenge, fault, detail: None });
    }
}

/// A client was refused at that hop. What failed on our side is none of the client's steps.
pub(crate) fn refused(hop: Hop, failure: &Failure) -> Option<Told> {
    match failure {
        Failure::Refused(error) => Some(Told::failed(hop, fault(hop, error)).because(&error.description)),
        Failure::Failed(error) if matches!(error.kind(), ErrorKind::Exhausted { .. }) => Some(Told::failed(hop, Fault::TooMany)),
        Failure::Failed(_) => None,
    }
}

fn fault(hop: Hop, error: &OAuthError) -> Fault {
    match (error.cause, error.code) {
        (Some(cause), _) => of_cause(cause),
        (None, ErrorCode::UnauthorizedClient) => Fault::ClientUnfit,
        (None, ErrorCode::InvalidDpopProof) => Fault::NotProven,
        (None, ErrorCode::InvalidClient) => Fault::ClientAuthentication,
        (None, ErrorCode::InvalidTarget) => Fault::UnknownResource,
        (None, ErrorCode::InvalidScope) => Fault::NoScope,
        (None, ErrorCode::AccessDenied) => Fault::Denied,
        (None, ErrorCode::InvalidGrant) => Fault::GrantEnded,
        _ if hop == Hop::Registration => Fault::RegistrationInvalid,
        _ => Fault::Malformed,
    }
}

fn of_cause(cause: Cause) -> Fault {
    match cause {
        Cause::UnknownClient => Fault::UnknownClient,
        Cause::ClientAuthentication => Fault::ClientAuthentication,
        Cause::DocumentUnreachable => Fault::DocumentUnreachable,
        Cause::DocumentInvalid => Fault::DocumentInvalid,
        Cause::RedirectMismatch => Fault::RedirectMismatch,
        Cause::NoChallenge => Fault::NoChallenge,
        Cause::ClientNotAdmitted => Fault::ClientNotAdmitted,
        Cause::NotAllowed => Fault::NotAllowed,
        Cause::CodeExpired => Fault::CodeExpired,
        Cause::CodeUsed => Fault::CodeUsed,
        Cause::VerifierMismatch => Fault::VerifierMismatch,
        Cause::RefreshReused => Fault::RefreshReused,
        Cause::GrantEnded => Fault::GrantEnded,
        Cause::AgentStopped => Fault::AgentStopped,
        Cause::NotProven => Fault::NotProven,
        Cause::AssertionRefused => Fault::AssertionRefused,
    }
}
