//! Which URIs a template (RFC 6570) could have made.

/// Could that template (RFC 6570) have made that URI? `{name}` stands for one or more characters other than `/`, `{+name}` and the like for
/// any. Part by part it notes how far the URI could have come, so that no template makes this slow.
pub(super) fn matches_template(template: &str, uri: &str) -> bool {
    let mut reached = vec![false; uri.len() + 1];
    reached[0] = true;
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((expression, after)) = after.split_once('}') else { return false };
        let is_open = expression.starts_with(['+', '#', '/', '?', '&', ';', '.']) || expression.contains(['*', ',']);
        reached = after_expression(uri, &after_text(uri, &reached, text), is_open);
        rest = after;
    }
    after_text(uri, &reached, rest)[uri.len()]
}

/// Places in the URI after that text, from the places before it.
fn after_text(uri: &str, reached: &[bool], text: &str) -> Vec<bool> {
    let mut after = vec![false; reached.len()];
    for (at, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
        if uri[at..].starts_with(text) {
            after[at + text.len()] = true;
        }
    }
    after
}

/// Places after one or more characters that an expression may stand for.
fn after_expression(uri: &str, reached: &[bool], is_open: bool) -> Vec<bool> {
    let mut after = vec![false; reached.len()];
    let mut taking = false;
    for (at, c) in uri.char_indices() {
        taking = (taking || reached[at]) && (is_open || c != '/');
        after[at + c.len_utf8()] = taking;
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_what_they_make() {
        for (template, uri, fits) in [
            ("test://template/{id}/data", "test://template/123/data", true),
            ("test://template/{id}/data", "test://template/1/2/data", false),
            ("test://template/{id}/data", "test://template//data", false),
            ("file:///{+path}", "file:///a/b", true),
            ("a://{x}-{y}", "a://1-2-3", true),
            ("a://b", "a://b", true),
            ("a://{x", "a://{x", false),
            ("a://ä{x}", "a://äö", true),
            ("{+a}/x/{+b}", "1/x/2/x/3", true),
            ("{+a}/x{b}/c", "1/x2/q/x3/c", true),
            ("x{a}b{c}b", "xabb", false),
            ("x{a}b{c}b", "xabacb", true),
        ] {
            assert_eq!(matches_template(template, uri), fits, "{template} {uri}");
        }
        let many = format!("x:{}!", "{+a}".repeat(100));
        assert!(!matches_template(&many, &format!("x:{}", "a".repeat(2_000))));
    }
}
