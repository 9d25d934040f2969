//! How people come in: accounts, mail, single sign-on.

use std::str::FromStr;

use trunkline_platform::{accounts, secret::Plaintext};
use url::{Host, Url};

use super::{
    listeners::is_loopback,
    reader::{Given, Reader},
    stores::secret_url,
};
use crate::config::Mail;

pub(super) fn mail(reader: &mut Reader) -> Option<Mail> {
    let from = reader.required("mail.from", |text| {
        if text.contains('@') && !text.contains(['\r', '\n']) {
            Ok(text.to_owned())
        } else {
            Err("expected a sender such as Trunkline <trunkline@example.com>".to_owned())
        }
    });
    let smtp_url =
        reader.optional("mail.smtp_url", |text| secret_url(text, &["smtp", "smtps"], "smtps://user:password@smtp.example:465"));
    Some(Mail { from: from?, smtp_url: smtp_url?.value() })
}

pub(super) fn accounts(reader: &mut Reader) -> Option<accounts::Settings> {
    let session_idle_days = reader.small("accounts.session_idle_days", 1..=365);
    let session_days = reader.small("accounts.session_days", 1..=365);
    let link_minutes = reader.small("accounts.link_minutes", 5..=60);
    let invitation_days = reader.small("accounts.invitation_days", 1..=30);
    let password_concurrency = reader.small("accounts.password_concurrency", 1..=64);
    let password_queue = reader.small("accounts.password_queue", 1..=10_000);
    Some(accounts::Settings {
        session_idle_days: session_idle_days?,
        session_days: session_days?,
        link_minutes: link_minutes?,
        invitation_days: invitation_days?,
        password_concurrency: password_concurrency?,
        password_queue: password_queue?,
    })
}

pub(super) fn sso(reader: &mut Reader) -> Option<Given<accounts::SsoSettings>> {
    let issuer = reader.optional("sso.issuer", |text| match text.parse::<Url>() {
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => Ok(url),
        _ => Err("expected an address such as https://login.example.com".to_owned()),
    });
    let client_id = reader.optional("sso.client_id", |text| Ok(text.to_owned()));
    let client_secret = reader.optional("sso.client_secret", |text| Ok(Plaintext::new(text.to_owned())));
    let name = reader.required("sso.name", |text| match text.chars().count() {
        1..=40 => Ok(text.to_owned()),
        _ => Err("expected 1 to 40 characters".to_owned()),
    });
    let domains = reader.list::<Domain>("sso.domains", "domains such as example.com");
    let name = name?;
    let domains = domains?.into_iter().map(|Domain(text)| text).collect();
    match (issuer?.value(), client_id?.value(), client_secret?.value()) {
        (Some(issuer), Some(client_id), Some(client_secret)) => {
            Some(Given::Value(accounts::SsoSettings { issuer, client_id, client_secret, name, domains }))
        }
        (None, None, None) => Some(Given::Nothing),
        (None, ..) => reader.refuse("sso.issuer", "is missing, but other settings of single sign-on are set"),
        (_, None, _) => reader.refuse("sso.client_id", "is missing, but sso.issuer is set"),
        (.., None) => reader.refuse("sso.client_secret", "is missing, but sso.issuer is set"),
    }
}

/// A domain of addresses.
pub(super) struct Domain(String);

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        match Host::parse(&text) {
            Ok(Host::Domain(parsed)) if parsed == text && text.contains('.') => Ok(Self(text)),
            _ => Err(format!("{text} is not a domain such as example.com")),
        }
    }
}
