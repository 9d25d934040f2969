//! Every letter as an enum. The words are the web crate's, which renders them.

use crate::{
    actor::Role,
    ids::{AgentId, ApiId, SourceId, ToolId},
};

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
    /// Confirms the new address of an account.
    ConfirmNewEmail {
        /// Secret of the link.
        token: String,
        /// For how long it works.
        minutes: u32,
    },
    /// Tells of a change of the account that its owner should know of, if it was not them.
    AccountChanged {
        /// What changed.
        change: AccountChange,
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
    /// Tells owners how far a budget has come.
    Budget(Box<BudgetLetter>),
    /// Tells whoever may mend it that a tool or a source fails, or is well again.
    Probe(Box<ProbeLetter>),
    /// Tells whoever may manage tools what is the matter with the description of an API.
    Description(Box<DescriptionLetter>),
    /// Tells that something is out of the ordinary, or is not any more.
    Alert(Box<AlertLetter>),
}

/// An alert, when it begins and when it is over.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct AlertLetter {
    /// Does it begin?
    pub is_firing: bool,
    /// Name of the organisation.
    pub organisation: String,
    /// The same in URLs.
    pub slug: String,
    /// What it is about and in which way, as in a headline.
    pub headline: String,
    /// The same with its numbers, in a sentence.
    pub message: String,
}

/// That a link leads to another description than the pinned one, or cannot be read.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct DescriptionLetter {
    /// Name of the organisation.
    pub organisation: String,
    /// The same in URLs.
    pub slug: String,
    /// The API that it is about.
    pub api: ApiId,
    /// What that is called.
    pub name: String,
    /// Where its description is.
    pub link: String,
    /// The digest that is pinned.
    pub pinned: String,
    /// The digest that was found; empty: nothing could be read.
    pub found: String,
    /// Operations that are new, changed and gone.
    pub operations: [usize; 3],
    /// Why nothing could be read; empty: another document was.
    pub failure: String,
}

/// What became of a tool or a source that is tried again and again.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct ProbeLetter {
    /// Does it fail from now on, or is it well again?
    pub is_failing: bool,
    /// Name of the organisation.
    pub organisation: String,
    /// The same in URLs.
    pub slug: String,
    /// The tool that it is about.
    pub tool: Option<ToolId>,
    /// The source that it is about.
    pub source: Option<SourceId>,
    /// What that is called.
    pub name: String,
    /// The check that failed.
    pub check: String,
    /// What was wrong.
    pub problem: String,
    /// Is it kept from callers while it fails?
    pub is_hidden: bool,
}

/// How far a budget has come.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct BudgetLetter {
    /// Is all of it spent, or only the share at which owners are told?
    pub is_spent: bool,
    /// Name of the organisation.
    pub organisation: String,
    /// The same in URLs.
    pub slug: String,
    /// The agent that it is about.
    pub agent: Option<AgentId>,
    /// The tool that it is about.
    pub tool: Option<ToolId>,
    /// What that is called.
    pub name: String,
    /// `day` or `month`.
    pub period: String,
    /// So much, in micro-units.
    pub amount_micro: i64,
    /// Of that currency.
    pub currency: String,
    /// At which share owners are told.
    pub warn_percent: Option<i16>,
    /// Are calls refused that it has nothing left for?
    pub blocks: bool,
}

/// A change of somebody's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// An authenticator app was set up.
    TotpAdded,
    /// It was switched off.
    TotpRemoved,
    /// A passkey was added.
    PasskeyAdded,
    /// A passkey was removed.
    PasskeyRemoved,
    /// New recovery codes were made; the old ones work no more.
    RecoveryCodesMade,
    /// A recovery code was used to sign in.
    RecoveryCodeUsed,
    /// The password was changed.
    PasswordChanged,
    /// Somebody asked for another address.
    EmailChangeAsked,
    /// The address was changed.
    EmailChanged,
    /// The account was linked to an identity provider.
    IdentityLinked,
    /// The account was deleted.
    Deleted,
}

impl AccountChange {
    /// As the audit log names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TotpAdded => "account.totp_added",
            Self::TotpRemoved => "account.totp_removed",
            Self::PasskeyAdded => "account.passkey_added",
            Self::PasskeyRemoved => "account.passkey_removed",
            Self::RecoveryCodesMade => "account.recovery_codes_made",
            Self::RecoveryCodeUsed => "account.recovery_code_used",
            Self::PasswordChanged => "account.password_changed",
            Self::EmailChangeAsked => "account.email_change_asked",
            Self::EmailChanged => "account.email_changed",
            Self::IdentityLinked => "account.identity_linked",
            Self::Deleted => "account.deleted",
        }
    }
}

impl Letter {
    /// Name of its kind, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfirmEmail { .. } => "confirm_email",
            Self::AlreadyRegistered => "already_registered",
            Self::ResetPassword { .. } => "reset_password",
            Self::ConfirmNewEmail { .. } => "confirm_new_email",
            Self::AccountChanged { .. } => "account_changed",
            Self::Invitation { .. } => "invitation",
            Self::Budget(_) => "budget",
            Self::Probe(_) => "probe",
            Self::Description(_) => "description",
            Self::Alert(_) => "alert",
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
