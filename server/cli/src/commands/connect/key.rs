//! Which endpoint, and with whose key.

use std::path::Path;

use reqwest::header::HeaderValue;
use serde_json::Value;
use trunkline_platform::secret::Plaintext;
use url::{Host, Url};

use super::ConnectArguments;
use crate::config::Environment;

/// Longest file that is read as a key.
const MAX_KEY_BYTES: usize = 8 * 1024;
/// The variable that has it.
const VARIABLE: &str = "TRUNKLINE_KEY";

/// A key, and where it came from, for whoever has to replace it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) bearer: HeaderValue,
    pub(super) origin: String,
}

/// The endpoint and the key, or what is wrong with the command line. `dev` is what a `trunkline dev` in this folder has announced.
pub(super) fn find(arguments: &ConnectArguments, environment: &Environment, dev: Option<&Value>) -> Result<(Url, Key), String> {
    let url = match (&arguments.url, dev.and_then(|dev| dev["mcp_url"].as_str())) {
        (Some(url), _) => url,
        (None, Some(url)) => url,
        (None, None) => {
            return Err("say which endpoint: its URL stands on the tenant's Connect page, https://…/t/<tenant>/mcp".to_owned());
        }
    };
    let url = endpoint(url, arguments.allow_http)?;
    let key = match (&arguments.key_file, environment.get(VARIABLE)) {
        (Some(file), _) => from_file(file)?,
        (None, Some(key)) => bearer(key, format!("the variable {VARIABLE}"))?,
        (None, None) => match dev.and_then(|dev| of_dev(dev, &url)) {
            Some(key) => bearer(key, "the `trunkline dev` that runs in this folder".to_owned())?,
            None => {
                return Err(format!(
                    "there is no key: put a key of an agent into the variable {VARIABLE}, or into a file that --key-file names; \
                     keys are made on the agent's page of the dashboard"
                ));
            }
        },
    };
    Ok((url, key))
}

fn endpoint(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text} is not a URL ({error}); expected https://…/t/<tenant>/mcp"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL has a user or a password in it; the key belongs elsewhere".to_owned());
    }
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here || allow_http => Ok(url),
        "http" => Err(format!("{url} would send the key readable for everybody on the way; use https, or say --allow-http")),
        other => Err(format!("{other}:// is not supported; expected https://…/t/<tenant>/mcp")),
    }
}

fn from_file(path: &Path) -> Result<Key, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("the key file {} cannot be read: {error}", path.display()))?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_KEY_BYTES).map(Plaintext::new);
    let origin = format!("the file {}", path.display());
    match text {
        Some(text) => bearer(text.reveal(), origin),
        None => Err(format!("{origin} has no key in it: expected one line, tl_live_…")),
    }
}

/// What is no bearer is not shown: it may be a good key with something beside it.
fn bearer(key: &str, origin: String) -> Result<Key, String> {
    let key = key.trim();
    let is_token = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    match HeaderValue::from_str(&format!("Bearer {key}")) {
        Ok(mut bearer) if is_token => {
            bearer.set_sensitive(true);
            Ok(Key { bearer, origin })
        }
        _ => Err(format!("{origin} has no key in it: expected one line, tl_live_…")),
    }
}

/// The key that a `trunkline dev` made for that endpoint. It is sent nowhere else.
fn of_dev<'a>(dev: &'a Value, url: &Url) -> Option<&'a str> {
    let of = |place: &'a Value| {
        let endpoint = Url::parse(place["mcp_url"].as_str()?).ok()?;
        let is_there = endpoint.origin() == url.origin()
            && url.path().strip_prefix(endpoint.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        place["api_key"].as_str().filter(|_| is_there)
    };
    of(dev).or_else(|| of(&dev["conformance"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(url: Option<&str>) -> ConnectArguments {
        ConnectArguments { url: url.map(str::to_owned), key_file: None, allow_http: false, check: false }
    }

    fn dev() -> Value {
        json!({ "mcp_url": "http://127.0.0.1:8080/t/demo/mcp", "api_key": "tl_live_dev",
                "conformance": { "mcp_url": "http://127.0.0.1:8080/t/suite/mcp", "api_key": "tl_live_suite" } })
    }

    #[test]
    fn url_is_https_unless_it_is_here() {
        for good in ["https://x.example/t/a/mcp", "http://localhost:8080/t/a/mcp", "http://[::1]/t/a/mcp", "http://127.0.0.9/mcp"]
        {
            assert!(endpoint(good, false).is_ok(), "{good}");
        }
        for bad in
            ["", "acme", "ftp://x.example/", "http://x.example/t/a/mcp", "https://u:p@x.example/t/a/mcp", "http://127.0.0.1.x/"]
        {
            assert!(endpoint(bad, false).is_err(), "{bad}");
        }
        assert!(endpoint("http://x.example/t/a/mcp", true).is_ok());
    }

    #[test]
    fn key_of_a_running_dev_goes_to_its_endpoints_only() {
        let none = Environment::default();
        let key = |url| find(&arguments(url), &none, Some(&dev())).map(|(_, key)| key.bearer.to_str().unwrap().to_owned());
        assert_eq!(key(None), Ok("Bearer tl_live_dev".to_owned()));
        assert_eq!(key(Some("http://127.0.0.1:8080/t/demo/mcp/tools")), Ok("Bearer tl_live_dev".to_owned()));
        assert_eq!(key(Some("http://127.0.0.1:8080/t/suite/mcp")), Ok("Bearer tl_live_suite".to_owned()));
        for elsewhere in ["http://127.0.0.1:8081/t/demo/mcp", "https://x.example/t/demo/mcp", "http://127.0.0.1:8080/t/demo/mcp2"]
        {
            assert!(key(Some(elsewhere)).is_err_and(|wrong| wrong.contains(VARIABLE)), "{elsewhere}");
        }
        assert!(find(&arguments(None), &none, None).is_err_and(|wrong| wrong.contains("which endpoint")));
    }

    #[test]
    fn key_is_one_word_and_never_shown() {
        let find = |key: &str| find(&arguments(None), &[(VARIABLE, key)].into_iter().collect(), Some(&dev()));
        assert!(find(" tl_live_a\n").is_ok_and(|(_, key)| key.bearer == "Bearer tl_live_a" && key.bearer.is_sensitive()));
        for bad in ["tl_live_a tl_live_b", "Bearer tl_live_a", "tl_live_ä", "tl_live_a\nb"] {
            assert!(find(bad).is_err_and(|wrong| !wrong.contains("tl_live_a")), "{bad}");
        }
    }
}
