//! SQL of accounts. Global tables (users, sessions, mailed links) by unguessable digest or by address; the rest inside its tenant.

mod invitation;
mod membership;
mod reset;
mod session;
mod signup;
mod tenant;
mod user;

use chrono::{DateTime, Utc};

pub(super) use invitation::*;
pub(super) use membership::*;
pub(super) use reset::*;
pub(super) use session::*;
pub(super) use signup::*;
pub(super) use tenant::*;
pub(super) use user::*;

use crate::{
    actor::Role,
    error::{Error, Result},
};

type Time = DateTime<Utc>;

fn role(text: &str) -> Result<Role> {
    text.parse().map_err(Error::internal)
}
