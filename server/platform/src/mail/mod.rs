//! Letters to people: by SMTP, or captured in memory when no server is set. Headers are made by typed builders only, so nothing a
//! person typed can add one. Nobody waits for a mail server: verbs enqueue a job, and `jobs` calls `Mailer::send`.

mod address;
mod letter;
mod outbox;

use std::time::Duration;

use chrono::{DateTime, Utc};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
};
use url::Url;

pub use address::EmailAddress;
pub use letter::{AccountChange, AlertLetter, BudgetLetter, Content, DescriptionLetter, Letter, ProbeLetter};
pub use outbox::{Captured, Outbox};

use crate::{
    error::{Error, Result},
    secret::Plaintext,
};

/// Longest wait for the mail server at each step.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who writes, such as `Trunkline <no-reply@trunkline.example>`.
    pub from: String,
    /// The mail server, such as `smtps://user:password@mail.example`; without one letters are captured.
    pub smtp_url: Option<Plaintext>,
}

/// Puts a letter into words; its links start with the URL.
pub type Render = fn(&Url, &Letter) -> Result<Content>;

/// Why a letter was not sent. Says nothing of the address, nor what the server wrote, which may repeat it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// May work later.
    #[error("{0}")]
    Temporary(String),
    /// Will not work later either.
    #[error("{0}")]
    Permanent(String),
}

/// Where letters go; cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    from: Mailbox,
    public_url: Url,
    render: Render,
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Captured(Outbox),
}

impl Mailer {
    /// A mailer by the settings. Connects when the first letter is sent.
    pub fn new(settings: &Settings, public_url: &Url, render: Render) -> Result<Self> {
        let from = settings.from.parse().map_err(|_| {
            Error::invalid("mail.from", "is not a mailbox; one looks like `Trunkline <no-reply@trunkline.example>`")
        })?;
        let transport = match &settings.smtp_url {
            None => Transport::Captured(Outbox::default()),
            // What lettre says of a wrong URL may repeat its password.
            Some(url) => AsyncSmtpTransport::<Tokio1Executor>::from_url(url.reveal())
                .map(|builder| Transport::Smtp(builder.timeout(Some(TIMEOUT)).build()))
                .map_err(|_| {
                    Error::invalid("mail.smtp_url", "is not a mail server; one looks like `smtps://user:password@mail.example`")
                })?,
        };
        Ok(Self { from, public_url: public_url.clone(), render, transport })
    }

    /// The captured letters, if no mail server is set.
    pub fn outbox(&self) -> Option<&Outbox> {
        match &self.transport {
            Transport::Captured(outbox) => Some(outbox),
            Transport::Smtp(_) => None,
        }
    }

    /// Answers if the mail server answers; at once if there is none.
    pub async fn ping(&self) -> Result<()> {
        match &self.transport {
            Transport::Captured(_) => Ok(()),
            Transport::Smtp(smtp) => match smtp.test_connection().await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::unavailable("mail server", "it does not answer to NOOP")),
                Err(error) => Err(Error::unavailable("mail server", error)),
            },
        }
    }

    /// Sends a letter.
    pub async fn send(&self, to: &EmailAddress, letter: &Letter, at: DateTime<Utc>) -> Result<(), SendError> {
        let permanent = |what: &str| SendError::Permanent(what.to_owned());
        let content = (self.render)(&self.public_url, letter).map_err(|_| permanent("the letter cannot be rendered"))?;
        let smtp = match &self.transport {
            Transport::Smtp(smtp) => smtp,
            Transport::Captured(outbox) => {
                outbox.push(to, content, at);
                return Ok(());
            }
        };
        let address = to.as_str().parse().map_err(|_| permanent("the address cannot be written to"))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(content.subject)
            .multipart(MultiPart::alternative_plain_html(content.text, content.html))
            .map_err(|_| permanent("the letter cannot be built"))?;
        match smtp.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let status = error.status().map_or_else(|| "no answer".to_owned(), |code| code.to_string());
                let text = format!("mail server: {status}");
                Err(if error.is_permanent() { SendError::Permanent(text) } else { SendError::Temporary(text) })
            }
        }
    }
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.outbox().is_some() { "Mailer(captured)" } else { "Mailer(smtp)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it has the type of any rendering")]
    fn nothing(_: &Url, _: &Letter) -> Result<Content> {
        Ok(Content { subject: String::new(), text: String::new(), html: String::new() })
    }

    #[test]
    fn wrong_settings_name_their_key_and_no_secret() {
        let url = Url::parse("http://localhost").unwrap();
        let settings = Settings { from: "nobody".into(), smtp_url: None };
        assert!(Mailer::new(&settings, &url, nothing).unwrap_err().to_string().starts_with("mail.from"));
        let smtp_url = Some(Plaintext::new("http://u:hunter2@x".into()));
        let error = Mailer::new(&Settings { from: "a@b.c".into(), smtp_url }, &url, nothing).unwrap_err();
        assert!(error.to_string().starts_with("mail.smtp_url") && !format!("{error:?}").contains("hunter2"));
    }
}
