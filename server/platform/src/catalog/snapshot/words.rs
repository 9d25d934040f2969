//! The words of a tool, for those who look for one.

use std::collections::HashMap;

use crate::catalog::tool::Tool;

/// What a word is worth in a name, a title, a description.
const WORTH: [f64; 3] = [4.0, 2.0, 1.0];
/// How much a word counts that only begins like the one that was asked for.
const PREFIX: f64 = 0.5;
/// Shortest beginning that says something.
const SHORTEST_PREFIX: usize = 4;

/// Its words in lower case, and what each is worth.
#[derive(Debug)]
pub(crate) struct Words(HashMap<String, f64>);

impl Words {
    pub(super) fn of(tool: &Tool) -> Self {
        let mut all = HashMap::new();
        let texts = [tool.name.as_str(), &tool.version.title, &tool.version.description];
        for (text, worth) in texts.into_iter().zip(WORTH) {
            for word in words_of(text) {
                let most: &mut f64 = all.entry(word).or_default();
                *most = most.max(worth);
            }
        }
        Self(all)
    }

    /// What the word is worth here; `refund` finds `refunds` too.
    pub(crate) fn hits(&self, word: &str) -> f64 {
        if let Some(worth) = self.0.get(word) {
            return *worth;
        }
        let is_like = |other: &str| {
            let shorter = other.len().min(word.len());
            shorter >= SHORTEST_PREFIX && (other.starts_with(word) || word.starts_with(other))
        };
        let alike = self.0.iter().filter(|(other, _)| is_like(other)).map(|(_, worth)| worth * PREFIX);
        alike.fold(0.0, f64::max)
    }
}

/// Words of a text in lower case, in their order; `listUsers` and `list_users` are two each.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    let (mut words, mut word, mut was_lower) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(std::mem::take(&mut word));
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_words() {
        assert_eq!(words_of("stripe.listRefundsV2_byDay"), ["stripe", "list", "refunds", "v2", "by", "day"]);
        assert_eq!(words_of("Größe, ändern!"), ["größe", "ändern"]);
        assert_eq!(words_of("--"), [""; 0]);
    }
}
