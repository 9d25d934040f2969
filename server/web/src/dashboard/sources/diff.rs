//! Two versions of a text laid side by side: words of a description, lines of a schema. Nothing in them stays hidden.

use trunkline_platform::catalog::definition::hidden;

/// Longest list of words or lines that is compared piece by piece; what is longer is shown as a whole, old and new.
const MOST: usize = 1_500;
/// Unchanged lines that are shown around changed ones.
const AROUND: usize = 3;
/// Lines that one diff shows.
const SHOWN: usize = 600;

/// A piece of a text that is the same on both sides or stands on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Piece {
    /// `same`, `removed` or `added`.
    pub(in crate::dashboard) side: &'static str,
    /// Its parts, told apart by whether they are hidden.
    pub(in crate::dashboard) parts: Vec<Part>,
}

/// A run of characters, or one hidden character by its code point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Part {
    pub(in crate::dashboard) text: String,
    pub(in crate::dashboard) is_hidden: bool,
}

/// A line of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Line {
    /// `same`, `removed`, `added`, or `skipped` for lines that are left out.
    pub(in crate::dashboard) side: &'static str,
    /// What stands before it.
    pub(in crate::dashboard) mark: &'static str,
    pub(in crate::dashboard) parts: Vec<Part>,
}

/// The text in parts.
pub(in crate::dashboard) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut done = 0;
    let mut push = |text: &str, is_hidden| {
        if !text.is_empty() {
            parts.push(Part { text: text.to_owned(), is_hidden });
        }
    };
    for (at, c) in hidden::spots(text) {
        push(&text[done..at], false);
        push(&hidden::spelling(c), true);
        done = at + c.len_utf8();
    }
    push(&text[done..], false);
    parts
}

/// Words that were taken out and put in, in the order of reading.
pub(in crate::dashboard) fn words(old: &str, new: &str) -> Vec<Piece> {
    let (old, new) = (tokens(old), tokens(new));
    let mut pieces: Vec<(&'static str, String)> = Vec::new();
    for (side, word) in compare(&old, &new) {
        match pieces.last_mut() {
            Some((last, text)) if *last == side => text.push_str(word),
            _ => pieces.push((side, word.to_owned())),
        }
    }
    pieces.into_iter().map(|(side, text)| Piece { side, parts: parts(&text) }).collect()
}

/// Words with the space after them.
fn tokens(text: &str) -> Vec<&str> {
    text.split_inclusive(char::is_whitespace).collect()
}

/// Lines that were taken out and put in, with a few unchanged ones around them.
pub(in crate::dashboard) fn lines(old: &str, new: &str) -> Vec<Line> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let compared = compare(&old, &new);
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        let to = (at + AROUND + 1).min(compared.len());
        compared[from..to].iter().any(|(side, _)| *side != "same")
    };
    let mut lines: Vec<Line> = Vec::new();
    let mut skipped = 0;
    for (at, (side, text)) in compared.iter().enumerate() {
        if lines.len() >= SHOWN {
            lines.push(left_out(compared.len() - at));
            return lines;
        }
        if !near(at) {
            skipped += 1;
            continue;
        }
        if skipped > 0 {
            lines.push(left_out(std::mem::take(&mut skipped)));
        }
        let mark = match *side {
            "removed" => "−",
            "added" => "+",
            _ => " ",
        };
        lines.push(Line { side, mark, parts: parts(text) });
    }
    if skipped > 0 && !lines.is_empty() {
        lines.push(left_out(skipped));
    }
    lines
}

fn left_out(count: usize) -> Line {
    let text = if count == 1 { "1 line more".to_owned() } else { format!("{count} lines more") };
    Line { side: "skipped", mark: "⋯", parts: vec![Part { text, is_hidden: false }] }
}

/// The longest common subsequence, between what both begin and end with.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let mut compared: Vec<_> = old[..start].iter().map(|text| ("same", *text)).collect();
    if a.len().max(b.len()) > MOST {
        compared.extend(a.iter().map(|text| ("removed", *text)));
        compared.extend(b.iter().map(|text| ("added", *text)));
    } else {
        compared.extend(middle(a, b));
    }
    compared.extend(old[old.len() - end..].iter().map(|text| ("same", *text)));
    compared
}

fn middle<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    // How much the rests from here on have in common; `u16` is enough below `MOST`.
    let width = b.len() + 1;
    let mut common = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut compared) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            compared.push(("same", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            compared.push(("removed", a[i]));
            i += 1;
        } else {
            compared.push(("added", b[j]));
            j += 1;
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(pieces: &[Piece]) -> String {
        let text = |piece: &Piece| piece.parts.iter().map(|part| part.text.clone()).collect::<String>();
        pieces.iter().fold(String::new(), |all, piece| format!("{all}{}[{}]", &piece.side[..1], text(piece)))
    }

    #[test]
    fn words_that_changed_stand_where_they_changed() {
        assert_eq!(flat(&words("Reads a file.", "Reads a file.")), "s[Reads a file.]");
        assert_eq!(flat(&words("Reads a file.", "Reads one file.")), "s[Reads ]r[a ]a[one ]s[file.]");
        assert_eq!(flat(&words("", "New")), "a[New]");
        assert_eq!(flat(&words("a b", "a b\u{200b}c")), "s[a ]r[b]a[b⟨U+200B⟩c]");
        assert!(words("x", "y\u{202e}z")[1].parts[1].is_hidden);
    }

    #[test]
    fn lines_far_from_a_change_are_left_out() {
        let old: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[50] = "changed".to_owned();
        let lines = lines(&old.join("\n"), &new.join("\n"));
        let sides: Vec<_> = lines.iter().map(|line| line.side).collect();
        assert_eq!(sides, ["skipped", "same", "same", "same", "removed", "added", "same", "same", "same", "skipped"]);
        assert_eq!(lines[0].parts[0].text, "47 lines more");
        assert!(super::lines("same", "same").is_empty());
    }

    #[test]
    fn long_texts_are_compared_in_bounded_time() {
        let (a, b) = ("a ".repeat(20_000), "b ".repeat(20_000));
        assert_eq!(words(&a, &b).len(), 2);
        assert!(lines(&"a\n".repeat(5_000), &"b\n".repeat(5_000)).len() <= SHOWN + 1);
    }
}
