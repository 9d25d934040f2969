//! Characters that a person approving a text would not see, or would see in another order than a model reads them.

/// The first one.
pub fn first(text: &str) -> Option<char> {
    spots(text).next().map(|(_, hidden)| hidden)
}

/// All of them with their places. Line ends and tabs are seen; a joiner or a variation selector is, inside an emoji.
pub fn spots(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut before = ' ';
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while let Some((at, c)) = characters.next() {
            let previous = std::mem::replace(&mut before, c);
            let after = characters.peek().map_or(' ', |(_, after)| *after);
            let is_hidden = match c {
                '\u{200d}' => !(is_symbol(previous) && is_symbol(after)),
                '\u{fe0e}' | '\u{fe0f}' => is_selector(previous) || previous.is_ascii_alphabetic() || previous == ' ',
                _ => is_hidden(c),
            };
            if is_hidden {
                return Some((at, c));
            }
        }
        None
    })
}

fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Arrows, symbols, emoji and their selectors.
fn is_symbol(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' | '\u{fe0f}')
}

/// The text with what is hidden in it spelt out, as `⟨U+200B⟩`.
pub fn spelt_out(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for (at, hidden) in spots(text) {
        shown.push_str(&text[done..at]);
        shown.push_str(&spelling(hidden));
        done = at + hidden.len_utf8();
    }
    shown.push_str(&text[done..]);
    shown
}

/// One character by its code point.
pub fn spelling(hidden: char) -> String {
    format!("⟨U+{:04X}⟩", u32::from(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_found() {
        for hidden in [
            "\u{0}",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{85}",
            "\u{ad}",
            "\u{200b}",
            "\u{200d}",
            "\u{202e}",
            "\u{2066}",
            "\u{feff}",
            "\u{e0041}",
            "\u{e0100}",
            "\u{3164}",
            "a\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "\u{e000}",
            "\u{10fffd}",
            "\u{2028}",
        ] {
            assert!(first(&format!("text{hidden}text")).is_some(), "{hidden:?}");
        }
        for seen in ["a\tb\r\nc", "naïve 漢字 العربية", "👩\u{200d}💻 ❤\u{fe0f}", "→ 1️⃣"] {
            assert_eq!(first(seen), None, "{seen:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_spelt_out() {
        assert_eq!(spelt_out("a\u{200b}b\u{e0041}"), "a⟨U+200B⟩b⟨U+E0041⟩");
        assert_eq!(spelt_out("plain"), "plain");
    }
}
