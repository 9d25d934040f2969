//! The floor plan, held against the code: who may use whom, where SQL stands, what comes in from outside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

use crate::support::{Kind, shared};

/// Modules of `platform` in dependency order, as in its `lib.rs`; those of one line may use each other.
const ORDER: &[&[&str]] = &[
    &["network", "ids", "clock", "random", "secret", "error", "actor"],
    &["db", "redis", "epoch", "egress", "mail", "jobs"],
    &["call", "metrics", "audit", "usage", "quota"],
    &["accounts", "vault"],
    &["agents"],
    &["catalog"],
    &["record", "execution"],
    &["gateway"],
    &["health"],
];

/// What each crate may not depend on.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "protocol",
        &[
            "tokio",
            "sqlx",
            "redis",
            "reqwest",
            "actix-web",
            "askama",
            "chrono",
            "trunkline-platform",
            "trunkline-web",
            "trunkline",
        ],
    ),
    ("platform", &["actix-web", "askama", "trunkline-web", "trunkline", "clap", "config"]),
    ("web", &["sqlx", "redis", "reqwest", "trunkline", "lettre", "argon2"]),
];

/// Below these versions are published faults, some of them without an advisory.
const OLDEST: &[(&str, &str)] = &[
    ("actix-http", "3.12.1"),
    ("bytes", "1.11.1"),
    ("jsonwebtoken", "10.3.0"),
    ("rustls-webpki", "0.103.13"),
    ("h2", "0.4.16"),
    ("rmcp", "1.4.0"),
    ("tracing-subscriber", "0.3.20"),
];

const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All Rust files below a folder, with their path from it.
fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(dir).expect("below").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

fn level(module: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&module))
}

/// Without its tests: they may use what they like.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// Modules of this crate that a file names after `crate::`, inside braces too.
fn used_modules(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if depth == 1 && (c.is_alphanumeric() || c == '_') {
                    word.push(c);
                } else if !word.is_empty() {
                    // The first word of each item; what follows `::` belongs to it.
                    used.push(std::mem::take(&mut word));
                }
            }
            used.extend(Some(word).filter(|word| !word.is_empty()));
        } else {
            used.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used
}

#[test]
fn modules_of_the_platform_use_only_what_stands_before_them() {
    let source = root().join("server/platform/src");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (name, text) in sources(&source) {
        let module = name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "platform") {
            continue;
        }
        let own = level(&module)
            .unwrap_or_else(|| panic!("{module} has no place in the order: put it into the table here and in lib.rs"));
        for used in used_modules(production(&text)) {
            let Some(its) = level(&used) else { continue };
            checked += 1;
            if its > own {
                wrong.push(format!("{name} uses {used}, which stands after {module}"));
            }
        }
    }
    assert!(checked > 200, "{checked} uses were found: the test is blind");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let told = fs::read_to_string(source.join("lib.rs")).expect("lib.rs");
    for module in ORDER.concat() {
        assert!(told.contains(&format!("pub mod {module};")) || told.contains(&format!("mod {module};")), "{module} is gone");
    }
}

#[test]
fn sql_stands_in_stores_only() {
    let mut places = Vec::new();
    for crate_name in ["protocol", "platform", "web", "cli"] {
        for (name, text) in sources(&root().join("server").join(crate_name).join("src")) {
            let allowed = crate_name == "platform" && (name.ends_with("store.rs") || name.starts_with("db/"));
            let has_sql =
                ["sqlx::query", "query_as(", "query_scalar(", "raw_sql("].iter().any(|call| production(&text).contains(call));
            if has_sql && !allowed {
                places.push(format!("{crate_name}/{name}"));
            }
        }
    }
    // One statement each, beside the only function that needs it.
    assert_eq!(places, ["platform/audit/mod.rs", "platform/vault.rs"]);
}

#[test]
fn crates_depend_on_what_the_plan_allows() {
    for (crate_name, forbidden) in FORBIDDEN {
        let manifest = fs::read_to_string(root().join("server").join(crate_name).join("Cargo.toml")).expect("a manifest");
        let dependencies =
            manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("dependencies");
        let names: Vec<_> =
            dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).collect();
        assert!(names.len() >= 5, "{crate_name}: {names:?}");
        for name in *forbidden {
            assert!(!names.contains(name), "{crate_name} depends on {name}");
        }
    }
}

/// Packages of the lock file with their versions.
fn locked() -> BTreeMap<String, Vec<Vec<u64>>> {
    let mut packages: BTreeMap<String, Vec<Vec<u64>>> = BTreeMap::new();
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \""))?.strip_suffix('"'));
        if let (Some(name), Some(found)) = (value("name"), value("version")) {
            packages.entry(name.to_owned()).or_default().push(version(found));
        }
    }
    packages
}

fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[test]
fn locked_packages_are_recent_enough_and_banned_ones_absent() {
    let packages = locked();
    assert!(packages.len() > 100);
    let policy = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    for (name, oldest) in OLDEST {
        for found in packages.get(*name).into_iter().flatten() {
            assert!(*found >= version(oldest), "{name} {found:?} is older than {oldest}");
        }
        let rule = format!("{name}@<{}", oldest.trim_end_matches(".0"));
        assert!(policy.contains(&rule), "deny.toml does not say {rule}");
    }
    for name in BANNED {
        assert!(!packages.contains_key(*name), "{name}");
    }
    assert!(policy.contains("yanked = \"deny\""));
}

/// The string literals that are given to `query`, `query_as` and `query_scalar`.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in ["query(", "query_as(", "query_scalar("] {
        for (at, _) in text.match_indices(call) {
            let rest = text[at + call.len()..].trim_start();
            let Some(literal) = rest.strip_prefix('"') else { continue };
            let mut statement = String::new();
            let mut escaped = false;
            for c in literal.chars() {
                match c {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => break,
                    c => {
                        statement.push(c);
                        escaped = false;
                    }
                }
            }
            found.push(statement);
        }
    }
    found
}

#[tokio::test]
async fn every_statement_in_the_sources_fits_the_schema() {
    let database = shared().database(Kind::Migrated).await;
    let mut connection = database.superuser().await;
    let mut prepared = 0;
    let mut wrong = Vec::new();
    for (name, text) in sources(&root().join("server/platform/src")) {
        for statement in statements(production(&text)) {
            prepared += 1;
            if let Err(error) = connection.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await {
                wrong.push(format!("{name}: {error}: {statement}"));
            }
        }
    }
    assert!(prepared > 50, "{prepared} statements were found: the test is blind");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(connection.prepare(AssertSqlSafe("SELECT no_such_column FROM app.agents".to_owned()).into_sql_str()).await.is_err());
}

#[test]
fn templates_never_switch_escaping_off() {
    let mut folders = vec![root().join("templates")];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a template");
            assert!(!text.contains("|safe") && !text.contains("| safe") && !text.contains("escape("), "{}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
