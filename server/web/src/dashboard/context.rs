//! What models read, in words.

use trunkline_platform::{
    context::{Count, ENCODING, Model},
    gateway::Offer,
    usage::{Call, Totals},
};

use super::{components::Stat, format};

/// So many tokens, such as `about 1,204 tokens`.
pub(super) fn tokens(count: Count) -> String {
    let about = if count.is_estimate { "about " } else { "" };
    let noun = if count.tokens == 1 { "token" } else { "tokens" };
    format!("{about}{} {noun}", format::count(count.tokens))
}

/// A model and its price.
pub(super) fn model_words(model: &Model, currency: &str) -> String {
    let price = format!("{} per million tokens", format::price(model.input_micro, currency));
    if model.name.is_empty() { price } else { format!("{}, {price}", model.name) }
}

/// What a list of tools costs whoever reads it.
pub(super) fn offer_words(offer: &Offer, model: &Model, currency: &str) -> String {
    let tools = if offer.tools == 1 {
        "1 tool".to_owned()
    } else {
        format!("{} tools", format::count(i64::try_from(offer.tools).unwrap_or(i64::MAX)))
    };
    let cost = format::price(model.cost(offer.count.tokens), currency);
    format!("{tools}, {}, {cost} each time they are read", tokens(offer.count))
}

/// What a definition costs.
pub(super) fn definition_words(count: Count) -> String {
    format!("{} ({ENCODING}) for whoever is offered it", tokens(count))
}

/// What a call cost its model.
pub(super) fn of_call(call: &Call, currency: &str) -> Stat {
    const LABEL: &str = "Context";
    let is_estimate = call.tokens_estimated.unwrap_or_default();
    match (call.context_micro, call.tokens_definition, call.tokens_out) {
        (Some(micro), Some(definition), Some(out)) => {
            let hint = tokens(Count { tokens: definition.saturating_add(out), is_estimate });
            Stat { hint, ..Stat::new(LABEL, format::price(micro, currency)) }
        }
        _ => Stat { hint: "not counted".to_owned(), ..Stat::new(LABEL, "–") },
    }
}

/// A number of tokens of a call, or that it is not known.
pub(super) fn of_part(tokens: Option<i64>) -> String {
    tokens.map_or_else(|| "not counted".to_owned(), format::count)
}

/// What sums say of contexts; nothing where none was counted.
pub(super) fn of_totals(totals: &Totals, currency: &str) -> Option<Stat> {
    (totals.counted > 0).then(|| {
        let read = totals.tokens_definition.saturating_add(totals.tokens_out);
        let calls = if totals.counted == 1 { "call" } else { "calls" };
        let hint = format!("{} in {} {calls}", tokens(Count { tokens: read, is_estimate: false }), format::count(totals.counted));
        Stat { hint, ..Stat::new("Context", format::cost(totals.context_micro, currency)) }
    })
}

/// What contexts cost, or a dash where none was counted: cells of tables.
pub(super) fn cell(totals: &Totals, currency: &str) -> String {
    if totals.counted == 0 { "–".to_owned() } else { format::cost(totals.context_micro, currency) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_nothing() {
        assert_eq!((of_part(None), of_part(Some(0))), ("not counted".to_owned(), "0".to_owned()));
        assert!(of_totals(&Totals::default(), "USD").is_none());
        let counted = Totals { counted: 1, ..Totals::default() };
        assert_eq!((cell(&Totals::default(), "USD"), cell(&counted, "USD")), ("–".to_owned(), "$0.00".to_owned()));
        let stat = of_totals(&counted, "USD").expect("counted");
        assert_eq!((stat.value.as_str(), stat.hint.as_str()), ("$0.00", "0 tokens in 1 call"));
    }

    #[test]
    fn estimates_say_so() {
        assert_eq!(tokens(Count { tokens: 1204, is_estimate: true }), "about 1,204 tokens");
        assert_eq!(tokens(Count { tokens: 1, is_estimate: false }), "1 token");
    }
}
