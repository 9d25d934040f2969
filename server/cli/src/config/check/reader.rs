//! Takes written values one by one, and notes what is wrong with them.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use crate::config::{
    Problem, keys,
    load::Setting,
    source::{Source, Written},
};

/// A setting that can be left out.
pub(super) enum Given<T> {
    Value(T),
    Nothing,
}

impl<T> Given<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

/// Takes written values one by one and notes what is wrong with them. `None` means: noted, go on with the next.
pub(super) struct Reader {
    pub(super) settings: std::collections::BTreeMap<&'static str, Setting>,
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn note(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), message: message.into() });
    }

    pub(super) fn refuse<T>(&mut self, key: &str, message: impl Into<String>) -> Option<T> {
        self.note(key, message);
        None
    }

    /// `key = value (source)`, with secrets left out.
    fn refuse_value<T>(&mut self, key: &str, setting: &Setting, message: impl Display) -> Option<T> {
        let secret = keys::find(key).is_some_and(keys::Key::is_secret);
        let value = if secret { "[REDACTED]".to_owned() } else { setting.written.to_string() };
        self.refuse(key, format!("{value} ({}): {message}", setting.source))
    }

    pub(super) fn required<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match self.optional(key, parse)? {
            Given::Value(value) => Some(value),
            Given::Nothing => {
                let Some(known) = keys::find(key) else { return self.refuse(key, "is not in the table of settings") };
                let file = if known.is_secret() {
                    format!(", or {0}_file or {1}_FILE for a file that holds it", key, known.variable())
                } else {
                    String::new()
                };
                self.refuse(key, format!("is missing; set it in the file, or as {}{file}. {}", known.variable(), known.help))
            }
        }
    }

    pub(super) fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Given<T>> {
        let Some(setting) = self.settings.get(key).cloned() else { return Some(Given::Nothing) };
        match &setting.written {
            Written::One(text) if text.is_empty() && setting.source != Source::Default => Some(Given::Nothing),
            Written::One(text) => match parse(text) {
                Ok(value) => Some(Given::Value(value)),
                Err(message) => self.refuse_value(key, &setting, message),
            },
            Written::Many(_) => self.refuse_value(key, &setting, "expected one value, not a list"),
        }
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, right: &str) -> Option<T> {
        self.required(key, |text| text.parse().map_err(|_| format!("expected {right}")))
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn small(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.number(key, u64::from(*range.start())..=u64::from(*range.end()))?;
        u32::try_from(number).ok()
    }

    pub(super) fn list<T: FromStr<Err = String>>(&mut self, key: &'static str, what: &str) -> Option<Vec<T>> {
        let Some(setting) = self.settings.get(key).cloned() else { return Some(Vec::new()) };
        match setting.written.items().iter().map(|item| item.parse()).collect() {
            Ok(items) => Some(items),
            Err(message) => self.refuse_value(key, &setting, format!("expected {what}; {message}")),
        }
    }
}
