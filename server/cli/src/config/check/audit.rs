//! The record of calls, and what becomes of it.

use std::path::PathBuf;

use trunkline_platform::{chain, record};
use url::Url;

use super::reader::Reader;

pub(super) fn audit(reader: &mut Reader) -> Option<record::Settings> {
    let dir = reader.required("audit.spool_dir", |path| match path {
        "" => Err("expected a folder".to_owned()),
        _ => Ok(PathBuf::from(path)),
    });
    let max_mib = reader.number("audit.spool_max_mib", 1..=1_048_576);
    let reads = reader.required("audit.durability", durability);
    let effects = reader.required("audit.effect_durability", durability);
    Some(record::Settings { dir: dir?, max_bytes: max_mib? << 20, durability: reads?, effects: effects? })
}

pub(super) fn checkpoints(reader: &mut Reader) -> Option<chain::Settings> {
    let dir = reader.optional("audit.checkpoint_dir", |path| Ok(PathBuf::from(path)));
    let webhook = reader.optional("audit.checkpoint_webhook", |text| match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.host().is_some() => Ok(url),
        _ => Err("expected an address such as https://keeper.example/checkpoints".to_owned()),
    });
    let months = reader.optional("audit.retention_months", |text| {
        text.parse()
            .ok()
            .filter(|months| (1..=1_200).contains(months))
            .ok_or_else(|| "expected a whole number from 1 to 1200".to_owned())
    });
    let settings = chain::Settings { dir: dir?.value(), webhook: webhook?.value(), retention_months: months?.value() };
    if settings.retention_months.is_some() && !settings.is_delivered() {
        let why = "needs audit.checkpoint_dir or audit.checkpoint_webhook: nothing is dropped before its proof is outside";
        return reader.refuse("audit.retention_months", why);
    }
    Some(settings)
}

fn durability(text: &str) -> Result<record::Durability, String> {
    match text {
        "process" => Ok(record::Durability::Process),
        "disk" => Ok(record::Durability::Disk),
        _ => Err("expected process or disk".to_owned()),
    }
}
