//! Codes of an authenticator app (RFC 6238): HMAC-SHA-1, six digits, thirty seconds. Every app knows these and few know others.

use chrono::{DateTime, Utc};
use hmac::Mac as _;
use qrcodegen::{QrCode, QrCodeEcc};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;
use url::Url;
use zeroize::Zeroizing;

use super::{Session, account::tell, recovery, store};
use crate::{
    Platform,
    db::SystemTx,
    error::{Error, Result},
    ids::UserId,
    mail::AccountChange,
    quota::attempts::{self, Attempt},
    random,
    secret::{DataKey, Plaintext},
};

const STEP_S: i64 = 30;
/// Of 160 bits, as long as the digest.
const SECRET: usize = 20;

/// What an authenticator app is told.
#[derive(Debug)]
pub struct TotpSetup {
    /// The secret, in groups of four, for typing.
    pub text: Plaintext,
    /// The same as `otpauth://` URL.
    pub url: Plaintext,
    /// The URL as a QR code: the dark squares of each row.
    pub squares: Vec<Vec<bool>>,
}

/// A fresh secret, which counts from the first code on that is typed. Asked again, it is another one.
pub async fn begin_totp(platform: &Platform, session: &Session) -> Result<TotpSetup> {
    session.require_proof(platform)?;
    let secret = Zeroizing::new(random::bytes::<SECRET>());
    let key = DataKey::generate();
    let place = place(session.user);
    let (sealed, wrapped) = (key.seal(&place, &secret[..]), platform.master_key.wrap(&place, &key));
    let mut tx = platform.db.system().await?;
    let begun =
        store::upsert_totp(&mut tx, session.user, platform.master_key.id(), &wrapped, &sealed, platform.clock.now()).await?;
    if !begun {
        return Err(Error::conflict("An authenticator app is set up already. Switch it off first."));
    }
    tx.commit().await?;
    setup(&secret[..], &format!("Trunkline:{}", session.email.as_str()))
}

/// What was begun, once more: for the page that says that a code was wrong.
pub async fn totp_setup(platform: &Platform, session: &Session) -> Result<TotpSetup> {
    session.require_proof(platform)?;
    let mut tx = platform.db.system().await?;
    let row = store::lock_totp(&mut tx, session.user).await?;
    tx.commit().await?;
    let row = row.filter(|row| !row.is_confirmed).ok_or_else(|| Error::not_found("page"))?;
    setup(&open(platform, session.user, &row)?, &format!("Trunkline:{}", session.email.as_str()))
}

/// Counts from now on, if the code is right. The answer is the recovery codes, if there were none before: this once.
pub async fn confirm_totp(platform: &Platform, session: &Session, code: &str) -> Result<Vec<Plaintext>> {
    session.require_proof(platform)?;
    attempts::check(platform, Attempt::SecondToAccount, &session.user.to_string()).await?;
    let mut tx = platform.db.user(session.user).await?;
    if !take_totp(platform, &mut tx, session.user, code, true).await? {
        return Err(Error::invalid("code", "This is not the code of the moment. Does the clock of your phone go right?"));
    }
    let codes = recovery::first_codes(platform, &mut tx, session.user).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::TotpAdded).await?.commit().await?;
    Ok(codes)
}

/// Switches it off.
pub async fn remove_totp(platform: &Platform, session: &Session) -> Result<()> {
    session.require_proof(platform)?;
    let mut tx = platform.db.user(session.user).await?;
    if !store::delete_totp(&mut tx, session.user).await? {
        return Err(Error::not_found("authenticator"));
    }
    recovery::forget_if_useless(&mut tx, session.user).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::TotpRemoved).await?.commit().await
}

/// Uses up the time step of a code, if it is right. None is taken twice.
pub(super) async fn take_totp(platform: &Platform, tx: &mut SystemTx, user: UserId, code: &str, is_setup: bool) -> Result<bool> {
    let row = store::lock_totp(tx, user).await?;
    let Some(row) = row.filter(|row| row.is_confirmed != is_setup) else { return Ok(false) };
    let secret = open(platform, user, &row)?;
    let now = platform.clock.now();
    let Some(step) = matching_step(&secret, code, now).filter(|step| *step > row.last_step) else { return Ok(false) };
    store::update_totp_step(tx, user, step, now).await?;
    Ok(true)
}

fn place(user: UserId) -> String {
    format!("totp|{user}")
}

/// Wraps the keys of all secrets with the current key of the installation that another has wrapped, so many in one transaction; how many.
pub(crate) async fn rewrap(platform: &Platform, page: i64) -> Result<u64> {
    let master = &platform.master_key;
    let mut rewrapped = 0;
    loop {
        let mut tx = platform.db.system().await?;
        let rows = store::totp_wrapped_by_others(&mut tx, master.id(), page).await?;
        for (user, wrapped) in &rows {
            let key = master.unwrap_key(&place(*user), wrapped).map_err(Error::internal)?;
            store::update_totp_key(&mut tx, *user, master.id(), &master.wrap(&place(*user), &key)).await?;
            rewrapped += 1;
        }
        tx.commit().await?;
        if rows.is_empty() {
            return Ok(rewrapped);
        }
    }
}

/// How many keys of secrets each key of the installation has wrapped, by its id.
pub(crate) async fn wrapped_by(platform: &Platform) -> Result<Vec<(String, i64)>> {
    let mut tx = platform.db.system().await?;
    let counts = store::count_totp_by_key(&mut tx).await?;
    tx.commit().await?;
    Ok(counts)
}

fn open(platform: &Platform, user: UserId, row: &store::TotpRow) -> Result<Zeroizing<Vec<u8>>> {
    let key = platform.master_key.unwrap_key(&place(user), &row.wrapped).map_err(|error| {
        let (wrapped_by, current) = (&row.kek_id, platform.master_key.id());
        Error::internal(format!("a second factor is wrapped by key {wrapped_by}; the current one is {current}: {error}"))
    })?;
    key.open(&place(user), &row.sealed).map_err(Error::internal)
}

/// The time step of that code: this one, or one before or after, for clocks that go a little wrong. All are compared.
fn matching_step(secret: &[u8], code: &str, now: DateTime<Utc>) -> Option<i64> {
    let current = now.timestamp().div_euclid(STEP_S);
    let mut found = None;
    for step in [current - 1, current, current + 1] {
        if bool::from(code_at(secret, step).as_bytes().ct_eq(code.as_bytes())) {
            found = Some(step);
        }
    }
    found
}

/// RFC 4226 §5.3.
fn code_at(secret: &[u8], step: i64) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = <hmac::Hmac<Sha1> as hmac::KeyInit>::new_from_slice(secret).expect("any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes([digest[offset] & 127, digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
    format!("{:06}", number % 1_000_000)
}

fn setup(secret: &[u8], label: &str) -> Result<TotpSetup> {
    let text = base32(secret);
    let mut url = Url::parse("otpauth://totp").map_err(Error::internal)?;
    url.set_path(label);
    url.query_pairs_mut().append_pair("secret", &text).append_pair("issuer", "Trunkline");
    let code = QrCode::encode_text(url.as_str(), QrCodeEcc::Medium).map_err(|error| Error::internal(error.to_string()))?;
    let squares = (0..code.size()).map(|y| (0..code.size()).map(|x| code.get_module(x, y)).collect()).collect();
    let groups: Vec<String> = text.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    Ok(TotpSetup { text: Plaintext::new(groups.join(" ")), url: Plaintext::new(url.into()), squares })
}

/// RFC 4648 §6, without padding, which the apps do not want.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect::<Vec<_>>();
    let digit = |five: &[u8]| (0..5).fold(0, |value, at| value << 1 | five.get(at).copied().unwrap_or(0));
    bits.chunks(5).map(|five| char::from(ALPHABET[usize::from(digit(five))])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_specification() {
        // RFC 6238, appendix B, the last six of its eight digits.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(code_at(b"12345678901234567890", seconds / STEP_S), code);
        }
    }

    #[test]
    fn neighbouring_steps_count_and_no_others() {
        let now = DateTime::from_timestamp(1_800_000_015, 0).unwrap();
        let step = now.timestamp() / STEP_S;
        for (away, found) in [(-2, None), (-1, Some(step - 1)), (0, Some(step)), (1, Some(step + 1)), (2, None)] {
            let code = code_at(b"12345678901234567890", step + away);
            assert_eq!(matching_step(b"12345678901234567890", &code, now), found);
        }
        assert_eq!(matching_step(b"12345678901234567890", "", now), None);
    }

    #[test]
    fn secrets_are_written_as_apps_read_them() {
        // RFC 4648, §10.
        for (bytes, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        let setup = setup(b"12345678901234567890", "Trunkline:ada@example.com").unwrap();
        assert_eq!(setup.text.reveal(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert!(setup.url.reveal().starts_with("otpauth://totp/Trunkline:ada@example.com?secret=GEZDGNBVGY3TQOJQ"));
        assert!(setup.squares.len() > 20 && setup.squares.iter().all(|row| row.len() == setup.squares.len()));
    }
}
