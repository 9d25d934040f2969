//! One error for every verb, about what the caller can do next. The public text comes from the kind; the source is for the log only.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, in the caller's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such thing for this caller: missing, or another tenant's. The word names it, such as "agent".
    NotFound(&'static str),
    /// It exists already or changed meanwhile. The text says what to do.
    Conflict(String),
    /// Input that does not fit, field by field.
    Invalid(Vec<FieldError>),
    /// The actor's role does not allow it. The word names the permission.
    Denied(&'static str),
    /// The person has to do something first.
    First(Step),
    /// Too many attempts.
    Exhausted {
        /// How long to wait, in milliseconds.
        retry_after_ms: u64,
    },
    /// Something this needs is away, such as "database".
    Unavailable(&'static str),
    /// Our fault.
    Internal,
}

/// What a person has to do before something can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Prove again that they are there: what follows is about the account itself.
    Prove,
    /// Sign in as themselves: an organisation's identity provider speaks for that organisation only.
    SignIn,
    /// Sign on through the identity provider of the tenant with that slug.
    SignOn(String),
    /// Set up a second factor, because the tenant with that slug asks for one.
    SecondFactor(String),
}

/// One field of some input that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Name of the field as the caller wrote it.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A failure: its kind, and for the log what caused it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with nothing behind it.
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// One field that does not fit.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid(vec![FieldError { field: field.into(), message: message.into() }]))
    }

    /// No such thing, or not for this caller.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(ErrorKind::NotFound(what))
    }

    /// Exists already, or changed meanwhile.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict(message.into()))
    }

    /// A fault of ours or of something below us.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Internal, source: Some(source.into()) }
    }

    /// A dependency that is away.
    pub fn unavailable(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Unavailable(what), source: Some(source.into()) }
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::NotFound(what) => write!(f, "There is no such {what}."),
            ErrorKind::Conflict(message) => f.write_str(message),
            ErrorKind::Invalid(fields) => {
                for (i, field) in fields.iter().enumerate() {
                    write!(f, "{}{}: {}", if i == 0 { "" } else { "; " }, field.field, field.message)?;
                }
                Ok(())
            }
            ErrorKind::Denied(permission) => write!(f, "Your role does not allow this ({permission})."),
            ErrorKind::First(Step::Prove) => f.write_str("Confirm first that it is you."),
            ErrorKind::First(Step::SignIn) => f.write_str("Log in to your own account first."),
            ErrorKind::First(Step::SignOn(_)) => f.write_str("This organisation asks for its single sign-on."),
            ErrorKind::First(Step::SecondFactor(_)) => f.write_str("This organisation asks its members for a second factor."),
            ErrorKind::Exhausted { retry_after_ms } => {
                write!(f, "Too many attempts. Try again in {} s.", retry_after_ms.div_ceil(1000))
            }
            ErrorKind::Unavailable(what) => write!(f, "The {what} is not reachable at the moment."),
            ErrorKind::Internal => f.write_str("Something failed on our side."),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match fault(&error) {
            Fault::Server => Self::unavailable("database", error),
            Fault::Text => {
                let field =
                    FieldError { field: "text".to_owned(), message: "a character in it cannot be stored (U+0000)".to_owned() };
                Self { kind: ErrorKind::Invalid(vec![field]), source: Some(error.into()) }
            }
            Fault::Data | Fault::Ours => Self::internal(error),
        }
    }
}

impl Error {
    /// Did the database refuse the values themselves, so that trying again cannot help?
    pub(crate) fn is_about_data(&self) -> bool {
        let source = self.source.as_deref().and_then(|source| source.downcast_ref::<sqlx::Error>());
        source.is_some_and(|error| matches!(fault(error), Fault::Data | Fault::Text))
    }
}

/// Whose fault a failed statement is.
enum Fault {
    /// The server's, or the way to it: later it may work.
    Server,
    /// A text that Postgres cannot hold.
    Text,
    /// The values break a rule of the schema.
    Data,
    /// The statement is wrong.
    Ours,
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn fault(error: &sqlx::Error) -> Fault {
    let code = match error {
        sqlx::Error::Database(database) => database.code(),
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => return Fault::Server,
        _ => return Fault::Ours,
    };
    match code.as_deref().unwrap_or_default() {
        // A byte sequence or a JSON escape that a text cannot hold.
        "22021" | "22P05" => Fault::Text,
        // Read-only after a failover; a lock that others hold.
        "25006" | "55P03" => Fault::Server,
        code => match code.get(..2) {
            // Connection, rollback by conflict, resources, operator, system.
            Some("08" | "40" | "53" | "57" | "58") => Fault::Server,
            Some("22" | "23") => Fault::Data,
            _ => Fault::Ours,
        },
    }
}

/// True if the statement failed because a row of that unique constraint exists already.
pub(crate) fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
