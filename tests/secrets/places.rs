//! All places that an installation writes to.

use std::{collections::BTreeSet, fs, path::Path};

use futures_util::TryStreamExt as _;
use redis::{AsyncCommands as _, Value};
use sqlx::PgConnection;

use crate::support::{TestApp, Visitor, shared};

/// A place, and what is there.
pub(super) type Place = (String, Vec<u8>);

/// All tables of all schemas that are not Postgres' own, as `COPY` writes them.
pub(super) async fn tables(sql: &mut PgConnection) -> Vec<Place> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1",
    )
    .fetch_all(&mut *sql)
    .await
    .expect("tables");
    let mut places = Vec::new();
    for name in names {
        let rows = sql.copy_out_raw(&format!("COPY {name} TO STDOUT")).await.expect("a copy");
        let rows: Vec<_> = rows.try_collect().await.expect("rows");
        places.push((format!("table {name}"), rows.concat()));
    }
    places
}

/// All keys of that prefix in Redis with what they hold.
pub(super) async fn redis(app: &TestApp) -> Vec<Place> {
    let client = redis::Client::open(shared().redis.as_str()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("redis");
    let pattern = format!("{}*", app.settings()["TRUNKLINE_REDIS_PREFIX"]);
    let keys: Vec<Vec<u8>> = connection.keys(pattern).await.expect("keys");
    let mut places = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("a type");
        let (read, range): (_, &[&str]) = match kind.as_str() {
            "string" => ("GET", &[]),
            "hash" => ("HGETALL", &[]),
            "set" => ("SMEMBERS", &[]),
            "list" => ("LRANGE", &["0", "-1"]),
            "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
            "stream" => ("XRANGE", &["-", "+"]),
            // Ended meanwhile.
            "none" => continue,
            other => panic!("nobody looks into a {other}"),
        };
        let held: Value = redis::cmd(read).arg(&key).arg(range).query_async(&mut connection).await.expect("a value");
        let mut all = key.clone();
        append(&held, &mut all);
        places.push((format!("redis {}", String::from_utf8_lossy(&key)), all));
    }
    places
}

fn append(value: &Value, to: &mut Vec<u8>) {
    to.push(b'\n');
    match value {
        Value::BulkString(bytes) => to.extend_from_slice(bytes),
        Value::SimpleString(text) => to.extend_from_slice(text.as_bytes()),
        Value::Array(all) | Value::Set(all) => all.iter().for_each(|one| append(one, to)),
        Value::Map(all) => all.iter().for_each(|(key, value)| {
            append(key, to);
            append(value, to);
        }),
        other => to.extend_from_slice(format!("{other:?}").as_bytes()),
    }
}

/// All files below that folder.
pub(super) fn files(what: &str, folder: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            places.extend(files(what, &path));
        } else if let Ok(bytes) = fs::read(&path) {
            // One that was removed meanwhile holds nothing.
            places.push((format!("{what} {}", path.display()), bytes));
        }
    }
    places
}

/// Every page that a member reaches by following links, as they see it.
pub(super) async fn pages(member: &Visitor, most: usize) -> Vec<Place> {
    let (mut waiting, mut seen, mut places) = (vec!["/t/acme".to_owned(), "/account".to_owned()], BTreeSet::new(), Vec::new());
    while let Some(path) = waiting.pop() {
        if places.len() >= most || !seen.insert(path.clone()) {
            continue;
        }
        let page = member.get(&path).await;
        for link in page.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let link = link.split('#').next().unwrap_or_default().replace("&amp;", "&");
            if link.starts_with("/t/acme") || link.starts_with("/account") {
                waiting.insert(0, link);
            }
        }
        places.push((format!("page {path}"), page.body.into_bytes()));
    }
    places
}
