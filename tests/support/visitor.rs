//! A person with a browser, without the browser: cookies and forms by hand.

use std::{collections::BTreeMap, sync::Mutex};

use reqwest::{Method, Response, header::HeaderMap};

use super::{agent::http, app::PASSWORD};

/// The cookie of a signed-in browser.
pub(crate) const SESSION: &str = "__Host-trunkline";
const VISITOR: &str = "__Host-visitor";

/// A page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// HTTP status.
    pub(crate) status: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// HTML.
    pub(crate) body: String,
}

impl Page {
    /// A header as text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads.
    pub(crate) fn location(&self) -> &str {
        self.header("location")
    }

    /// The page, if it is one; else the test fails.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    /// Led on to that path; else the test fails.
    #[track_caller]
    pub(crate) fn leads_to(self, path: &str) -> Self {
        assert_eq!((self.status, self.location()), (303, path), "{}", self.body);
        self
    }

    /// The first value between those texts.
    pub(crate) fn between(&self, before: &str, after: &str) -> Option<&str> {
        let start = self.body.find(before)? + before.len();
        let length = self.body[start..].find(after)?;
        Some(&self.body[start..start + length])
    }
}

/// A browser.
#[derive(Debug, Default)]
pub(crate) struct Visitor {
    url: String,
    cookies: Mutex<BTreeMap<String, String>>,
    csrf: Mutex<Option<String>>,
}

impl Visitor {
    /// A fresh browser at that installation.
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    /// A browser in which that member has logged in.
    pub(crate) async fn signed_in(url: &str, email: &str) -> Self {
        let visitor = Self::new(url);
        visitor.log_in(email, PASSWORD).await.leads_to("/");
        visitor
    }

    /// Sends the log-in form.
    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Page {
        self.post("/login", &[("email", email), ("password", password)]).await
    }

    /// Opens a page. Redirects are not followed.
    pub(crate) async fn get(&self, path: &str) -> Page {
        self.request(Method::GET, path, |request| request).await
    }

    /// Sends a form as a page of ours would.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf().await;
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.request(Method::POST, path, |request| request.form(&fields)).await
    }

    /// Sends what the test puts together, with this browser's cookies.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Page {
        let address = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let cookies = self.cookies.lock().expect("cookies").clone();
        let cookies: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = http().request(method, address).header("accept", "text/html");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let response = build(request).send().await.expect("an answer");
        self.keep_cookies(&response);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let page = Page { status, headers, body: response.text().await.expect("a body") };
        if let Some(token) = page.between(r#"name="csrf" value=""#, "\"") {
            *self.csrf.lock().expect("token") = Some(token.to_owned());
        }
        page
    }

    /// The token of this browser's forms.
    pub(crate) async fn csrf(&self) -> String {
        let known = self.csrf.lock().expect("token").clone();
        if let Some(token) = known {
            return token;
        }
        // A page for who is signed in, and one for who is not; a forged cookie is shown the second one only.
        for page in ["/welcome", "/login"] {
            if page == "/login" || self.cookie(SESSION).is_some() {
                self.get(page).await;
            }
            if self.csrf.lock().expect("token").is_some() {
                break;
            }
        }
        self.csrf.lock().expect("token").clone().expect("a page with a form")
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().expect("cookies").get(name).cloned()
    }

    /// Puts a cookie into the browser.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().expect("cookies").insert(name.to_owned(), value.to_owned());
        *self.csrf.lock().expect("token") = None;
    }

    fn keep_cookies(&self, response: &Response) {
        let mut cookies = self.cookies.lock().expect("cookies");
        for header in response.headers().get_all("set-cookie") {
            let text = header.to_str().expect("a cookie");
            let (name, rest) = text.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if name == SESSION || name == VISITOR {
                // Forms are bound to it.
                *self.csrf.lock().expect("token") = None;
            }
            if value.is_empty() {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The link of a letter as a path.
pub(crate) fn link(letter: &trunkline_platform::mail::Captured, url: &str) -> String {
    let start = letter.text.find(url).unwrap_or_else(|| panic!("no link in {:?}", letter.text));
    let address = letter.text[start..].split_whitespace().next().unwrap_or_default();
    address.trim_start_matches(url).to_owned()
}
