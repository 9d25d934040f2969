//! From written values to meaning: types, ranges, and the rules across settings. Collects problems instead of stopping at the first.

mod audit;
mod limits;
mod listeners;
mod people;
mod reader;
mod stores;
mod told;
mod work;

use std::net::SocketAddr;

use trunkline_platform::{egress, network::Network, secret::MasterKey};

use self::{
    audit::{audit, checkpoints},
    limits::quota,
    listeners::{NETWORKS, http, listening, public_url},
    people::{accounts, mail, sso},
    reader::Reader,
    stores::{database, database_url, master_key, master_keys, redis},
    told::{log, telemetry},
    work::{functions, supply},
};
use super::{Config, Problem, Problems, Shutdown, load::Gathered, show};

/// Gives the written values their meaning.
pub(super) fn interpret(gathered: Gathered) -> Result<Config, Problems> {
    let shown = show::rows(&gathered.settings);
    let mut reader = Reader { settings: gathered.settings, problems: gathered.problems };
    let config = read(&mut reader, shown);
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(Problems(reader.problems)),
    }
}

/// All sections are read before the first missing one ends it, so that every problem is found.
fn read(reader: &mut Reader, shown: Vec<show::Shown>) -> Option<Config> {
    let http = http(reader);
    let public_url = public_url(reader);
    let region = reader.optional("region", region);
    let ops_listen = reader.parsed::<SocketAddr>("ops.listen", "an address and a port, such as 127.0.0.1:9464");
    let database = database(reader);
    let database_admin_url = reader.optional("database.admin_url", database_url);
    let redis = redis(reader);
    let master_key = reader.required("secrets.key", master_key);
    let other_keys = reader.optional("secrets.other_keys", master_keys);
    let mail = mail(reader);
    let accounts = accounts(reader);
    let sso = sso(reader);
    let quota = quota(reader);
    let audit = audit(reader);
    let checkpoints = checkpoints(reader);
    let egress_allow = reader.list::<Network>("egress.allow", NETWORKS);
    let egress_allow_http = reader.parsed("egress.allow_http", "true or false");
    let supply = supply(reader);
    let functions = functions(reader);
    let telemetry = telemetry(reader);
    let log = log(reader);
    let shutdown = shutdown(reader);
    listening(reader, http.as_ref(), public_url.as_ref());
    Some(Config {
        http: http?,
        public_url: public_url?.value(),
        region: region?.value(),
        ops_listen: ops_listen?,
        database: database?,
        database_admin_url: database_admin_url?.value(),
        redis: redis?,
        master_key: other_keys?.value().into_iter().flatten().fold(master_key?, MasterKey::knowing),
        mail: mail?,
        accounts: accounts?,
        sso: sso?.value(),
        quota: quota?,
        audit: audit?,
        checkpoints: checkpoints?,
        egress: egress::Settings { allow: egress_allow?, allow_http: egress_allow_http? },
        supply: supply?,
        functions: functions?,
        telemetry: telemetry?.value(),
        log: log?,
        shutdown: shutdown?,
        shown,
    })
}

fn region(text: &str) -> Result<String, String> {
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !text.is_empty() && text.len() <= 40 && is_word(text) {
        return Ok(text.to_owned());
    }
    Err("expected a word of at most 40 letters, digits, dots, hyphens and underscores, such as eu-central".to_owned())
}

fn shutdown(reader: &mut Reader) -> Option<Shutdown> {
    let delay_s = reader.number("shutdown.delay_s", 0..=300);
    let grace_s = reader.number("shutdown.grace_s", 0..=3600);
    Some(Shutdown { delay_s: delay_s?, grace_s: grace_s? })
}

pub(super) fn serving(config: &Config) -> Result<(), Problems> {
    if config.mail.smtp_url.is_some() {
        return Ok(());
    }
    let message = "is missing; expected a mail server such as smtps://user:password@smtp.example:465 (`trunkline dev` captures mail instead)";
    Err(Problems(vec![Problem { key: "mail.smtp_url".into(), message: message.into() }]))
}
