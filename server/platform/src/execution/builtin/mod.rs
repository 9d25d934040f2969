//! The tools we bring along: small, safe, without any outside effect. One file each.

mod echo;
mod hash;
mod json_query;
mod time;
mod uuid;

use serde_json::{Map, Value};

use super::Run;
use crate::{catalog::Builtin, clock::Clock};

pub(super) fn run(name: Builtin, clock: &dyn Clock, arguments: &Map<String, Value>) -> Run {
    match name {
        Builtin::Echo => echo::run(arguments),
        Builtin::Time => time::run(clock, arguments),
        Builtin::JsonQuery => json_query::run(arguments),
        Builtin::Hash => hash::run(arguments),
        Builtin::Uuid => uuid::run(arguments),
    }
}
