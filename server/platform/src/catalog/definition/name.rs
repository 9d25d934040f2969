//! The name under which a definition is exposed: told apart by its source, and short enough for every client.

use sha2::{Digest as _, Sha256};

use super::ItemKind;

/// Longest name of a tool or prompt. One longer name breaks whole sessions of some clients.
const LONGEST: usize = 64;
/// Bytes of the digest that tells two names apart that were cut.
const TOLD_APART: usize = 4;

/// The key that callers see. Tools and prompts: `<prefix>.<name>`, in characters that every client takes; resources keep their URI.
/// A source's name has no dot in it, so no source can write another one's prefix.
pub fn exposed_key(kind: ItemKind, prefix: Option<&str>, key: &str) -> String {
    if matches!(kind, ItemKind::Resources | ItemKind::ResourceTemplates) {
        return key.to_owned();
    }
    let whole = prefix.map_or_else(|| key.to_owned(), |prefix| format!("{prefix}.{key}"));
    let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let fitting: String = whole.chars().map(fit).collect();
    if fitting.len() <= LONGEST {
        return fitting;
    }
    let digest = Sha256::digest(&whole);
    let tail = digest.iter().take(TOLD_APART).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{}_{tail}", &fitting[..LONGEST - 1 - tail.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(prefix: Option<&str>, key: &str) -> String {
        exposed_key(ItemKind::Tools, prefix, key)
    }

    #[test]
    fn names_fit_every_client() {
        assert_eq!(tool(Some("github"), "create_issue"), "github.create_issue");
        assert_eq!(tool(None, "create_issue"), "create_issue");
        assert_eq!(tool(Some("a"), "b/c d:é"), "a.b_c_d__");
        let (one, other) = (tool(Some("a"), &"x".repeat(63)), tool(Some("a"), &"x".repeat(80)));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
        assert_eq!(tool(Some("a"), &"x".repeat(62)), format!("a.{}", "x".repeat(62)));
        assert_eq!(tool(Some("a"), &"漢".repeat(100)).len(), 64);
        assert_eq!(exposed_key(ItemKind::Resources, Some("a"), "test://x y"), "test://x y");
    }

    #[test]
    fn a_source_cannot_write_anothers_prefix() {
        // `a__x` against `a_` + `_x`: with a separator that no prefix contains, the first dot ends the prefix.
        assert_ne!(tool(Some("a"), "_b.c"), tool(Some("a_"), "b.c"));
        assert_ne!(tool(Some("a"), "b.c"), tool(Some("a_b"), "c"));
    }
}
