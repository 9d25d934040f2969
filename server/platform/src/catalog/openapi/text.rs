//! Names and descriptions for models, from what the document says.

use std::{collections::HashSet, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::catalog::tool::has_hidden_characters;

/// Longest name of a tool.
pub(super) const MAX_NAME: usize = 64;

/// Without characters that a person would not see, and at most that long, in characters; an ellipsis says that there was more.
pub(super) fn tidy(raw: &str, most: usize) -> String {
    let visible = |c: char| if c == '\t' || c == '\r' { ' ' } else { c };
    let mut text: String =
        without_tags(raw).chars().map(visible).filter(|c| !has_hidden_characters(c.encode_utf8(&mut [0; 4]))).collect();
    text = text.trim().to_owned();
    if text.chars().count() <= most {
        return text;
    }
    let mut cut: String = text.chars().take(most.saturating_sub(2)).collect();
    if let Some(space) = cut.rfind(char::is_whitespace).filter(|at| *at > cut.len() / 2) {
        cut.truncate(space);
    }
    format!("{} …", cut.trim_end())
}

/// Tags of HTML that descriptions are formatted with. Other words in angle brackets, such as `<api_key>`, stand for something.
const TAGS: &[&str] = &[
    "p",
    "a",
    "b",
    "i",
    "u",
    "em",
    "strong",
    "code",
    "pre",
    "br",
    "hr",
    "ul",
    "ol",
    "li",
    "div",
    "span",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "table",
    "tr",
    "td",
    "th",
    "thead",
    "tbody",
    "blockquote",
    "small",
    "sup",
    "sub",
    "img",
];

/// Formatting costs every model tokens and tells it nothing.
fn without_tags(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let tail = &rest[open + 1..];
        let name = tail.trim_start_matches('/');
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let is_tag = TAGS.contains(&name[..end].to_ascii_lowercase().as_str());
        if let Some(close) = tail.find('>').filter(|close| is_tag && *close < 500) {
            rest = &tail[close + 1..];
        } else {
            text.push('<');
            rest = tail;
        }
    }
    text + rest
}

/// Letters, digits, `_` and `-`; everything else becomes one `_`.
pub(super) fn plain(raw: &str) -> String {
    let mut name = String::new();
    for c in raw.chars() {
        if c.is_ascii_alphanumeric() || c == '-' {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name.trim_matches(['_', '-']).to_owned()
}

/// A name that fits, whatever it begins with.
pub(super) fn fit(name: &str) -> String {
    short(name, name, MAX_NAME)
}

/// At most that long; what is cut off is told apart by a digest of the whole.
fn short(name: &str, whole: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let digest = Sha256::digest(whole).iter().take(3).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{}_{digest}", name[..most - 7].trim_end_matches(['_', '-']))
}

/// The names of one document, each once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// From the operation's own id, else from method and path.
    pub(super) fn choose(&mut self, id: Option<&str>, method: &str, path: &str) -> String {
        let by_id = id.map(plain).filter(|name| !name.is_empty());
        let by_path = || {
            let path = plain(path);
            if path.is_empty() { method.to_lowercase() } else { format!("{}_{path}", method.to_lowercase()) }
        };
        let whole = format!("{method} {path}");
        let name = short(&by_id.unwrap_or_else(by_path), &whole, MAX_NAME);
        // Names that differ in case only are one name to some clients.
        if self.0.insert(name.to_lowercase()) {
            return name;
        }
        let mut number = 2;
        loop {
            let next = format!("{}_{number}", short(&name, &whole, MAX_NAME - 5));
            if self.0.insert(next.to_lowercase()) {
                return next;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_unique() {
        let mut names = Names::default();
        assert_eq!(names.choose(Some("issues/list-for-repo"), "GET", "/x"), "issues_list-for-repo");
        assert_eq!(names.choose(Some("Issues/List-for-repo"), "GET", "/y"), "Issues_List-for-repo_2");
        assert_eq!(names.choose(None, "GET", "/users/{id}/files"), "get_users_id_files");
        assert_eq!(names.choose(Some("../../etc/passwd\r\n\0"), "GET", "/"), "etc_passwd");
        assert_eq!(names.choose(Some("日本"), "DELETE", "/"), "delete");
        let long = "a".repeat(200);
        let (first, second) = (names.choose(Some(&long), "GET", "/1"), names.choose(Some(&long), "GET", "/2"));
        assert!(first != second && first.len() == 64 && second.len() == 64, "{first} {second}");
    }

    #[test]
    fn texts_are_visible_and_bounded() {
        assert_eq!(tidy(" a\u{200b}b\u{202e}\u{0}\tc\u{e0041} ", 10), "ab c");
        assert_eq!(tidy("<p>Uses <a href=\"/x\">it</a><br/> with <api_key>, a < b</p>", 80), "Uses it with <api_key>, a < b");
        let cut = tidy(&"word ".repeat(100), 50);
        assert!(cut.ends_with(" …") && cut.chars().count() <= 50, "{cut}");
    }
}
