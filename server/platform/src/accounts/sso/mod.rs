//! Single sign-on by OpenID Connect: one provider for the whole installation, by its settings, and one of each tenant, by its own.
//!
//! Who runs a tenant's provider can make it say anything. So what it begins is good for that tenant only, and nothing but issuer and
//! subject names a person from the second time on.

mod connection;
mod provider;
mod sign_on;

use url::Url;

pub(crate) use connection::reseal;
pub use connection::{
    Connection, GroupRole, NewConnection, SignInRules, change_rules, find_connection, remove_connection, set_connection,
    sign_in_rules,
};
pub use sign_on::{Answer, Refusal, SignOn, Through, begin_sign_on, finish_sign_on};

use super::{Session, store};
use crate::secret::Plaintext;

/// The provider of the whole installation: trusted with every account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its issuer.
    pub issuer: Url,
    /// Who we are there.
    pub client_id: String,
    /// Proves it.
    pub client_secret: Plaintext,
    /// What people call it, on the log-in page.
    pub name: String,
    /// Domains of the addresses that it may vouch for; empty: any.
    pub domains: Vec<String>,
}

/// Where providers send people back to.
pub const CALLBACK: &str = "/login/sso/callback";
