//! Fields as they came, for forms and queries whose fields may occur more than once or have names that are not known beforehand.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode};
use serde::Deserialize;

use crate::error::HtmlError;

/// Names and values. Cannot be printed: a value may be a secret.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Those of a form that was read otherwise.
    pub(super) fn new(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// The first value of that name, without spaces around it; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.exactly(name).trim()
    }

    /// All values of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.trim())
    }

    /// The first value of that name, to the letter.
    pub fn exactly(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

/// The query of a page. What nobody asks for is ignored.
pub struct Query(Fields);

impl std::ops::Deref for Query {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl FromRequest for Query {
    type Error = HtmlError;
    type Future = Ready<Result<Self, HtmlError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let fields = serde_urlencoded::from_str(request.query_string()).ok();
        // Postgres refuses texts with a NUL character.
        let fields = fields.filter(|Fields(fields)| !fields.iter().any(|(_, value)| value.contains('\0')));
        ready(
            fields.map(Self).ok_or_else(|| HtmlError::BadForm(StatusCode::BAD_REQUEST, "The address cannot be read.".to_owned())),
        )
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn query(text: &str) -> Option<Query> {
        let request = TestRequest::with_uri(&format!("/x?{text}")).to_http_request();
        Query::from_request(&request, &mut Payload::None).await.ok()
    }

    #[actix_web::test]
    async fn query_is_read_leniently_but_never_with_a_nul() {
        let fields = query("q=%20a%20b&s=1&s=2").await.unwrap();
        assert_eq!((fields.get("q"), fields.exactly("q"), fields.get("none")), ("a b", " a b", ""));
        assert_eq!(fields.all("s").collect::<Vec<_>>(), ["1", "2"]);
        assert!(query("q=%00").await.is_none());
        assert!(query("").await.is_some() && query("&&=&q=%FF").await.is_some());
    }
}
