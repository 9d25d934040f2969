//! The order of the platform's modules: each may use those before it.

use std::collections::{BTreeMap, BTreeSet};

use super::{platform_sources, read, without_comments, word};

/// Modules of the platform crate, each after what it may use. The head of its `lib.rs` has the same for its readers.
const ORDER: &[&[&str]] = &[
    &["random", "hex", "ids", "clock", "network", "error", "secret", "actor", "trace"],
    &["db", "redis", "epoch", "egress", "mail", "jobs", "dialogue", "conversations"],
    &[
        "call",
        "metrics",
        "telemetry",
        "context",
        "audit",
        "usage",
        "quota",
        "health",
        "handshake",
        "bus",
        "upstream",
        "functions",
    ],
    &["vault"],
    &["accounts"],
    &["agents", "certificates"],
    &["connections"],
    &["catalog", "session", "gate"],
    &["oauth"],
    &["record", "chain", "execution"],
    &["publishing"],
    &["alerts"],
    &["gateway", "rotation"],
    &["registry"],
];
/// The handles that every verb takes first know everything, and everything knows their type.
const HANDLES: &str = "platform";

#[test]
fn modules_use_only_those_before_them() {
    let fault = [("usage/store.rs".to_owned(), "use crate::{\n    db::TenantTx,\n    gateway::{self, Caller},\n};".to_owned())];
    assert_eq!(uses_of_later_modules(&fault), ["usage/store.rs uses gateway, which comes after usage"]);
    let roundabout = [("agents/key.rs".to_owned(), "use super::super::catalog;".to_owned())];
    assert_eq!(uses_of_later_modules(&roundabout), ["agents/key.rs leaves its module by `super::`"]);
    let sources = platform_sources();
    assert!(sources.len() > 60, "only {} files", sources.len());
    assert_eq!(uses_of_later_modules(&sources), [""; 0]);
}

#[test]
fn the_order_is_the_one_that_readers_find() {
    let lib = read("server/platform/src/lib.rs");
    let written = lib.split_once("those before it:").and_then(|(_, rest)| rest.split_once(';')).expect("the order").0;
    let written: Vec<Vec<_>> = written.split('`').skip(1).step_by(2).map(|group| group.split_whitespace().collect()).collect();
    assert_eq!(written, ORDER);
    let declared: BTreeSet<_> =
        lib.lines().filter_map(|line| line.strip_suffix(';')?.split_once("mod ")).map(|(_, name)| name).collect();
    let ordered: BTreeSet<_> = ORDER.iter().copied().flatten().copied().chain([HANDLES]).collect();
    assert_eq!(declared, ordered);
}

#[test]
fn pages_publish_through_the_gate_only() {
    let ungated = ["catalog::create(", "catalog::publish(", "api::publish(", "source::switch_on("];
    // Behind `publishing::admit`.
    let behind = "dashboard/sources/show.rs";
    let sources = super::sources("server/web/src", "rs");
    assert!(sources.len() > 60, "only {} files", sources.len());
    for (path, source) in sources.iter().filter(|(path, _)| !path.ends_with(behind)) {
        for call in ungated {
            assert!(!without_comments(source).contains(call), "{path} calls {call}…), which publishes what was not tried");
        }
    }
    let (_, admits) = sources.iter().find(|(path, _)| path.ends_with(behind)).expect("the page of a source");
    assert_eq!(admits.matches("source::switch_on(").count(), 1, "and only there");
}

fn uses_of_later_modules(sources: &[(String, String)]) -> Vec<String> {
    let places: BTreeMap<_, _> = ORDER.iter().copied().flatten().enumerate().map(|(place, module)| (*module, place)).collect();
    let mut complaints = Vec::new();
    for (path, source) in sources {
        let (source, own) = (without_comments(source), word(path));
        let depth = path.trim_end_matches("/mod.rs").split('/').count();
        // Tests of a file are one module deeper.
        let outside_tests = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        if outside_tests.contains(&"super::".repeat(depth)) {
            complaints.push(format!("{path} leaves its module by `super::`"));
        }
        let Some(own_place) = places.get(own) else { continue };
        for used in used_modules(&source) {
            if places.get(used).is_some_and(|place| place > own_place) {
                complaints.push(format!("{path} uses {used}, which comes after {own}"));
            }
        }
    }
    complaints
}

/// First names after `crate::`, also those of a list.
fn used_modules(source: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    used.insert(word(&list[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}
