//! Puts letters into words, each as plain text and as HTML. Handed to `platform::mail` by the wiring.

use askama::Template;
use trunkline_platform::{
    Error, Result,
    gate::Check,
    mail::{AccountChange, AlertLetter, BudgetLetter, Content, DescriptionLetter, Letter, ProbeLetter},
};
use url::Url;

use crate::{dashboard::format, urls};

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
        Letter::ConfirmNewEmail { token, minutes } => Words {
            subject: "Confirm your new address".to_owned(),
            text: "Somebody, probably you, wants to use this address for their account from now on.".to_owned(),
            action: "Confirm address",
            url: link(&urls::email_change_link(token)),
            note: format!(
                "The link works once, for {minutes} minutes. If you have not asked for it, do nothing: nothing changes."
            ),
        },
        Letter::AccountChanged { change } => Words {
            subject: account_change(*change).0.to_owned(),
            text: account_change(*change).1.to_owned(),
            action: "See your account",
            url: link(urls::account_security()),
            note: format!("If this was not you, choose a new password at once: {}", link(urls::reset())),
        },
        Letter::Invitation { token, organisation, invited_by, role, days } => Words {
            subject: format!("Join {organisation} on Trunkline"),
            text: format!("{invited_by} invites you to {organisation} as {role}."),
            action: "See the invitation",
            url: link(&urls::invitation(token)),
            note: format!("The link works once, for this address, for {days} days. If you do not know the sender, do nothing."),
        },
        Letter::Budget(budget) => budget_words(budget, link),
        Letter::Probe(probe) => probe_words(probe, link),
        Letter::Description(description) => description_words(description, link),
        Letter::Alert(alert) => alert_words(alert, link),
    };
    let origin = public_url.origin().ascii_serialization();
    let text = LetterText { words: &words, origin: &origin }.render().map_err(Error::internal)?;
    let html = LetterHtml { words: &words, origin: &origin }.render().map_err(Error::internal)?;
    Ok(Content { subject: words.subject, text, html })
}

/// What became of a tool or a source that is tried again and again.
fn probe_words(probe: &ProbeLetter, link: impl Fn(&str) -> String) -> Words {
    let ProbeLetter { slug, organisation, name, .. } = probe;
    let (kind, path) = match (probe.tool, probe.source) {
        (Some(tool), _) => ("tool", urls::tool(slug, tool)),
        (None, Some(source)) => ("source", urls::source(slug, source)),
        (None, None) => ("tool", urls::tools(slug)),
    };
    let (subject, text) = if probe.is_failing {
        let check = Check::find(&probe.check).map_or("a check", Check::label);
        let hidden = if probe.is_hidden { " Agents do not see it until it is well again." } else { " Agents still see it." };
        let why = if probe.problem.is_empty() { String::new() } else { format!(": {}", probe.problem) };
        (
            format!("The {kind} {name} of {organisation} fails"),
            format!("Trying the {kind} {name} failed twice in a row, at “{check}”{why}.{hidden}"),
        )
    } else {
        (
            format!("The {kind} {name} of {organisation} is well again"),
            format!("Trying the {kind} {name} went well again, and agents can use it."),
        )
    };
    Words {
        subject,
        text,
        action: "See what was tried",
        url: link(&path),
        note: "You get this letter because you may manage tools: one when it begins, and one when it is over.".to_owned(),
    }
}

/// What is the matter with the description of an API, and that nothing of it is used.
fn description_words(letter: &DescriptionLetter, link: impl Fn(&str) -> String) -> Words {
    let DescriptionLetter { slug, organisation, name, .. } = letter;
    if letter.failure.is_empty() {
        let [added, changed, removed] = letter.operations;
        return Words {
            subject: format!("The description of the API {name} of {organisation} has changed"),
            text: format!(
                "{} leads to another document than the one that was approved (SHA-256 {} instead of {}): {added} operations are new, {changed} \
                 are described otherwise, {removed} are gone. Nothing of it is used: tools go on as they were published until somebody approves it.",
                letter.link, letter.found, letter.pinned
            ),
            action: "See what would change",
            url: link(&urls::api_change(slug, letter.api)),
            note: "You get this letter because you may manage tools: one for each document.".to_owned(),
        };
    }
    Words {
        subject: format!("The description of the API {name} of {organisation} cannot be read"),
        text: format!(
            "{} could not be read for a day: {}. Tools go on as they were published.",
            letter.link,
            letter.failure.trim_end_matches('.')
        ),
        action: "See the API",
        url: link(&urls::api(slug, letter.api)),
        note: "You get this letter because you may manage tools: one when it lasts for a day.".to_owned(),
    }
}

/// That something is out of the ordinary, or is not any more.
fn alert_words(alert: &AlertLetter, link: impl Fn(&str) -> String) -> Words {
    let AlertLetter { organisation, slug, headline, message, .. } = alert;
    let word = if alert.is_firing { "Alert" } else { "Over" };
    Words {
        subject: format!("{word}: {headline} ({organisation})"),
        text: format!("{headline}. {message}"),
        action: "See the alerts",
        url: link(&urls::alerts(slug)),
        note: "You get this letter because of your role: one when it begins, and one when it is over.".to_owned(),
    }
}

/// How far a budget has come, and what that means.
fn budget_words(budget: &BudgetLetter, link: impl Fn(&str) -> String) -> Words {
    let BudgetLetter { slug, organisation, name, period, .. } = budget;
    let (whose, path) = match (budget.agent, budget.tool) {
        (Some(agent), _) => (format!("the agent {name} of {organisation}"), urls::agent_budgets(slug, agent)),
        (None, Some(tool)) => (format!("the tool {name} of {organisation}"), urls::tool_budgets(slug, tool)),
        (None, None) => (organisation.clone(), urls::tenant_budgets(slug)),
    };
    let amount = format::price(budget.amount_micro, &budget.currency);
    let share = budget.warn_percent.unwrap_or_default();
    let (subject, so_far) = if budget.is_spent {
        (format!("The budget of {whose} is spent"), "is spent".to_owned())
    } else {
        (format!("{share} % of the budget of {whose} are spent"), format!("has reached {share} %"))
    };
    let then = match (budget.blocks, budget.is_spent) {
        (true, true) => "Calls that it has nothing left for are refused until then.",
        (true, false) => "When nothing is left of it, calls are refused until then.",
        (false, _) => "Calls go on: this budget refuses none.",
    };
    Words {
        subject,
        text: format!(
            "What {whose} may spend in a {period}, {amount}, {so_far}. It begins anew with the next {period} (UTC). {then}"
        ),
        action: "See the budget",
        url: link(&path),
        note: "You get this letter as an owner of the organisation, once in each period.".to_owned(),
    }
}

/// What a letter about a change of an account is called, and what it says.
fn account_change(change: AccountChange) -> (&'static str, &'static str) {
    match change {
        AccountChange::TotpAdded => (
            "Your authenticator app is set up",
            "From now on, logging in with your password asks for a code of your authenticator app.",
        ),
        AccountChange::TotpRemoved => {
            ("Your authenticator app is switched off", "Logging in does not ask for codes of your authenticator app any more.")
        }
        AccountChange::PasskeyAdded => {
            ("A passkey was added to your account", "You can log in with it from now on, and it counts as your second factor.")
        }
        AccountChange::PasskeyRemoved => ("A passkey was removed from your account", "Nobody can log in with it any more."),
        AccountChange::RecoveryCodesMade => ("New recovery codes were made for your account", "The old codes work no more."),
        AccountChange::RecoveryCodeUsed => {
            ("A recovery code was used to log in", "The code works no more. Make new ones before you run out of them.")
        }
        AccountChange::PasswordChanged => ("Your password was changed", "Every other browser was logged out."),
        AccountChange::EmailChangeAsked => (
            "Somebody wants to change the address of your account",
            "The address of your account changes as soon as the new one is confirmed. Until then, this one counts.",
        ),
        AccountChange::EmailChanged => {
            ("The address of your account was changed", "This address does not belong to the account any more.")
        }
        AccountChange::IdentityLinked => (
            "Your account was linked to single sign-on",
            "An identity provider can sign you in to your organisation from now on.",
        ),
        AccountChange::Deleted => {
            ("Your account was deleted", "You have left all your organisations, and nothing here says any more who you were.")
        }
    }
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
