//! The file that pins descriptions from outside. What is wrong with it stops the start: a pin that is not read protects nobody.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Deserializer, de::Error as _};
use trunkline_platform::catalog::api::{self, Manifest, Pin};
use url::Url;

/// Bytes of a manifest, and documents that it pins.
const MAX_BYTES: u64 = 1 << 20;
const MAX_DOCUMENTS: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    only: bool,
    #[serde(default)]
    documents: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "link")]
    link: Url,
    #[serde(deserialize_with = "sha256")]
    sha256: Pin,
}

fn link<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    api::parse_link(&text).map_err(|error| D::Error::custom(format!("link {text:?}: {error}")))
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pin, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|error| D::Error::custom(format!("sha256: {error}")))
}

/// Reads the file. Fails with what is wrong, and where.
pub(super) fn read(path: &Path) -> Result<Manifest, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.len() > MAX_BYTES {
        return Err(format!("has {} bytes; expected at most {MAX_BYTES}", metadata.len()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let is_json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    parse(&text, is_json)
}

fn parse(text: &str, is_json: bool) -> Result<Manifest, String> {
    let written: Written = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(text).map_err(|error| at_line(text, &error))?
    };
    if written.documents.len() > MAX_DOCUMENTS {
        return Err(format!("pins {} documents; expected at most {MAX_DOCUMENTS}", written.documents.len()));
    }
    if written.only && written.documents.is_empty() {
        return Err(
            "says only = true and names no documents, so that no link could be read; expected [[documents]] with link and sha256"
                .to_owned(),
        );
    }
    let mut documents = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (at, Entry { link, sha256 }) in written.documents.into_iter().enumerate() {
        if let Some(first) = places.insert(link.clone(), at + 1) {
            return Err(format!("names {link} twice, as documents {first} and {}; expected one pin for each link", at + 1));
        }
        documents.insert(link, sha256);
    }
    Ok(Manifest::new(written.only, documents))
}

/// The reason with its line, without the quoted source.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| 1 + text.get(..span.start).unwrap_or(text).matches('\n').count());
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    format!("{line}{}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[documents]]\nlink = \"https://api.example/openapi.json\"\nsha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

    fn why(text: &str, is_json: bool) -> String {
        parse(text, is_json).err().unwrap_or_else(|| panic!("taken: {text}"))
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = r#"{"only": true, "documents": [{"link": "https://api.example/openapi.json", "sha256": "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"}]}"#;
        for manifest in [parse(&format!("only = true\n{ENTRY}"), false), parse(json, true)] {
            let manifest = manifest.expect("a manifest");
            assert!(manifest.is_exclusive() && manifest.len() == 1);
            let link = Url::parse("https://api.example/openapi.json").expect("a URL");
            assert_eq!(manifest.pin(&link), Some(Pin::of(b"abc")));
        }
        assert!(parse("", false).is_ok_and(|manifest| manifest.is_empty()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let short = ENTRY.replace("ba7816bf", "");
        for (text, is_json, parts) in [
            ("only = ", false, &["line 1"][..]),
            (&format!("{ENTRY}\n{short}"), false, &["line 7", "sha256", "56 characters", "64 digits"]),
            (&ENTRY.replace("https", "ftp"), false, &["line 2", "link", "ftp://api.example"]),
            (&ENTRY.replace("sha256", "sha512"), false, &["line 3", "sha512"]),
            (&format!("{ENTRY}{ENTRY}"), false, &["https://api.example/openapi.json twice", "documents 1 and 2"]),
            ("only = true", false, &["names no documents"]),
            ("{\"documents\":\n[{}]}", true, &["link", "line 2"]),
            ("{\"only\": \"yes\"}", true, &["line 1", "boolean"]),
        ] {
            let why = why(text, is_json);
            assert!(parts.iter().all(|part| why.contains(part)), "{why} lacks one of {parts:?}");
        }
    }
}
