//! Where things are kept: Postgres, Redis, and the keys that secrets are sealed with.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use trunkline_platform::{
    db, redis,
    secret::{MasterKey, Plaintext},
};
use url::Url;

use super::reader::Reader;

pub(super) fn database(reader: &mut Reader) -> Option<db::Settings> {
    let url = reader.required("database.url", database_url);
    let max_connections = reader.small("database.max_connections", 2..=1000);
    let acquire_timeout_ms = reader.number("database.acquire_timeout_ms", 1..=60_000);
    let statement_timeout_ms = reader.number("database.statement_timeout_ms", 1..=600_000);
    Some(db::Settings {
        url: url?,
        max_connections: max_connections?,
        acquire_timeout_ms: acquire_timeout_ms?,
        statement_timeout_ms: statement_timeout_ms?,
    })
}

pub(super) fn database_url(text: &str) -> Result<Plaintext, String> {
    secret_url(text, &["postgres", "postgresql"], "postgres://trunkline_app:password@host/database")
}

pub(super) fn redis(reader: &mut Reader) -> Option<redis::Settings> {
    let url = reader.required("redis.url", redis_url);
    let prefix = reader.required("redis.prefix", |text| {
        let plain = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || ":_-.".contains(c));
        plain.then(|| text.to_owned()).ok_or_else(|| "expected up to 64 letters, digits, `:`, `_`, `-` and `.`".to_owned())
    });
    let timeout_ms = reader.number("redis.timeout_ms", 1..=10_000);
    let decision_ms = reader.number("redis.decision_ms", 1..=10_000);
    Some(redis::Settings { url: url?, prefix: prefix?, timeout_ms: timeout_ms?, decision_ms: decision_ms? })
}

/// One address, or several of one cluster.
fn redis_url(text: &str) -> Result<Plaintext, String> {
    let all = redis::addresses(text);
    for one in &all {
        let example = "redis://:password@host:6379/0; of a cluster several, with commas between them";
        let url = secret_url(one, &["redis", "rediss"], example)?;
        if url.reveal().parse::<Url>().is_ok_and(|url| url.host_str().is_none_or(str::is_empty)) {
            return Err(format!("expected an address such as {example}"));
        }
        let database = url.reveal().parse::<Url>().map(|url| url.path().trim_matches('/').to_owned()).unwrap_or_default();
        if all.len() > 1 && !matches!(database.as_str(), "" | "0") {
            return Err(format!("expected database 0 in each address of a cluster, which has no other; found {database}"));
        }
    }
    Ok(Plaintext::new(all.join(",")))
}

pub(super) fn secret_url(text: &str, schemes: &[&str], example: &str) -> Result<Plaintext, String> {
    match text.parse::<Url>() {
        Ok(url) if schemes.contains(&url.scheme()) => Ok(Plaintext::new(text.to_owned())),
        _ => Err(format!("expected an address such as {example}")),
    }
}

pub(super) fn master_key(text: &str) -> Result<MasterKey, String> {
    const RIGHT: &str = "expected 32 random bytes in base64; make some with: openssl rand -base64 32";
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| format!("is not base64; {RIGHT}"))?;
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| format!("has {} bytes; {RIGHT}", bytes.len()))?;
    // Sixteen different values among 32 random bytes fail less than once in 10^9 keys; what people type or count up does.
    let mut values = key;
    values.sort_unstable();
    let different = 1 + values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let counted_up = key.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    let typed = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if different < 16 || counted_up || typed {
        return Err(format!("looks like a sample, not like random bytes; {RIGHT}"));
    }
    Ok(MasterKey::new(key))
}

pub(super) fn master_keys(text: &str) -> Result<Vec<MasterKey>, String> {
    text.split(',').map(|key| master_key(key.trim())).collect()
}
