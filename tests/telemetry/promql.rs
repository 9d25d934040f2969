//! What an expression of PromQL names: enough of its grammar to find that, and no more.

use std::collections::BTreeSet;

/// Words with a list of labels after them.
const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that look like a metric where no parenthesis follows them at once.
const WORDS: &[&str] = &["sum", "count", "max", "min", "avg", "and", "or", "unless", "offset", "bool", "Inf", "NaN"];

/// The metrics that it reads.
pub(super) fn metrics(expression: &str) -> BTreeSet<String> {
    let (mut found, mut rest) = (BTreeSet::new(), expression);
    while let Some(first) = rest.chars().next() {
        let name = name(rest);
        rest = &rest[name.len()..];
        if first.is_ascii_digit() {
            // A number or a duration: its letters are no name.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if name.is_empty() {
            rest = match first {
                '{' => after(rest, '}'),
                '[' => after(rest, ']'),
                '"' => after(&rest[1..], '"'),
                _ => &rest[first.len_utf8()..],
            };
        } else if GROUPINGS.contains(&name) {
            rest = after(rest, ')');
        } else if !rest.trim_start().starts_with('(') && !WORDS.contains(&name) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The outcomes that it selects or leaves out by the label `status`.
pub(super) fn outcomes(expression: &str) -> BTreeSet<String> {
    let matchers = expression.split("status").skip(1).map(|rest| rest.trim_start_matches(['=', '!', '~']));
    let values = matchers.filter_map(|rest| rest.strip_prefix('"')?.split_once('"'));
    values.flat_map(|(value, _)| value.split('|')).map(str::to_owned).collect()
}

/// The name at its beginning, if there is one.
fn name(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let name = &text[..text.find(|c: char| !is_part(c)).unwrap_or(text.len())];
    if name.starts_with(|c: char| c.is_ascii_digit()) { "" } else { name }
}

/// What comes after the next such character.
fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[test]
fn metrics_and_outcomes_are_found() {
    let expression = r#"sum by (job, le) (rate(a_bucket{job="x", status=~"ok|timeout"}[5m] offset 1d)) > 1.5e3
        and on (job) level:a:rate5m{status!="denied"} < Inf or 0 * b / max without (c) (d) + label_count("e")"#;
    assert_eq!(Vec::from_iter(metrics(expression)), ["a_bucket", "b", "d", "level:a:rate5m"]);
    assert_eq!(Vec::from_iter(outcomes(expression)), ["denied", "ok", "timeout"]);
}
