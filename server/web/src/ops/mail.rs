//! Captured letters, readable in development. Offered only where letters are captured instead of sent.
//!
//! They hold links that let people in, so a page of another site must not read them through a name that resolves to this machine: only
//! requests addressed to a loopback address or `localhost` are answered.

use std::net::{IpAddr, SocketAddr};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, HOST, X_CONTENT_TYPE_OPTIONS},
    web,
};
use askama::Template;
use trunkline_platform::mail::Captured;

use crate::WebState;

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>Captured mail</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
article{border-top:1px solid #8886;padding:1rem 0}h2{font-size:1rem;margin:0}p{margin:.25rem 0;opacity:.75}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit}</style>
</head>
<body>
<h1>Captured mail</h1>
{% for letter in letters %}
<article>
<h2>{{ letter.subject }}</h2>
<p>to {{ letter.to }} · <time datetime="{{ letter.at }}">{{ letter.at }}</time></p>
<pre>{% for piece in letter.pieces %}{% if piece.is_link %}<a href="{{ piece.text }}">{{ piece.text }}</a>{% else %}{{ piece.text }}{% endif %}{% endfor %}</pre>
</article>
{% else %}
<p>Nothing yet. Letters of this installation appear here instead of being sent; reload to look again.</p>
{% endfor %}
</body>
</html>"#
)]
struct MailPage {
    letters: Vec<ShownLetter>,
}

struct ShownLetter {
    to: String,
    subject: String,
    at: String,
    pieces: Vec<Piece>,
}

struct Piece {
    text: String,
    is_link: bool,
}

/// For a browser a page, for everybody else JSON.
pub(super) async fn mail(request: HttpRequest, state: web::Data<WebState>) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") { answer(&request, &state, page) } else { answer(&request, &state, json) }
}

/// Newest first: to, subject, text, html, at.
pub(super) async fn mail_json(request: HttpRequest, state: web::Data<WebState>) -> HttpResponse {
    answer(&request, &state, json)
}

fn answer(request: &HttpRequest, state: &WebState, render: fn(Vec<Captured>) -> HttpResponse) -> HttpResponse {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        return HttpResponse::Forbidden().body("Ask for this by a loopback address.\n");
    }
    match state.platform.mailer.outbox() {
        Some(outbox) => render(outbox.list()),
        None => HttpResponse::NotFound().body("Letters are sent here, not captured.\n"),
    }
}

fn json(letters: Vec<Captured>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(letters)
}

fn page(letters: Vec<Captured>) -> HttpResponse {
    let letters = letters.into_iter().map(|letter| ShownLetter {
        pieces: pieces(&letter.text),
        to: letter.to,
        subject: letter.subject,
        at: letter.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    });
    match (MailPage { letters: letters.collect() }).render() {
        Ok(html) => HttpResponse::Ok()
            .insert_header(ContentType::html())
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
            ))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(html),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the page of captured letters cannot be rendered");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The text with its links found, white space kept.
fn pieces(text: &str) -> Vec<Piece> {
    let words = text.split_inclusive(char::is_whitespace).flat_map(|word| {
        let end = word.trim_end().len();
        [&word[..end], &word[end..]]
    });
    words
        .filter(|word| !word.is_empty())
        .map(|word| Piece { text: word.to_owned(), is_link: word.starts_with("http://") || word.starts_with("https://") })
        .collect()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address =
        host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| name.trim_matches(['[', ']']).parse::<IpAddr>());
    name == "localhost" || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_answered() {
        for host in ["127.0.0.1:9464", "127.0.0.1", "localhost:9464", "localhost", "[::1]:9464"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example:9464", "127.0.0.1.evil.example", "", "10.0.0.1:9464", "localhost.evil.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn links_are_found_and_nothing_is_lost() {
        let text = "Confirm:\n  http://a/b?c=1 \nBye";
        let pieces = pieces(text);
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), text);
        assert_eq!(pieces.iter().filter(|piece| piece.is_link).count(), 1);
    }

    #[test]
    fn letters_cannot_add_markup() {
        let letter =
            ShownLetter { to: "<b>".into(), subject: "<script>".into(), at: String::new(), pieces: pieces("</pre><script>") };
        let html = MailPage { letters: vec![letter] }.render().unwrap();
        assert!(!html.contains("<script>") && !html.contains("<b>"));
    }
}
