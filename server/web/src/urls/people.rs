//! Pages of a person, who may belong to no organisation: signing up, coming in, their account.

use trunkline_platform::ids::{PasskeyId, SessionId, SourceId};

use super::encode;

/// The sign-up form.
pub fn signup() -> &'static str {
    "/signup"
}

/// The sign-up form for somebody who was invited.
pub fn signup_with_invitation(token: &str) -> String {
    format!("/signup?invitation={}", encode(token))
}

/// What to do after signing up.
pub fn signup_sent() -> &'static str {
    "/signup/sent"
}

/// The log-in form.
pub fn login() -> &'static str {
    "/login"
}

/// The log-in form, which leads to `next` afterwards.
pub fn login_then(next: &str) -> String {
    format!("/login?next={}", encode(next))
}

/// The second step of logging in.
pub fn login_second(next: Option<&str>) -> String {
    next.map_or_else(|| "/login/second".to_owned(), |next| format!("/login/second?next={}", encode(next)))
}

/// Logs in with a passkey, and leads to `next` afterwards.
pub fn login_passkey(next: &str) -> String {
    if next.is_empty() { "/login/passkey".to_owned() } else { format!("/login/passkey?next={}", encode(next)) }
}

/// Logs in through an organisation's identity provider, and leads to `next` afterwards.
pub fn sso_then(slug: &str, next: &str) -> String {
    format!("/login/sso?organisation={}&next={}", encode(slug), encode(next))
}

/// A person's own account.
pub fn account() -> &'static str {
    "/account"
}

/// How it is protected.
pub fn account_security() -> &'static str {
    "/account/security"
}

/// Which accounts at other servers the person has connected.
pub fn account_connections() -> &'static str {
    "/account/connections"
}

/// Where somebody connects their own account to a source.
pub fn connection(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/connections/{source}")
}

/// The same, for somebody whom that organisation asks for a second factor.
pub fn second_factor_for(slug: &str) -> String {
    format!("/account/security?for={}", encode(slug))
}

/// Proves to be there, and leads to `next` afterwards.
pub fn prove_then(next: &str) -> String {
    format!("/account/prove?next={}", encode(next))
}

/// Confirms the new address of an account.
pub fn email_change_link(token: &str) -> String {
    format!("/email/{token}")
}

/// Signs one browser out.
pub fn session_end(session: SessionId) -> String {
    format!("/account/sessions/{session}/end")
}

/// Forgets a passkey.
pub fn passkey_remove(passkey: PasskeyId) -> String {
    format!("/account/security/passkeys/{passkey}/remove")
}

/// The form for a mail with a reset link.
pub fn reset() -> &'static str {
    "/reset"
}

/// What to do after asking for one.
pub fn reset_sent() -> &'static str {
    "/reset/sent"
}

/// The form for a new password.
pub fn reset_link(token: &str) -> String {
    format!("/reset/{token}")
}

/// Confirms an address.
pub fn confirm_link(token: &str, invitation: Option<&str>) -> String {
    match invitation {
        Some(invitation) => format!("/confirm/{token}?invitation={}", encode(invitation)),
        None => format!("/confirm/{token}"),
    }
}

/// An invitation, as its receiver sees it.
pub fn invitation(token: &str) -> String {
    format!("/invitations/{token}")
}

/// Creates an organisation.
pub fn welcome() -> &'static str {
    "/welcome"
}
