//! Is a new value of the same kind as the one that it replaces? What is wrong is told when it is entered, not by calls that fail.

use std::collections::BTreeMap;

use super::credential::{Part, Shape};
use crate::{
    catalog::{Carrier, openapi::Scheme, operation::ClientSecret},
    error::{Error, Result},
    secret::Plaintext,
};

/// What somebody entered.
#[derive(Debug, Default)]
pub struct Entered {
    /// The secret, where there is one.
    pub secret: Option<Plaintext>,
    /// Those of an API, by the name of their scheme; those that are not there stay.
    pub of_schemes: BTreeMap<String, Plaintext>,
}

/// Words with which the value of a header begins that says how it is to be read.
const WORDS: [&str; 4] = ["Bearer", "Basic", "Token", "ApiKey"];

/// What the value of a header looks like.
pub(super) fn of_header(value: &Plaintext) -> Shape {
    let word = value.reveal().split_once(' ').map(|(word, _)| word);
    let known = word.and_then(|word| WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word)));
    known.map_or(Shape::Plain, Shape::Scheme)
}

/// What the secrets of an API look like.
pub(super) fn of_schemes(value: &Plaintext, schemes: &[Scheme]) -> Result<Vec<Part>> {
    let part = |(scheme, secret): (String, String)| {
        let carrier = schemes.iter().find(|known| known.name == scheme).and_then(|known| known.carrier.as_ref());
        let shape = match carrier {
            _ if client(&secret).is_some() => Shape::Client,
            Some(Carrier::Basic) => Shape::Basic,
            _ => Shape::Plain,
        };
        Part { scheme, shape }
    };
    Ok(read(value)?.into_iter().map(part).collect())
}

/// The new value of a header.
pub(super) fn header(entered: Entered, old: &Plaintext) -> Result<Plaintext> {
    if !entered.of_schemes.is_empty() {
        return Err(Error::invalid("secret", "it is one secret: enter that, and none for a scheme"));
    }
    let new = entered.secret.filter(|new| !new.reveal().is_empty());
    let new = new.ok_or_else(|| Error::invalid("secret", "enter the new secret"))?;
    check("secret", &new, of_header(old))?;
    check_new("secret", old.reveal() == new.reveal())?;
    Ok(new)
}

/// The new value of the secrets of an API.
pub(super) fn schemes(entered: Entered, old: &Plaintext, parts: &[Part]) -> Result<Plaintext> {
    if entered.secret.is_some_and(|secret| !secret.reveal().is_empty()) {
        return Err(Error::invalid("secret", "it has a secret for each scheme: enter those that are new by their schemes"));
    }
    let entered: Vec<_> = entered.of_schemes.into_iter().filter(|(_, secret)| !secret.reveal().is_empty()).collect();
    if entered.is_empty() {
        return Err(Error::invalid("secret", "enter at least one new secret; those that are left empty stay"));
    }
    let mut all = read(old)?;
    for (scheme, secret) in entered {
        let field = format!("secret_{scheme}");
        let part = parts.iter().find(|part| part.scheme == scheme);
        let part = part.ok_or_else(|| Error::invalid("secret", format!("there is no secret for a scheme called {scheme:?}")))?;
        check(&field, &secret, part.shape)?;
        let old = all.get(&scheme).cloned().unwrap_or_default();
        let (before, value) = match client(&old) {
            // To the endpoint that it was entered for, and to no other.
            Some(kept) => {
                let new = ClientSecret { pair: secret.reveal().to_owned(), token_url: kept.token_url };
                (kept.pair, serde_json::to_string(&new).map_err(Error::internal)?)
            }
            None => (old, secret.reveal().to_owned()),
        };
        check_new(&field, before == secret.reveal())?;
        all.insert(scheme, value);
    }
    serde_json::to_string(&all).map(Plaintext::new).map_err(Error::internal)
}

fn check(field: &str, secret: &Plaintext, shape: Shape) -> Result<()> {
    let text = secret.reveal();
    let wrong = |what: String| Err(Error::invalid(field, what));
    if text.len() > 4096 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return wrong("expected 1 to 4096 visible ASCII characters".to_owned());
    }
    let is_pair = text.split_once(':').is_some_and(|(name, secret)| !name.is_empty() && !secret.is_empty());
    match (shape, of_header(secret)) {
        (Shape::Scheme(word), Shape::Scheme(entered)) if word == entered => Ok(()),
        (Shape::Scheme(word), _) => wrong(format!(
            "the value in force begins with the word {word} and a space: enter the whole value of the header, beginning with {word}"
        )),
        (Shape::Basic, _) if !text.contains(':') => wrong("expected user:password".to_owned()),
        (Shape::Client, _) if !is_pair => wrong("expected client_id:client_secret".to_owned()),
        _ => Ok(()),
    }
}

fn check_new(field: &str, is_same: bool) -> Result<()> {
    if is_same { Err(Error::invalid(field, "it is the secret that is in force already")) } else { Ok(()) }
}

fn read(value: &Plaintext) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(value.reveal()).map_err(|_| Error::internal("the secrets of an API cannot be read"))
}

fn client(secret: &str) -> Option<ClientSecret> {
    serde_json::from_str(secret).ok()
}
