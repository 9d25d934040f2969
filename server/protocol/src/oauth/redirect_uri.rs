//! Which redirect URIs are taken, and when two of them are the same. OAuth 2.1 §4.1.3 and §8.4, RFC 8252 §7.

use url::{Host, Url};

/// Longest one that is taken, in bytes.
pub const MAX_LENGTH: usize = 2_000;
/// Schemes without a dot that applications in wide use have registered with their operating systems. Others must be reverse domain names
/// (RFC 8252 §7.1), so that two applications do not meet by accident.
const APPLICATIONS: &[&str] = &["cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed", "claude", "goose", "warp"];

/// Why one is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(&'static str);

/// Where one leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A web site.
    Web,
    /// A program on the person's own computer, by the loopback interface.
    Loopback,
    /// A program on the person's own computer, by a scheme of its own.
    Application,
}

/// Judges one that a client wants to register.
pub fn judge(text: &str) -> Result<Kind, Refused> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(Refused("it must have 1 to 2000 characters"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !b"\\<>\"{}|^`*".contains(&b)) {
        return Err(Refused("it must be plain ASCII without spaces, wildcards, quotes and backslashes"));
    }
    if text.contains('#') {
        return Err(Refused("it must not have a fragment"));
    }
    let url = Url::parse(text).map_err(|_| Refused("it must be an absolute URI"))?;
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err(Refused("it must not have a user name or a password"));
    }
    match url.scheme() {
        "https" => web(text, &url),
        "http" if is_loopback(&url) => tidy(text, &url).map(|()| Kind::Loopback),
        "http" => Err(Refused("http is taken for loopback addresses only: use https")),
        "javascript" | "data" | "file" | "blob" | "about" | "vbscript" | "ftp" | "ws" | "wss" => {
            Err(Refused("this scheme is not one that leads back to an application"))
        }
        scheme if scheme.contains('.') || APPLICATIONS.contains(&scheme) => Ok(Kind::Application),
        _ => Err(Refused("a scheme of your own must be a reverse domain name, such as com.example.app")),
    }
}

fn web(text: &str, url: &Url) -> Result<Kind, Refused> {
    tidy(text, url)?;
    match url.host() {
        Some(Host::Domain(_)) => Ok(Kind::Web),
        Some(Host::Ipv4(address)) if address.is_loopback() => Ok(Kind::Loopback),
        Some(Host::Ipv6(address)) if address.is_loopback() => Ok(Kind::Loopback),
        _ => Err(Refused("it must name its host by a domain name")),
    }
}

/// Browsers rewrite what is not in its normal form, and what was compared would not be where they go.
fn tidy(text: &str, url: &Url) -> Result<(), Refused> {
    let written = url.as_str();
    let is_normal = written == text || (url.path() == "/" && written.replacen("/?", "?", 1).trim_end_matches('/') == text);
    // `url` takes a default port away.
    let has_default_port = text.starts_with("https:") && authority(text).ends_with(":443")
        || text.starts_with("http:") && authority(text).ends_with(":80");
    if is_normal || has_default_port {
        return Ok(());
    }
    Err(Refused("it must be written as browsers write it: lower-case scheme and host, no dot segments, no needless encoding"))
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Is what a request asks for the one that is registered? Equal byte for byte; only a loopback address may come with another port, since
/// programs take the one that is free (RFC 8252 §7.3).
pub fn matches(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    match (without_port(registered), without_port(asked)) {
        (Some(registered), Some(asked)) => registered == asked,
        _ => false,
    }
}

/// The parts around the port of an `http` URI of a loopback address. By text, so that nothing else is evened out on the way.
fn without_port(text: &str) -> Option<(&'static str, &str)> {
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let Some(rest) = text.strip_prefix("http://").and_then(|rest| rest.strip_prefix(host)) else { continue };
        let Some(port) = rest.strip_prefix(':') else {
            return (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest));
        };
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        let (port, rest) = port.split_at(digits);
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('0');
        return (is_port && (rest.is_empty() || rest.starts_with(['/', '?']))).then_some((host, rest));
    }
    None
}

/// What a person should know of where one leads: the host, or the scheme of an application.
pub fn shown_host(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}{port}", url.host_str().unwrap_or_default())
        }
        Ok(url) => format!("{}:", url.scheme()),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o_04_what_is_taken() {
        for (text, kind) in [
            ("https://app.example/cb", Kind::Web),
            ("https://app.example/cb?x=1", Kind::Web),
            ("https://app.example:8443/cb", Kind::Web),
            ("https://app.example", Kind::Web),
            ("https://claude.ai/api/mcp/auth_callback", Kind::Web),
            ("http://127.0.0.1/cb", Kind::Loopback),
            ("http://127.0.0.1:3000/cb", Kind::Loopback),
            ("http://[::1]:3000/cb", Kind::Loopback),
            ("http://localhost:6274/oauth/callback", Kind::Loopback),
            ("http://localhost:6274/oauth/callback/debug", Kind::Loopback),
            ("com.example.app:/cb", Kind::Application),
            ("com.example.app://cb", Kind::Application),
            ("cursor://anysphere.cursor-mcp/oauth/callback", Kind::Application),
            ("vscode://dynamicauthprovider/example", Kind::Application),
        ] {
            assert_eq!(judge(text), Ok(kind), "{text}");
        }
    }

    #[test]
    fn o_04_what_is_not_taken() {
        for text in [
            "",
            "/cb",
            "app.example/cb",
            "//app.example/cb",
            "http://app.example/cb",
            "http://127.0.0.2/cb",
            "http://127.0.0.1.example/cb",
            "http://localhost.example/cb",
            "https://app.example/cb#",
            "https://app.example/cb#x",
            "https://user@app.example/cb",
            "https://user:pw@app.example/cb",
            "https://@app.example/cb",
            "https://app.example/../cb",
            "https://app.example/%2e%2e/cb",
            "https://App.example/cb",
            "HTTPS://app.example/cb",
            "https://app.example/*",
            "https://*.example/cb",
            "https://аpp.example/cb",
            "https://app.example/c b",
            "https://app.example\\cb",
            "https://10.0.0.1/cb",
            "https://93.184.216.34/cb",
            "https://2130706433/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "blob:https://app.example/x",
            "myapp://cb",
            "myapp:cb",
            "https://",
            "https:///cb",
        ] {
            assert!(judge(text).is_err(), "{text}: {:?}", judge(text));
        }
        assert!(judge(&format!("https://app.example/{}", "x".repeat(2_000))).is_err());
    }

    #[test]
    fn o_04_a_redirect_is_the_registered_one_byte_for_byte() {
        let registered = "https://app.example/cb";
        assert!(matches(registered, registered));
        for asked in [
            "https://app.example/cb/",
            "https://app.example/cb/x",
            "https://app.example/cbx",
            "https://app.example/cb?x=1",
            "https://app.example/cb#x",
            "https://app.example/CB",
            "https://APP.example/cb",
            "https://user@app.example/cb",
            "https://app.example:443/cb",
            "https://app.example:444/cb",
            "http://app.example/cb",
            "https://app.example/%63b",
            "https://app.example//cb",
            "https://app.example/x/../cb",
            "https://app.example.evil.example/cb",
            "https://app.example@evil.example/cb",
            "",
        ] {
            assert!(!matches(registered, asked), "{asked}");
        }
    }

    #[test]
    fn o_05_a_loopback_address_may_have_any_port() {
        for (registered, asked, same) in [
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb", "http://[::1]:49152/cb", true),
            ("http://localhost/cb", "http://localhost:49152/cb", true),
            ("http://127.0.0.1/cb", "http://localhost:49152/cb", false),
            ("http://localhost/cb", "http://127.0.0.1:49152/cb", false),
            ("http://127.0.0.1/cb", "http://[::1]:49152/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/other", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1:49152/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", false),
            ("https://127.0.0.1/cb", "https://127.0.0.1:49152/cb", false),
            ("https://localhost/cb", "https://localhost:49152/cb", false),
        ] {
            assert_eq!(matches(registered, asked), same, "{registered} {asked}");
        }
    }
}
