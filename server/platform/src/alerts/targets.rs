//! Whom alerts are told: members by their roles, a server that is told by signed JSON, and a chat whose hook's URL is a secret as a whole.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use url::Url;

use super::store::{self, TargetsRow};
use crate::{
    Platform,
    actor::Role,
    db::TenantTx,
    error::{Error, Result},
    ids::{TenantId, uuid_v7},
    jobs::SECRET_PREFIX,
    secret::{DataKeys, Plaintext},
    vault,
};

/// Longest URL.
const LONGEST_URL: usize = 2_000;

/// Whom.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Members with one of these roles get letters.
    pub roles: Vec<Role>,
    /// Which server, and what messages to it are signed with.
    pub webhook: Option<(Url, Plaintext)>,
    /// Which chat.
    pub(super) chat_url: Option<Url>,
}

impl Targets {
    /// Whom a tenant tells that has said nothing.
    fn usual() -> Self {
        Self { roles: vec![Role::Owner, Role::Admin], webhook: None, chat_url: None }
    }

    /// Where the chat is, without what is secret of its URL.
    pub fn chat_host(&self) -> Option<&str> {
        self.chat_url.as_ref().and_then(Url::host_str)
    }

    pub(super) fn mail_roles(&self) -> Vec<String> {
        self.roles.iter().map(|role| role.as_str().to_owned()).collect()
    }
}

/// What a form says.
#[derive(Debug, Default)]
pub struct NewTargets {
    roles: Vec<Role>,
    webhook: Option<Url>,
    renews_secret: bool,
    chat: NewChat,
}

/// What becomes of the chat.
#[derive(Debug, Default)]
enum NewChat {
    #[default]
    Kept,
    Removed,
    Set(Url),
}

impl NewTargets {
    /// Reads the form. An empty URL of a webhook is none; an empty one of a chat is the one that there is, unless it is to be removed.
    pub fn parse<'a>(
        roles: impl Iterator<Item = &'a str>,
        webhook: &str,
        renews_secret: bool,
        (chat, removes_chat): (&str, bool),
    ) -> Result<Self> {
        let roles = roles.map(str::parse).collect::<Result<Vec<Role>>>()?;
        let chat = match (chat, removes_chat) {
            ("", true) => NewChat::Removed,
            ("", false) => NewChat::Kept,
            (text, false) => NewChat::Set(parse_url("chat", text)?),
            (_, true) => return Err(Error::invalid("chat", "give a URL or remove the one that there is, not both")),
        };
        let webhook = if webhook.is_empty() { None } else { Some(parse_url("webhook", webhook)?) };
        Ok(Self { roles, webhook, renews_secret, chat })
    }

    /// May these URLs be used at all?
    pub(super) fn check(&self, platform: &Platform) -> Result<()> {
        let chat = if let NewChat::Set(url) = &self.chat { Some(url) } else { None };
        for (field, url) in [("webhook", self.webhook.as_ref()), ("chat", chat)] {
            if url.is_some_and(|url| platform.egress.check(url).is_err()) {
                return Err(Error::invalid(field, "expected a public https address, such as https://hooks.example.com/alerts"));
            }
        }
        Ok(())
    }
}

fn parse_url(field: &'static str, text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http") && text.len() <= LONGEST_URL);
    url.ok_or_else(|| Error::invalid(field, "expected a URL such as https://hooks.example.com/alerts"))
}

fn place(tenant: TenantId, what: &str) -> String {
    format!("{tenant}|alert_targets|{what}")
}

/// The tenant's, or the usual ones.
pub(super) async fn of(platform: &Platform, tx: &mut TenantTx) -> Result<Targets> {
    let Some(row) = store::targets(tx).await? else { return Ok(Targets::usual()) };
    let roles = row.mail_roles.iter().map(|role| role.parse()).collect::<Result<_>>()?;
    let keys = vault::find(tx, &platform.master_key).await?;
    let tenant = tx.tenant();
    let open = |what: &str, sealed: &[u8]| -> Result<String> {
        let keys = keys.as_ref().ok_or_else(|| Error::internal("the key of a target is gone"))?;
        let text = keys.open(&place(tenant, what), sealed).map_err(Error::internal)?;
        String::from_utf8(text.to_vec()).map_err(Error::internal)
    };
    let webhook = match (&row.webhook_url, &row.webhook_secret) {
        (Some(url), Some(sealed)) => Some((Url::parse(url).map_err(Error::internal)?, Plaintext::new(open("webhook", sealed)?))),
        _ => None,
    };
    let chat = row.chat_url.as_deref().map(|sealed| open("chat", sealed)).transpose()?;
    let chat_url = chat.map(|text| Url::parse(&text).map_err(Error::internal)).transpose()?;
    Ok(Targets { roles, webhook, chat_url })
}

/// Stores them. The secret, where it is new.
pub(super) async fn set(platform: &Platform, tx: &mut TenantTx, new: NewTargets) -> Result<Option<Plaintext>> {
    let now = platform.clock.now();
    let before = store::targets(tx).await?;
    let keys = vault::get_or_create(tx, &platform.master_key, uuid_v7(now)).await?;
    let tenant = tx.tenant();
    let seal = |what: &str, text: &str| keys.seal(&place(tenant, what), text.as_bytes());
    let (kept_secret, kept_chat) = before.map_or((None, None), |row| (row.webhook_secret, row.chat_url));
    let secret = (new.webhook.is_some() && (new.renews_secret || kept_secret.is_none()))
        .then(|| Plaintext::new(format!("{SECRET_PREFIX}{}", BASE64.encode(crate::random::bytes::<32>()))));
    let row = TargetsRow {
        mail_roles: new.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        webhook_secret: match (&new.webhook, &secret) {
            (None, _) => None,
            (Some(_), Some(secret)) => Some(seal("webhook", secret.reveal())),
            (Some(_), None) => kept_secret,
        },
        webhook_url: new.webhook.map(String::from),
        chat_url: match new.chat {
            NewChat::Kept => kept_chat,
            NewChat::Removed => None,
            NewChat::Set(url) => Some(seal("chat", url.as_str())),
        },
    };
    store::put_targets(tx, &row, now).await?;
    Ok(secret)
}

/// Seals what older data keys have sealed anew; how many values.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys, now: chrono::DateTime<chrono::Utc>) -> Result<u64> {
    let Some(mut row) = store::targets(tx).await? else { return Ok(0) };
    let tenant = tx.tenant();
    let mut resealed = 0;
    for (what, sealed) in [("webhook", &mut row.webhook_secret), ("chat", &mut row.chat_url)] {
        let Some(value) = sealed.as_mut() else { continue };
        if let Some(anew) = keys.reseal(&place(tenant, what), value).map_err(Error::internal)? {
            *value = anew;
            resealed += 1;
        }
    }
    if resealed > 0 {
        store::put_targets(tx, &row, now).await?;
    }
    Ok(resealed)
}
