//! What the crates of the workspace depend on, and what comes in from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use super::{read, root};

/// What a crate must not depend on, directly. `trunkline-protocol` may have nothing but these.
/// `sha2` and `subtle`: PKCE is a digest and a comparison.
const PURE: &[&str] = &["serde", "serde_json", "thiserror", "base64", "url", "sha2", "subtle"];
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("trunkline-platform", &["trunkline-web", "trunkline", "actix-web", "actix-http", "askama", "clap", "config"]),
    // What runs code of strangers knows nothing that would be worth having.
    (
        "trunkline-sandbox",
        &[
            "trunkline-protocol",
            "trunkline-platform",
            "trunkline-web",
            "trunkline",
            "tokio",
            "sqlx",
            "redis",
            "reqwest",
            "hyper",
            "actix-web",
        ],
    ),
    ("trunkline-web", &["trunkline", "sqlx", "redis", "reqwest", "hyper", "hyper-util", "lettre", "clap", "config"]),
];

#[test]
fn crates_depend_on_what_they_may_know() {
    let named = |name: &str, other: &str| BTreeMap::from([(name.to_owned(), BTreeSet::from([other.to_owned()]))]);
    for (name, other) in [
        ("trunkline-protocol", "tokio"),
        ("trunkline-platform", "actix-web"),
        ("trunkline-web", "sqlx"),
        ("trunkline-sandbox", "tokio"),
    ] {
        assert_eq!(forbidden_dependencies(&named(name, other)), [format!("{name} depends on {other}")]);
    }
    let crates = dependencies();
    assert!(crates["trunkline-platform"].contains("sqlx") && crates["trunkline-web"].contains("actix-web"), "{crates:?}");
    assert_eq!(forbidden_dependencies(&crates), [""; 0]);
}

#[test]
fn locked_crates_are_none_of_the_banned_ones() {
    let bans = bans(&read("deny.toml"));
    for expected in [("openssl", None), ("rmcp", Some(vec![1, 4])), ("actix-http", Some(vec![3, 12, 1]))] {
        assert!(bans.contains(&(expected.0.to_owned(), expected.1)), "{bans:?}");
    }
    let fault = "[[package]]\nname = \"openssl\"\nversion = \"0.10.1\"\n\n[[package]]\nname = \"rmcp\"\nversion = \"1.3.9\"\n";
    assert_eq!(banned(fault, &bans), ["openssl 0.10.1", "rmcp 1.3.9"]);
    let lock = read("Cargo.lock");
    assert!(locked(&lock).len() > 200 && locked(&lock).iter().any(|(name, _)| *name == "actix-http"));
    assert_eq!(banned(&lock, &bans), [""; 0]);
}

/// Direct dependencies of each crate of the workspace: normal, of its build and of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| (name(package), package["dependencies"].as_array().expect("a list").iter().map(name).collect()))
        .collect()
}

fn forbidden_dependencies(crates: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let is_forbidden = |name: &str, other: &str| match name {
        "trunkline-protocol" => !PURE.contains(&other),
        _ => FORBIDDEN.iter().any(|(restricted, names)| *restricted == name && names.contains(&other)),
    };
    let pairs = crates.iter().flat_map(|(name, others)| others.iter().map(move |other| (name, other)));
    pairs.filter(|(name, other)| is_forbidden(name, other)).map(|(name, other)| format!("{name} depends on {other}")).collect()
}

/// Banned crates of `deny.toml`, with the first version that is not banned if there is one.
fn bans(text: &str) -> Vec<(String, Option<Vec<u64>>)> {
    let list = text.split_once("\ndeny = [").and_then(|(_, rest)| rest.split_once("\n]")).expect("the list of bans").0;
    let entries = list.lines().filter_map(|line| line.split_once("crate = \"")?.1.split_once('"'));
    entries
        .map(|(entry, _)| match entry.split_once("@<") {
            Some((name, least)) => (name.to_owned(), Some(numbers(least))),
            None => (entry.to_owned(), None),
        })
        .collect()
}

fn locked(lock: &str) -> Vec<(&str, &str)> {
    let value = |line: Option<&str>, key: &str| line?.strip_prefix(key)?.strip_suffix('"').map(|_| ());
    let mut found = Vec::new();
    let mut lines = lock.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) else { continue };
        assert!(value(lines.peek().copied(), "version = \"").is_some(), "{name} has no version");
        found.extend(lines.next().and_then(|line| line.split('"').nth(1)).map(|version| (name, version)));
    }
    found
}

fn banned(lock: &str, bans: &[(String, Option<Vec<u64>>)]) -> Vec<String> {
    let is_banned = |name: &str, version: &str| {
        bans.iter().any(|(banned, least)| banned == name && least.as_ref().is_none_or(|least| numbers(version) < *least))
    };
    locked(lock).into_iter().filter(|(name, version)| is_banned(name, version)).map(|(n, v)| format!("{n} {v}")).collect()
}

/// The numbers of a version; what follows a `-` or `+` does not count.
fn numbers(version: &str) -> Vec<u64> {
    let version = version.split(['-', '+']).next().unwrap_or_default();
    version.split('.').map(|number| number.parse().unwrap_or_else(|_| panic!("{version} is not a version"))).collect()
}
