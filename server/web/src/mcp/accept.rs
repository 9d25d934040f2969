//! What the client can read, from `Accept`; and that it sends JSON.

use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

/// What an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// JSON only.
    Json,
    /// An event stream only.
    EventStream,
    /// Either: JSON when it is quick, a stream when it takes long.
    Either,
}

impl Accept {
    /// Reads the header; absent means anything. `None`: neither form is acceptable.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(ACCEPT).peekable();
        if values.peek().is_none() {
            return Some(Self::Json);
        }
        let (mut json, mut stream) = (false, false);
        for range in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let mut parameters = range.split(';').map(str::trim);
            let media = parameters.next().unwrap_or_default().to_ascii_lowercase();
            if parameters.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            match media.as_str() {
                "*/*" => (json, stream) = (true, true),
                "application/json" | "application/*" => json = true,
                "text/event-stream" | "text/*" => stream = true,
                _ => {}
            }
        }
        match (json, stream) {
            (true, true) => Some(Self::Either),
            (true, false) => Some(Self::Json),
            (false, true) => Some(Self::EventStream),
            (false, false) => None,
        }
    }
}

/// Does the body claim to be JSON?
pub(super) fn sends_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> Option<Accept> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        Accept::from_headers(&headers)
    }

    #[test]
    fn accept_is_read_leniently() {
        assert_eq!(Accept::from_headers(&HeaderMap::new()), Some(Accept::Json));
        assert_eq!(accept("application/json, text/event-stream"), Some(Accept::Either));
        assert_eq!(accept("*/*"), Some(Accept::Either));
        assert_eq!(accept("Application/JSON;q=0.9"), Some(Accept::Json));
        assert_eq!(accept("text/event-stream"), Some(Accept::EventStream));
        assert_eq!(accept("text/event-stream;q=0, application/json"), Some(Accept::Json));
        assert_eq!(accept("image/png"), None);
    }
}
