//! Recovery codes: ten of them, shown once, each good once where a second factor is asked for.

use super::{Session, account::tell, store};
use crate::{
    Platform,
    db::SystemTx,
    error::{Error, Result},
    ids::UserId,
    mail::AccountChange,
    random,
    secret::{Digest, Plaintext},
};

const COUNT: usize = 10;
/// Of 32 characters each: 80 bits, too many to guess even with the digests at hand.
const LENGTH: usize = 16;
/// Crockford's: nothing in it looks like something else.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// New codes in place of the old. The answer shows them this once.
pub async fn make_recovery_codes(platform: &Platform, session: &Session) -> Result<Vec<Plaintext>> {
    session.require_proof(platform)?;
    if !session.has_second_factor {
        return Err(Error::conflict("Set up a second factor first: the codes stand in for it."));
    }
    let mut tx = platform.db.user(session.user).await?;
    let codes = replace(platform, &mut tx, session.user).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::RecoveryCodesMade).await?.commit().await?;
    Ok(codes)
}

/// The codes that come with a first second factor; none if there are some already.
pub(super) async fn first_codes(platform: &Platform, tx: &mut SystemTx, user: UserId) -> Result<Vec<Plaintext>> {
    if store::count_recovery_codes(tx, user).await? > 0 {
        return Ok(Vec::new());
    }
    replace(platform, tx, user).await
}

async fn replace(platform: &Platform, tx: &mut SystemTx, user: UserId) -> Result<Vec<Plaintext>> {
    let codes: Vec<Plaintext> = (0..COUNT).map(|_| generate()).collect();
    let digests: Vec<Digest> = codes.iter().map(|code| digest(user, code.reveal())).collect();
    store::replace_recovery_codes(tx, user, &digests, platform.clock.now()).await?;
    Ok(codes)
}

/// Codes without a second factor to stand in for would be one more secret to lose.
pub(super) async fn forget_if_useless(tx: &mut SystemTx, user: UserId) -> Result<()> {
    let has_totp = store::lock_totp(tx, user).await?.is_some_and(|totp| totp.is_confirmed);
    if has_totp || !store::lock_passkeys(tx, user).await?.is_empty() {
        return Ok(());
    }
    store::delete_recovery_codes(tx, user).await
}

/// Uses a code up; false if it is none.
pub(super) async fn take(tx: &mut SystemTx, user: UserId, code: &str) -> Result<bool> {
    store::take_recovery_code(tx, user, digest(user, code)).await
}

/// Bound to the person, so that equal codes of two people do not look alike. What people add or mistake while typing does not matter.
fn digest(user: UserId, code: &str) -> Digest {
    let plain = code.chars().filter(char::is_ascii_alphanumeric).map(|c| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    });
    Digest::of(&format!("recovery|{user}|{}", plain.collect::<String>()))
}

fn generate() -> Plaintext {
    let characters: Vec<u8> = random::bytes::<LENGTH>().iter().map(|byte| ALPHABET[usize::from(byte & 31)]).collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    Plaintext::new(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        let user = UserId::NIL;
        let same = |a: &str, b: &str| digest(user, a).matches(&digest(user, b));
        assert!(same("ab1c-0efg-hjkm-npqr", " AB1C 0EFG HJKM NPQR "));
        assert!(same("ab1c-0efg-hjkm-npqr", "abIc-Oefg-hjkm-npqr"));
        assert!(!same("ab1c-0efg-hjkm-npqr", "ab1c-0efg-hjkm-npqs"));
        assert_eq!(generate().reveal().len(), 19);
    }
}
