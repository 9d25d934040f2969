//! What runs: functions, and the reading of descriptions.

use std::path::PathBuf;

use trunkline_platform::{
    catalog::api::{Manifest, supply},
    functions,
};

use super::reader::Reader;
use crate::config::manifest;

pub(super) fn functions(reader: &mut Reader) -> Option<functions::Settings> {
    let processes = reader.number("functions.processes", 0..=256);
    let cache = reader.required("functions.cache_dir", |path| match path {
        "" => Err("expected a folder".to_owned()),
        _ => Ok(PathBuf::from(path)),
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processes = match usize::try_from(processes?).ok()? {
        0 => (cores * 2).max(4),
        some => some,
    };
    Some(functions::Settings { program: functions::this_program(), cache: cache?, processes })
}

pub(super) fn supply(reader: &mut Reader) -> Option<supply::Settings> {
    let minutes = reader.number("supply.read_minutes", 5..=1_440);
    let manifest = reader.optional("supply.manifest", |path| manifest::read(std::path::Path::new(path)));
    let every = std::time::Duration::from_secs(minutes? * 60);
    Some(supply::Settings { every, manifest: manifest?.value().unwrap_or_else(Manifest::default) })
}
