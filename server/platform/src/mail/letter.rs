//! Every letter as an enum. The words are the web crate's, which renders them.

use crate::actor::Role;

/// What is written to somebody. Holds the secrets of its links: sealed while it waits, and never printed.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum Letter {
    /// Answers a sign-up: opens the account.
    ConfirmEmail {
        /// Secret of the link.
        token: String,
        /// The organisation that comes into being.
        organisation: Option<String>,
        /// Secret of the invitation to go on with.
        invitation: Option<String>,
        /// For how long the link works.
        minutes: u32,
    },
    /// Answers a sign-up with an address that has an account.
    AlreadyRegistered,
    /// Sets a new password.
    ResetPassword {
        /// Secret of the link.
        token: String,
        /// For how long it works.
        minutes: u32,
    },
    /// Asks somebody to join.
    Invitation {
        /// Secret of the link.
        token: String,
        /// Name of the organisation.
        organisation: String,
        /// Address of who invites.
        invited_by: String,
        /// As what.
        role: Role,
        /// For how long the link works.
        days: u32,
    },
}

impl Letter {
    /// Name of its kind, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfirmEmail { .. } => "confirm_email",
            Self::AlreadyRegistered => "already_registered",
            Self::ResetPassword { .. } => "reset_password",
            Self::Invitation { .. } => "invitation",
        }
    }
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({})", self.kind())
    }
}

/// A letter in words.
#[derive(Clone)]
pub struct Content {
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}
