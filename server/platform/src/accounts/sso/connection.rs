//! A tenant's own identity provider, and what the tenant asks of its members.

use url::Url;

use super::{Session, provider, store};
use crate::{
    Platform,
    actor::{Member, Permission, Role},
    audit::{self, Event},
    db::TenantTx,
    error::{Error, ErrorKind, FieldError, Result},
    ids::uuid_v7,
    secret::{DataKeys, Plaintext},
    vault,
};

/// A tenant's provider. Its secret is not in it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its issuer.
    pub issuer: Url,
    /// Who we are there.
    pub client_id: String,
    /// Domains of the addresses that it may vouch for.
    pub domains: Vec<String>,
    /// The claim that lists a person's groups; empty: none.
    pub groups_claim: String,
    /// What members of a group are; the first that fits counts.
    pub group_roles: Vec<GroupRole>,
    /// What somebody in none of them is; `None`: not let in.
    pub default_role: Option<Role>,
}

/// What members of a group are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GroupRole {
    /// The group, as the provider writes it.
    pub group: String,
    /// The role.
    pub role: Role,
}

/// A connection that has been read from a form.
#[derive(Debug)]
pub struct NewConnection {
    connection: Connection,
    /// `None`: the one that is stored.
    secret: Option<Plaintext>,
}

/// What a tenant asks of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignInRules {
    /// A second factor.
    pub second_factor: bool,
    /// To come through its provider.
    pub sso: bool,
    /// How many members have no second factor.
    pub without_second_factor: i64,
}

impl NewConnection {
    /// Reads what a person typed. Domains and groups are one to a line; a group is `name = role`.
    pub fn parse([issuer, client_id, secret, domains, groups_claim, groups, default_role]: [&str; 7]) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut keep = |field: &str, message: String| wrong.push(FieldError { field: field.to_owned(), message });
        let url = Url::parse(issuer).ok().filter(|url| {
            matches!(url.scheme(), "https" | "http") && url.has_host() && url.query().is_none() && url.fragment().is_none()
        });
        if url.is_none() || issuer.len() > 500 {
            keep("issuer", "Enter the address of the issuer, such as https://login.example.com.".to_owned());
        }
        if client_id.is_empty() || client_id.len() > 255 || !client_id.bytes().all(|b| b.is_ascii_graphic()) {
            keep("client_id", "Enter the client id that the provider gave, of at most 255 characters.".to_owned());
        }
        if secret.len() > 500 {
            keep("client_secret", "A client secret has at most 500 characters.".to_owned());
        }
        let domains: Vec<String> = domains
            .split([',', '\n', ' ', '\r'])
            .map(|text| text.trim().to_ascii_lowercase())
            .filter(|text| !text.is_empty())
            .collect();
        if let Some(other) = domains.iter().find(|domain| !is_domain(domain)) {
            keep("domains", format!("{other} is not a domain. One looks like example.com."));
        } else if domains.is_empty() || domains.len() > 50 {
            keep("domains", "Enter one to fifty domains, such as example.com.".to_owned());
        }
        if groups_claim.len() > 100 {
            keep("groups_claim", "The name of a claim has at most 100 characters.".to_owned());
        }
        let group_roles = parse_groups(groups).map_err(|message| keep("groups", message)).unwrap_or_default();
        let default_role = match default_role {
            "" => None,
            text => text.parse().map_err(|_| keep("default_role", WHICH_ROLE.to_owned())).ok(),
        };
        if default_role == Some(Role::Owner) {
            keep("default_role", WHICH_ROLE.to_owned());
        }
        if default_role.is_none() && group_roles.is_empty() {
            keep("default_role", "Choose a role, or give one to a group: else nobody new is let in.".to_owned());
        }
        match url {
            Some(issuer) if wrong.is_empty() => {
                let client_id = client_id.to_owned();
                let connection =
                    Connection { issuer, client_id, domains, groups_claim: groups_claim.to_owned(), group_roles, default_role };
                Ok(Self { connection, secret: (!secret.is_empty()).then(|| Plaintext::new(secret.to_owned())) })
            }
            _ => Err(Error::new(ErrorKind::Invalid(wrong))),
        }
    }
}

const WHICH_ROLE: &str = "Choose admin, developer, viewer or auditor. Owners are made by owners.";

fn parse_groups(text: &str) -> Result<Vec<GroupRole>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let groups: Result<Vec<_>, String> = lines
        .map(|line| {
            let (group, role) = line.rsplit_once('=').ok_or_else(|| format!("{line}: write it as group = role."))?;
            let (group, role) = (group.trim(), role.trim().parse::<Role>());
            match role {
                Ok(role) if role != Role::Owner && !group.is_empty() => Ok(GroupRole { group: group.to_owned(), role }),
                _ => Err(format!("{line}: {WHICH_ROLE}")),
            }
        })
        .collect();
    groups.and_then(|groups| if groups.len() > 100 { Err("At most a hundred groups.".to_owned()) } else { Ok(groups) })
}

fn is_domain(text: &str) -> bool {
    // Host names as mail servers have them: a wildcard, a port or an address is none.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    text.len() <= 253 && text.contains('.') && !is_address && text.split('.').all(is_label)
}

/// The tenant's provider, if it has one.
pub async fn find_connection(platform: &Platform, actor: &Member) -> Result<Option<Connection>> {
    actor.require(Permission::ManageSignIn)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let row = store::find_connection(&mut tx).await?;
    tx.commit().await?;
    row.as_ref().map(read).transpose()
}

/// Sets the provider, after it has been asked who it is. Another issuer or client is another provider: what the old one vouched for counts
/// no more, and nobody is forced to come through the new one before it has worked.
pub async fn set_connection(platform: &Platform, actor: &Member, new: NewConnection) -> Result<()> {
    actor.require(Permission::ManageSignIn)?;
    let NewConnection { connection, secret } = new;
    provider::Provider::discover(platform, &connection.issuer)
        .await
        .map_err(|reason| Error::invalid("issuer", format!("This provider cannot be used: {reason}.")))?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let stored = store::lock_connection(&mut tx).await?;
    let is_other =
        stored.as_ref().is_some_and(|row| row.issuer != connection.issuer.as_str() || row.client_id != connection.client_id);
    let sealed = match (secret, &stored) {
        (Some(secret), _) => {
            let key = vault::get_or_create(&mut tx, &platform.master_key, uuid_v7(now)).await?;
            key.seal(&place(&tx), secret.reveal().as_bytes())
        }
        // A secret goes to the provider it was meant for and to no other.
        (None, Some(row)) if !is_other => row.sealed.clone(),
        (None, _) => return Err(Error::invalid("client_secret", "Enter the client secret that the provider gave.")),
    };
    if is_other {
        store::forget_sign_ons(&mut tx).await?;
    }
    let row = store::ConnectionRow {
        issuer: connection.issuer.as_str().to_owned(),
        client_id: connection.client_id,
        sealed,
        domains: connection.domains,
        groups_claim: connection.groups_claim,
        group_roles: serde_json::to_value(connection.group_roles).map_err(Error::internal)?,
        default_role: connection.default_role.map(|role| role.as_str().to_owned()),
    };
    store::upsert_connection(&mut tx, &row, now).await?;
    audit::append(&mut tx, now, actor, &Event::SsoChanged(actor.tenant)).await?;
    tx.commit().await
}

/// Switches single sign-on off. Sessions that the provider began end.
pub async fn remove_connection(platform: &Platform, actor: &Member) -> Result<()> {
    actor.require(Permission::ManageSignIn)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::delete_connection(&mut tx).await? {
        return Err(Error::not_found("connection"));
    }
    store::forget_sign_ons(&mut tx).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::SsoRemoved(actor.tenant)).await?;
    tx.commit().await
}

/// What the tenant asks of its members.
pub async fn sign_in_rules(platform: &Platform, actor: &Member, of: &super::super::Membership) -> Result<SignInRules> {
    actor.require(Permission::ManageSignIn)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let without_second_factor = store::count_members_without_second_factor(&mut tx).await?;
    tx.commit().await?;
    Ok(SignInRules { second_factor: of.requires_second_factor, sso: of.requires_sso, without_second_factor })
}

/// Changes that. Whoever asks for something must have it: nobody locks themselves out.
pub async fn change_rules(platform: &Platform, actor: &Member, session: &Session, second_factor: bool, sso: bool) -> Result<()> {
    actor.require(Permission::ManageSignIn)?;
    let is_signed_on = session.signed_on.contains(&actor.tenant);
    if sso && !is_signed_on {
        return Err(Error::invalid("sso", "Sign on through the provider yourself first: then it is known to work."));
    }
    if second_factor && !session.has_second_factor && !is_signed_on {
        return Err(Error::invalid("second_factor", "Set up a second factor of your own first, on your account's page."));
    }
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if sso && store::find_connection(&mut tx).await?.is_none() {
        return Err(Error::invalid("sso", "There is no provider to come through."));
    }
    store::update_sign_in(&mut tx, second_factor, sso).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::SignInChanged(actor.tenant)).await?;
    tx.commit().await
}

fn place(tx: &TenantTx) -> String {
    format!("{}|sso", tx.tenant())
}

pub(super) fn read(row: &store::ConnectionRow) -> Result<Connection> {
    Ok(Connection {
        issuer: row.issuer.parse().map_err(Error::internal)?,
        client_id: row.client_id.clone(),
        domains: row.domains.clone(),
        groups_claim: row.groups_claim.clone(),
        group_roles: serde_json::from_value(row.group_roles.clone()).map_err(Error::internal)?,
        default_role: row.default_role.as_deref().map(str::parse).transpose()?,
    })
}

/// The client secret, for the one request that carries it.
pub(super) async fn open(platform: &Platform, tx: &mut TenantTx, row: &store::ConnectionRow) -> Result<Plaintext> {
    let key = vault::find(tx, &platform.master_key).await?.ok_or_else(|| Error::internal("the tenant has no data key"))?;
    let secret = key.open(&place(tx), &row.sealed).map_err(Error::internal)?;
    String::from_utf8(secret.to_vec()).map(Plaintext::new).map_err(Error::internal)
}

/// Seals the tenant's client secret anew if it is sealed under an older key; how many. 0: it is not.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys) -> Result<u64> {
    let Some(row) = store::lock_connection(tx).await? else { return Ok(0) };
    let Some(sealed) = keys.reseal(&place(tx), &row.sealed).map_err(Error::internal)? else { return Ok(0) };
    store::reseal_connection(tx, &sealed).await?;
    Ok(1)
}

impl Connection {
    /// What somebody with these groups is here, and whether a group says so.
    pub(super) fn role_of(&self, groups: &[String]) -> (Option<Role>, bool) {
        let by_group = self.group_roles.iter().find(|row| groups.contains(&row.group)).map(|row| row.role);
        (by_group.or(self.default_role), by_group.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: [&str; 7] =
        ["https://login.example.com", "trunkline", "s3cret", "example.com\nexample.org", "groups", "Platform = admin", "viewer"];

    fn with(at: usize, value: &'static str) -> Result<NewConnection> {
        let mut fields = RIGHT;
        fields[at] = value;
        NewConnection::parse(fields)
    }

    #[test]
    fn what_does_not_fit_is_said_beside_its_field() {
        assert_eq!(NewConnection::parse(RIGHT).unwrap().connection.domains, ["example.com", "example.org"]);
        let cases = [
            (0, "login.example.com", "issuer"),
            (0, "ftp://login.example.com", "issuer"),
            (1, "", "client_id"),
            (3, "", "domains"),
            (3, "example", "domains"),
            (3, "*.example.com", "domains"),
            (5, "Platform", "groups"),
            (5, "Platform = owner", "groups"),
            (6, "owner", "default_role"),
        ];
        for (at, value, field) in cases {
            let error = with(at, value).unwrap_err();
            let ErrorKind::Invalid(fields) = error.kind() else { panic!("{error}") };
            assert_eq!(fields.iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), [field], "{value}");
        }
    }

    #[test]
    fn the_first_group_that_fits_counts() {
        let connection = with(5, "A = admin\nB = developer").unwrap().connection;
        let role = |groups: &[&str]| connection.role_of(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
        assert_eq!(role(&["B", "A"]), (Some(Role::Admin), true));
        assert_eq!(role(&["B"]), (Some(Role::Developer), true));
        assert_eq!(role(&["a"]), (Some(Role::Viewer), false));
    }
}
