//! Puts letters into words, each as plain text and as HTML. Handed to `platform::mail` by the wiring.

use askama::Template;
use trunkline_platform::{
    Error, Result,
    mail::{Content, Letter},
};
use url::Url;

use crate::urls;

/// The words of a letter; a `platform::mail::Render`. Links start with the public URL, never with what a request says.
pub fn render(public_url: &Url, letter: &Letter) -> Result<Content> {
    let link = |path: &str| format!("{}{path}", public_url.origin().ascii_serialization());
    let words = match letter {
        Letter::ConfirmEmail { token, organisation, invitation, minutes } => Words {
            subject: "Confirm your address".to_owned(),
            text: match organisation {
                Some(name) => format!("Confirm this address to finish signing up and to create {name}."),
                None => "Confirm this address to finish signing up.".to_owned(),
            },
            action: "Confirm address",
            url: link(&urls::confirm_link(token, invitation.as_deref())),
            note: format!(
                "The link works once, for {minutes} minutes. If you have not signed up, do nothing: no account is created."
            ),
        },
        Letter::AlreadyRegistered => Words {
            subject: "You have an account already".to_owned(),
            text:
                "Somebody, probably you, signed up with this address. It has an account already, so nothing was changed: log in, \
                   or choose a new password if you have forgotten yours."
                    .to_owned(),
            action: "Log in",
            url: link(urls::login()),
            note: format!("Forgotten your password? {}", link(urls::reset())),
        },
        Letter::ResetPassword { token, minutes } => Words {
            subject: "Choose a new password".to_owned(),
            text: "Somebody, probably you, asked for a new password for the account with this address.".to_owned(),
            action: "Choose a new password",
            url: link(&urls::reset_link(token)),
            note: format!(
                "The link works once, for {minutes} minutes. If you have not asked for it, do nothing: your password stays as it is."
            ),
        },
        Letter::Invitation { token, organisation, invited_by, role, days } => Words {
            subject: format!("Join {organisation} on Trunkline"),
            text: format!("{invited_by} invites you to {organisation} as {role}."),
            action: "See the invitation",
            url: link(&urls::invitation(token)),
            note: format!("The link works once, for this address, for {days} days. If you do not know the sender, do nothing."),
        },
    };
    let origin = public_url.origin().ascii_serialization();
    let text = LetterText { words: &words, origin: &origin }.render().map_err(Error::internal)?;
    let html = LetterHtml { words: &words, origin: &origin }.render().map_err(Error::internal)?;
    Ok(Content { subject: words.subject, text, html })
}

struct Words {
    subject: String,
    text: String,
    action: &'static str,
    url: String,
    note: String,
}

#[derive(Template)]
#[template(path = "mail/letter.txt")]
struct LetterText<'a> {
    words: &'a Words,
    origin: &'a str,
}

#[derive(Template)]
#[template(path = "mail/letter.html")]
struct LetterHtml<'a> {
    words: &'a Words,
    origin: &'a str,
}

#[cfg(test)]
mod tests {
    use trunkline_platform::actor::Role;

    use super::*;

    fn letter(letter: &Letter) -> Content {
        render(&Url::parse("https://trunkline.example").unwrap(), letter).unwrap()
    }

    #[test]
    fn links_start_with_the_public_url() {
        let confirm =
            Letter::ConfirmEmail { token: "t0ken".into(), organisation: None, invitation: Some("ten_x_y".into()), minutes: 60 };
        let content = letter(&confirm);
        assert!(content.text.contains("https://trunkline.example/confirm/t0ken?invitation=ten_x_y"), "{}", content.text);
        assert!(content.html.contains("https://trunkline.example/confirm/t0ken?invitation=ten_x_y"), "{}", content.html);
    }

    #[test]
    fn names_are_escaped_in_html_and_plain_in_text() {
        let content = letter(&Letter::Invitation {
            token: "t".into(),
            organisation: "<b>R&D</b>".into(),
            invited_by: "ada@example.com".into(),
            role: Role::Viewer,
            days: 7,
        });
        assert!(content.text.contains("ada@example.com invites you to <b>R&D</b> as viewer."), "{}", content.text);
        assert!(!content.html.contains("<b>R&D"), "{}", content.html);
    }
}
