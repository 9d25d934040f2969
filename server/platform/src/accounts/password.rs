//! Passwords: what may be one, and argon2id on the blocking pool, a few at a time.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{EmailAddress, Settings};
use crate::{
    error::{Error, Result},
    random,
    secret::Plaintext,
};

/// Length bounds, in characters.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// What stands in place of a hash where there is no password.
pub(super) const NO_PASSWORD: &str = "!";
/// argon2id with the parameters that OWASP names for 19 MiB: KiB, passes, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// Refuses what nobody should have as a password; the error belongs to the field `password`. Only length counts: rules about kinds of
/// characters make passwords worse.
pub(super) fn check_rules(password: &Plaintext, email: Option<&EmailAddress>) -> Result<()> {
    let length = password.reveal().chars().count();
    if length < SHORTEST {
        return Err(Error::invalid("password", "Use at least 12 characters; a few words are good."));
    }
    if length > LONGEST {
        return Err(Error::invalid("password", "Use at most 256 characters."));
    }
    if email.is_some_and(|email| password.reveal().eq_ignore_ascii_case(email.as_str())) {
        return Err(Error::invalid("password", "Use something else than your e-mail address."));
    }
    Ok(())
}

/// Hashes and checks passwords, a bounded number at once and in wait. Clones share the bounds.
#[derive(Clone)]
pub(crate) struct Passwords {
    /// Running and waiting together.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(settings: &Settings) -> Self {
        let running = settings.password_concurrency.max(1) as usize;
        let admitted = running + settings.password_queue as usize;
        Self { admitted: Arc::new(Semaphore::new(admitted)), running: Arc::new(Semaphore::new(running)) }
    }

    /// The hash to store.
    pub(super) async fn hash(&self, password: Plaintext) -> Result<String> {
        self.place()?.run(move || hash(&password)).await?
    }

    /// Is it the password of that hash? See `Place::verify`.
    pub(super) async fn verify(&self, password: Plaintext, stored: Option<String>) -> Result<bool> {
        self.place()?.verify(password, stored).await
    }

    /// A place among those who wait, or a refusal. Taken before anything else is done for a stranger: a flood costs neither Redis nor Postgres.
    pub(super) fn place(&self) -> Result<Place> {
        let full = |_| Error::unavailable("sign-in", "too many passwords wait to be checked");
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(full)?;
        Ok(Place { admitted, running: Arc::clone(&self.running) })
    }
}

/// A place among those whose passwords are checked.
pub(super) struct Place {
    admitted: OwnedSemaphorePermit,
    running: Arc<Semaphore>,
}

impl Place {
    /// Is it the password of that hash? Takes as long when there is no hash, because there is no such user.
    pub(super) async fn verify(self, password: Plaintext, stored: Option<String>) -> Result<bool> {
        self.run(move || {
            let is_known = stored.is_some();
            let stored = stored.unwrap_or_else(decoy);
            let stored = PasswordHash::new(&stored).map_err(Error::internal)?;
            let is_right = hasher()?.verify_password(password.reveal().as_bytes(), &stored).is_ok();
            Ok(is_known && is_right)
        })
        .await?
    }

    async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let running = self.running.acquire_owned().await.map_err(Error::internal)?;
        // The permits go with the work: a caller that goes away does not make room for another while it still runs.
        let work = move || {
            let _permits = (self.admitted, running);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

fn hasher() -> Result<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// What looks like the hash of a password and is that of none. Hashing instead of checking would take measurably longer.
fn decoy() -> String {
    let (memory, passes, lanes) = COST;
    let (salt, output) = (BASE64.encode(random::bytes::<16>()), BASE64.encode(random::bytes::<32>()));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}")
}

fn hash(password: &Plaintext) -> Result<String> {
    let hash = hasher()?.hash_password(password.reveal().as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Plaintext {
        Plaintext::new(text.to_owned())
    }

    #[test]
    fn rules_are_about_length_and_the_address_only() {
        let email = EmailAddress::parse("somebody@example.com").unwrap();
        assert!(check_rules(&secret("aaaaaaaaaaaa"), Some(&email)).is_ok());
        assert!(check_rules(&secret(&"ü".repeat(256)), Some(&email)).is_ok());
        assert!(check_rules(&secret("elevenchars"), Some(&email)).is_err());
        assert!(check_rules(&secret(&"a".repeat(257)), Some(&email)).is_err());
        assert!(check_rules(&secret("Somebody@Example.com"), Some(&email)).is_err());
    }

    #[tokio::test]
    async fn right_password_verifies_wrong_and_missing_do_not() {
        let passwords = Passwords::new(&Settings::default());
        let stored = passwords.hash(secret("correct horse battery")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify(secret("correct horse battery"), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(secret("correct horse batterz"), Some(stored)).await.unwrap());
        assert!(PasswordHash::new(&decoy()).is_ok());
        assert!(!passwords.verify(secret("correct horse battery"), None).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_the_queue_it_is_refused_at_once() {
        let passwords = Passwords::new(&Settings { password_concurrency: 1, password_queue: 1, ..Settings::default() });
        let answers =
            futures_util::future::join_all((0..4).map(|_| passwords.verify(secret("correct horse battery"), None))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    }
}
