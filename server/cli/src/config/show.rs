//! The configuration for a person: what holds and who said so, without secrets; and an example file with everything explained.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    keys::{KEYS, Key, Kind},
    load::Setting,
    source::Written,
};

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its name.
    pub key: &'static str,
    /// Its value as TOML, or `[REDACTED]`.
    pub value: String,
    /// Who said so.
    pub source: String,
}

pub(super) fn rows(settings: &BTreeMap<&'static str, Setting>) -> Vec<Shown> {
    KEYS.iter()
        .filter_map(|key| {
            let setting = settings.get(key.name)?;
            let value = if key.is_secret() { "[REDACTED]".to_owned() } else { toml_value(key, &setting.written) };
            Some(Shown { key: key.name, value, source: setting.source.to_string() })
        })
        .collect()
}

/// A settings file in which everything is explained and nothing but defaults is set.
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of Trunkline. Every line can be left out; what is commented out has no default.\n\
         # An environment variable wins over this file: TRUNKLINE_HTTP_LISTEN is http.listen.\n\
         # A secret can be read from a file that others cannot read: database.url_file, TRUNKLINE_DATABASE_URL_FILE.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (in_section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if in_section != section {
            let _ = writeln!(text, "\n[{in_section}]");
            section = in_section;
        }
        let comment = if key.default.is_some() { "" } else { "# " };
        let value = toml_value(key, &Written::One(key.sample.to_owned()));
        let _ = writeln!(text, "# {}\n{comment}{name} = {value}", key.help);
    }
    text
}

fn toml_value(key: &Key, written: &Written) -> String {
    match (key.kind, written) {
        (Kind::Number | Kind::Flag, Written::One(text)) => text.clone(),
        (Kind::List, written) => {
            let items: Vec<_> = written.items().iter().map(|item| format!("{item:?}")).collect();
            format!("[{}]", items.join(", "))
        }
        (_, written) => written.to_string(),
    }
}
