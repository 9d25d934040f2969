//! Refuses requests for names that are not ours, before anything else looks at them: a foreign name that resolves here (DNS rebinding)
//! reaches nothing, and no link is ever built from what a request says.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use url::Url;

use crate::WebState;

pub(super) async fn check<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_ours(&request) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let body = "This server does not answer for that name.\n";
    let response = HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(body);
    Ok(request.into_response(response).map_into_right_body())
}

fn is_ours(request: &ServiceRequest) -> bool {
    let Some(state) = request.app_data::<web::Data<WebState>>() else { return false };
    let public_url = &state.settings.public_url;
    let mut hosts = request.headers().get_all(header::HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    // An absolute URI names a host too; servers before and behind must not disagree on which one counts.
    let agrees = request.uri().authority().is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(host));
    agrees && is_allowed(public_url, host)
}

/// The public name; on a developer's computer also the other names of the loopback interface, with the same port.
fn is_allowed(public_url: &Url, host: &str) -> bool {
    // As nearly everybody writes it: nothing has to be taken apart.
    if !host.is_empty() && host == public_url.authority() {
        return true;
    }
    // Parsing alone would let user names, paths and odd spellings through.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    if !host.bytes().all(plain) {
        return false;
    }
    let Ok(asked) = Url::parse(&format!("{}://{host}/", public_url.scheme())) else { return false };
    asked.port_or_known_default() == public_url.port_or_known_default()
        && (asked.host() == public_url.host() || (is_loopback(public_url) && is_loopback(&asked)))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(url::Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(public_url: &str, host: &str) -> bool {
        is_allowed(&Url::parse(public_url).unwrap(), host)
    }

    #[test]
    fn public_name_is_answered_for_and_no_other() {
        for host in ["trunkline.example", "trunkline.example:443", "Trunkline.Example"] {
            assert!(allowed("https://trunkline.example", host), "{host}");
        }
        for host in
            ["", "evil.example", "trunkline.example:80", "localhost", "127.0.0.1", "a@trunkline.example", "trunkline.example/x"]
        {
            assert!(!allowed("https://trunkline.example", host), "{host}");
        }
    }

    #[test]
    fn loopback_names_are_one() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(allowed("http://127.0.0.1:8080", host), "{host}");
        }
        for host in ["localhost", "localhost:8081", "evil.example:8080", "localhost.evil.example:8080"] {
            assert!(!allowed("http://localhost:8080", host), "{host}");
        }
    }
}
