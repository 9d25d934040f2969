//! SQL of accounts. Global tables (users, sessions, mailed links) by unguessable digest or by address; the rest inside its tenant.

mod attempt;
mod email_change;
mod grant;
mod identity;
mod invitation;
mod membership;
mod passkey;
mod reset;
mod session;
mod signup;
mod sso;
mod tenant;
mod totp;
mod user;

use chrono::{DateTime, Utc};

pub(super) use attempt::*;
pub(super) use email_change::*;
pub(super) use grant::*;
pub(super) use identity::*;
pub(super) use invitation::*;
pub(super) use membership::*;
pub(super) use passkey::*;
pub(super) use reset::*;
pub(super) use session::*;
pub(super) use signup::*;
pub(super) use sso::*;
pub(super) use tenant::*;
pub(super) use totp::*;
pub(super) use user::*;

use crate::{
    actor::Role,
    error::{Error, Result},
};

type Time = DateTime<Utc>;

fn role(text: &str) -> Result<Role> {
    text.parse().map_err(Error::internal)
}
