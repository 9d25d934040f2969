//! The model that an agent is.

use super::Count;
use crate::{
    call::Context,
    error::{Error, Result},
};

/// Longest name, in characters.
const LONGEST_NAME: usize = 80;
/// A million for a million tokens.
const MOST_MICRO: i64 = 1_000_000_000_000;
/// Tokens that a price is for.
const UNIT: i128 = 1_000_000;

/// What an agent's owner says of its model. Whoever has one has its contexts counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// As people call it; may be empty.
    pub name: String,
    /// Price of a million tokens that it reads, in micro-units of the tenant's currency.
    pub input_micro: i64,
}

impl Model {
    /// Reads what a form says: no price, no model.
    pub fn parse(name: &str, input_micro: Option<i64>) -> Result<Option<Self>> {
        let name = name.trim();
        if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(Error::invalid("model_name", "expected at most 80 characters"));
        }
        match input_micro {
            None if name.is_empty() => Ok(None),
            None => {
                Err(Error::invalid("model_price", "expected the price of a million tokens, such as 2.50; 0 if they cost nothing"))
            }
            Some(micro) if !(0..=MOST_MICRO).contains(&micro) => Err(Error::invalid("model_price", "expected 0 to 1000000")),
            Some(input_micro) => Ok(Some(Self { name: name.to_owned(), input_micro })),
        }
    }

    /// What that many tokens cost, rounded up once to the next micro-unit.
    pub fn cost(&self, tokens: i64) -> i64 {
        cost(self.input_micro, tokens)
    }
}

fn cost(input_micro: i64, tokens: i64) -> i64 {
    let micro = (i128::from(input_micro) * i128::from(tokens.max(0)) + UNIT - 1) / UNIT;
    i64::try_from(micro).unwrap_or(i64::MAX)
}

/// What a call costs in its context: the definition, which its model had to read to call the tool, and what came of the call, each read once. A
/// lower bound: both stay in the context for the turns that follow.
pub(super) fn charge(input_micro: i64, definition: Count, output: Count) -> Context {
    let Count { tokens, is_estimate } = definition.and(output);
    let micro = cost(input_micro, tokens);
    Context { tokens_definition: definition.tokens, tokens_out: output.tokens, is_estimate, micro }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_paid_to_the_micro_unit_and_rounded_up_once() {
        let count = |tokens| Count { tokens, is_estimate: false };
        let micro = |price, definition, output| charge(price, count(definition), count(output)).micro;
        assert_eq!([micro(2_500_000, 100, 20), micro(1, 1, 0), micro(1, 0, 0), micro(0, 9, 9)], [300, 1, 0, 0]);
        assert_eq!(micro(300_000, 1, 2), 1, "0.9, not 0.3 and 0.6 each rounded up");
        assert_eq!(micro(MOST_MICRO, i64::MAX, i64::MAX), i64::MAX);
        let estimate = Count { is_estimate: true, ..count(1) };
        assert!(charge(1, count(1), estimate).is_estimate && charge(1, estimate, count(1)).is_estimate);
    }

    #[test]
    fn name_without_a_price_is_half_a_model() {
        assert_eq!(Model::parse(" ", None).ok(), Some(None));
        assert_eq!(Model::parse(" m ", Some(7)).ok().flatten(), Some(Model { name: "m".into(), input_micro: 7 }));
        assert!(Model::parse("", Some(0)).is_ok_and(|model| model.is_some()));
        assert!(Model::parse("m", None).is_err() && Model::parse("m", Some(-1)).is_err());
        assert!(Model::parse(&"m".repeat(80), Some(1)).is_ok() && Model::parse(&"m".repeat(81), Some(1)).is_err());
        assert!(Model::parse("a\nb", Some(1)).is_err() && Model::parse("m", Some(MOST_MICRO + 1)).is_err());
    }
}
