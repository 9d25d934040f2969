//! What is shown in pages is escaped, always.

use super::sources;

#[test]
fn templates_never_switch_escaping_off() {
    let fault = [("home.html".to_owned(), "{{ name | safe }}".to_owned())];
    assert_eq!(unescaped(&fault), ["home.html"]);
    let templates = sources("templates", "html");
    assert!(templates.len() > 30, "only {} templates", templates.len());
    assert_eq!(unescaped(&templates), [""; 0]);
}

fn unescaped(templates: &[(String, String)]) -> Vec<&str> {
    let switches = ["|safe", "|escape(", "%autoescape"];
    let unescaped = templates.iter().filter(|(_, text)| {
        let text = text.replace(char::is_whitespace, "");
        switches.iter().any(|switch| text.contains(switch))
    });
    unescaped.map(|(path, _)| path.as_str()).collect()
}
