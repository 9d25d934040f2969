//! Who acts, and what each role may do: one table.

use crate::{
    error::{Error, ErrorKind, Result},
    ids::{TenantId, UserId},
};

/// What a member is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, including other owners.
    Owner,
    /// Everything but owners.
    Admin,
    /// Builds: agents, keys, tools.
    Developer,
    /// Looks at everything but the audit log.
    Viewer,
    /// Looks at everything, changes nothing.
    Auditor,
}

/// What an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See pages, numbers and the call log.
    View,
    /// See who did what.
    ViewAudit,
    /// Create, edit and suspend agents and set their limits.
    ManageAgents,
    /// Create, roll and revoke keys.
    ManageKeys,
    /// Create, edit, try out and disable tools.
    ManageTools,
    /// Invite, change and remove members who are not owners.
    ManageMembers,
    /// Change owners.
    ManageOwners,
    /// Change the tenant itself.
    ManageTenant,
}

impl Role {
    /// All roles, most powerful first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer, Self::Auditor];

    /// May this role do that?
    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Owner => true,
            Self::Admin => permission != P::ManageOwners,
            Self::Developer => matches!(permission, P::View | P::ManageAgents | P::ManageKeys | P::ManageTools),
            Self::Viewer => permission == P::View,
            Self::Auditor => matches!(permission, P::View | P::ViewAudit),
        }
    }

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::invalid("role", "expected owner, admin, developer, viewer or auditor"))
    }
}

impl Permission {
    /// All permissions, in the order they are shown.
    pub const ALL: [Self; 8] = [
        Self::View,
        Self::ViewAudit,
        Self::ManageAgents,
        Self::ManageKeys,
        Self::ManageTools,
        Self::ManageMembers,
        Self::ManageTenant,
        Self::ManageOwners,
    ];

    /// In words, for a person who was refused.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::ViewAudit => "view the audit log",
            Self::ManageAgents => "manage agents",
            Self::ManageKeys => "manage keys",
            Self::ManageTools => "manage tools",
            Self::ManageMembers => "manage members",
            Self::ManageOwners => "manage owners",
            Self::ManageTenant => "manage the tenant",
        }
    }
}

/// A person acting in a tenant they belong to. Made only from a session and a membership.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Where.
    pub tenant: TenantId,
    /// As what.
    pub role: Role,
}

impl Member {
    /// Ok if the role allows it, else `Denied`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.role.may(permission) { Ok(()) } else { Err(Error::new(ErrorKind::Denied(permission.as_str()))) }
    }
}
