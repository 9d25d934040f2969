//! How many tokens a text is.

use bpe_openai::o200k_base;

/// The encoding that is counted with. Models of other families count a few percent more or less.
pub const ENCODING: &str = "o200k_base";
/// Of a longer text, so much of its beginning is counted, and the rest is taken to be like it.
pub const COUNTED_BYTES: usize = 256 << 10;

/// Tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many.
    pub tokens: i64,
    /// Not all of it was counted.
    pub is_estimate: bool,
}

impl Count {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), is_estimate: self.is_estimate || other.is_estimate }
    }
}

/// Tokens of texts that are read one after the other. Tables of the encoding are loaded when it is first called, which takes a tenth of a second;
/// never on a thread of the runtime.
pub fn count(texts: &[&str]) -> Count {
    let (mut left, mut tokens) = (COUNTED_BYTES, 0_usize);
    for text in texts {
        let head = &text[..text.floor_char_boundary(left)];
        if !head.is_empty() {
            tokens += o200k_base().count(head);
        }
        left -= head.len();
    }
    let (whole, counted) = (texts.iter().map(|text| text.len()).sum::<usize>(), COUNTED_BYTES - left);
    Count { tokens: scale(tokens, whole, counted), is_estimate: counted < whole }
}

/// As many for the whole as for the part, rounded up.
fn scale(tokens: usize, whole: usize, counted: usize) -> i64 {
    let scaled = (tokens as u128 * whole as u128).div_ceil(counted.max(1) as u128);
    if counted == 0 { 0 } else { i64::try_from(scaled).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_stands_for_the_whole() {
        let text = "one two three four\n".repeat(COUNTED_BYTES / 19 + 1);
        let (head, twice) = (count(&[&text[..COUNTED_BYTES]]), text.repeat(2));
        assert!(!head.is_estimate && head.tokens > 0);
        let whole = count(&[&twice]);
        let expected = scale(usize::try_from(head.tokens).expect("small"), twice.len(), COUNTED_BYTES);
        assert_eq!(whole, Count { tokens: expected, is_estimate: true });
        let (first, second) = twice.split_at(1_000);
        assert!(count(&[first, second]).is_estimate, "together");
        assert_eq!([count(&[]), count(&["", ""])], [Count::default(); 2]);
    }

    #[test]
    fn cut_falls_between_characters() {
        let text = format!("a{}", "é".repeat(COUNTED_BYTES));
        assert!(count(&[&text]).is_estimate);
    }
}
