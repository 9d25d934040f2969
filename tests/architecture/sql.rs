//! Where SQL lives, and that every text of it fits the migrated schema.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

use super::{platform_sources, sources, without_comments, word};
use crate::support::{Kind, shared};

/// Files with SQL beside `store.rs` and `db/`: one or two statements each, of modules that are nothing but their SQL.
const SMALL_STORES: &[&str] = &["audit/mod.rs"];
/// Texts put together at run time, out of constants: these places are known, and their tests run them.
const BUILT_AT_RUN_TIME: &[(&str, usize)] =
    &[("db/catalog_checks.rs", 1), ("usage/store/costs.rs", 1), ("usage/store/mod.rs", 2), ("usage/store/totals.rs", 7)];

#[test]
fn sql_stays_in_the_stores() {
    let fault = [("agents/mod.rs".to_owned(), "sqlx::query(\"SELECT 1\").execute(tx.connection())".to_owned())];
    assert_eq!(sql_outside_stores(&fault), ["agents/mod.rs: sqlx::query"]);
    let imported = [("jobs/mod.rs".to_owned(), "use sqlx::{PgConnection, query_as};".to_owned())];
    assert_eq!(sql_outside_stores(&imported), ["jobs/mod.rs: query_as"]);
    for name in ["protocol", "web", "cli"] {
        assert_eq!(sql_outside_stores(&sources(&format!("server/{name}/src"), "rs")), [""; 0], "{name}");
    }
    assert_eq!(sql_outside_stores(&platform_sources()), [""; 0]);
}

#[tokio::test]
async fn every_text_of_sql_fits_the_migrated_schema() {
    let database = shared().database(Kind::Migrated).await;
    let mut connection = database.application().await;
    let (mut texts, mut built) = (Vec::new(), BTreeMap::new());
    for (path, source) in platform_sources() {
        for query in queries(&source) {
            match query {
                Query::Text(text) => texts.push((path.clone(), text)),
                Query::Built => *built.entry(path.clone()).or_default() += 1,
            }
        }
    }
    let known = BUILT_AT_RUN_TIME.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
    assert_eq!(built, known, "texts built at run time: a new one needs a place in the table and a test that runs it");
    assert!(texts.len() > 50, "only {} texts were found", texts.len());

    let mut misfits = Vec::new();
    let fault = ("fault".to_owned(), "SELECT nothing FROM app.agents".to_owned());
    for (path, text) in texts.into_iter().chain([fault]) {
        if let Err(error) = connection.prepare(AssertSqlSafe(text.clone()).into_sql_str()).await {
            misfits.push(format!("{path}: {error}: {text}"));
        }
    }
    assert_eq!(misfits.len(), 1, "{misfits:#?}");
    assert!(misfits[0].starts_with("fault") && misfits[0].contains("\"nothing\" does not exist"), "{misfits:?}");
}

#[test]
fn texts_of_sql_are_read_as_the_compiler_reads_them() {
    let source = r##"
        let one = sqlx::query_scalar::<_, Vec<(i64, u8)>>(
            "SELECT \"a\" \
             FROM b",
        );
        sqlx::query(r#"SELECT '"'"#).bind(1);
        // sqlx::query("SELECT comment")
        sqlx::query_as(AssertSqlSafe(sql)); sqlx::query(TEXT);
    "##;
    let texts = ["SELECT \"a\" FROM b", "SELECT '\"'"].map(|text| Query::Text(text.to_owned()));
    assert_eq!(queries(source), [&texts[..], &[Query::Built, Query::Built]].concat());
}

fn sql_outside_stores(sources: &[(String, String)]) -> Vec<String> {
    let is_store = |path: &str| {
        path.ends_with("/store.rs") || path.contains("/store/") || word(path) == "db" || SMALL_STORES.contains(&path)
    };
    let mut complaints = Vec::new();
    for (path, source) in sources.iter().filter(|(path, _)| !is_store(path)) {
        let source = without_comments(source);
        let is_whole = |word: &str| source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word);
        let words = ["query_as", "query_scalar", "raw_sql", "QueryBuilder", "AssertSqlSafe"];
        let word = words.into_iter().find(|word| is_whole(word)).or(source.contains("sqlx::query").then_some("sqlx::query"));
        complaints.extend(word.map(|word| format!("{path}: {word}")));
    }
    complaints
}

/// What a call of `sqlx::query…` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Query {
    /// A text.
    Text(String),
    /// Something else.
    Built,
}

fn queries(source: &str) -> Vec<Query> {
    let source = without_comments(source);
    let mut found = Vec::new();
    for (at, call) in source.match_indices("sqlx::query") {
        let mut rest = source[at + call.len()..].trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        if rest.starts_with("::<") {
            let mut depth = 0;
            let end = rest.find(|c| {
                depth += i32::from(c == '<') - i32::from(c == '>');
                c == '>' && depth == 0
            });
            rest = &rest[end.expect("the end of the types") + 1..];
        }
        let argument = rest.strip_prefix('(').unwrap_or_else(|| panic!("not a call of a function: {rest:.40}")).trim_start();
        found.push(literal(argument).map_or(Query::Built, Query::Text));
    }
    found
}

/// The string literal at the beginning of a text.
fn literal(text: &str) -> Option<String> {
    let hashes = |text: &str| text.len() - text.trim_start_matches('#').len();
    if let Some(raw) = text.strip_prefix('r').filter(|raw| raw.trim_start_matches('#').starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes(raw)));
        return raw.trim_start_matches('#')[1..].split_once(&end).map(|(text, _)| text.to_owned());
    }
    let (mut characters, mut value) = (text.strip_prefix('"')?.chars().peekable(), String::new());
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('"', _) => return Some(value),
            ('\\', Some('\n')) => while characters.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some('n')) => value.extend(characters.next().map(|_| '\n')),
            ('\\', _) => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    None
}
