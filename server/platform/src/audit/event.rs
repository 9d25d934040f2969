//! Every event as an enum: the closed list of what can be found in the audit log.

use serde_json::{Value, json};

use super::Difference;
use crate::{
    actor::Role,
    call::Outcome,
    ids::{
        AgentId, AlertId, ApiId, BudgetId, CertificateNameId, ChangeId, ClientId, CredentialId, DefinitionId, GrantId,
        InvitationId, KeyId, OperationId, SourceId, TenantId, ToolId, ToolsetId, TrustedIssuerId, UserId,
    },
    mail::AccountChange,
};

/// A change.
#[derive(Debug, Clone)]
pub enum Event {
    /// A tenant came into being.
    TenantCreated(TenantId),
    /// Its name or currency changed.
    TenantChanged(TenantId, Difference),
    /// Its secrets are about to be sealed under a new key.
    DataKeyRenewed(TenantId),
    /// Somebody was invited.
    MemberInvited(InvitationId, Role),
    /// An invitation was withdrawn.
    InvitationWithdrawn(InvitationId),
    /// Somebody accepted.
    MemberJoined(UserId, Role),
    /// A member's role changed.
    MemberRoleChanged(UserId, Role, Difference),
    /// A member was removed or left.
    MemberRemoved(UserId),
    /// A member changed how they sign in.
    AccountChanged(UserId, AccountChange),
    /// What members must have to sign in changed.
    SignInChanged(TenantId),
    /// The identity provider was set or changed.
    SsoChanged(TenantId),
    /// Single sign-on was switched off.
    SsoRemoved(TenantId),
    /// An agent came into being.
    AgentCreated(AgentId),
    /// Its name, description, scopes or limits changed.
    AgentChanged(AgentId, Difference),
    /// It may not call any more.
    AgentSuspended(AgentId),
    /// It may call again.
    AgentResumed(AgentId),
    /// It was refused too often and has a tenth of its rates for a while.
    AgentThrottled(AgentId),
    /// It was throttled too often and may not call any more.
    AgentSuspendedForRefusals(AgentId),
    /// The limits of the whole tenant changed.
    TenantLimitsChanged(TenantId, Difference),
    /// What may be spent was set or changed, of the tenant, agent or tool with that id.
    BudgetSet(BudgetId, String, Difference),
    /// It is not bounded any more.
    BudgetRemoved(BudgetId, String, Difference),
    /// The share at which owners are told is spent.
    BudgetWarned(BudgetId, String),
    /// All of it is spent.
    BudgetSpent(BudgetId, String),
    /// A key came into being.
    KeyCreated(KeyId, AgentId),
    /// A key stopped working.
    KeyRevoked(KeyId, AgentId),
    /// A key got a successor; the old one goes on until it expires.
    KeyRolled {
        /// The old key.
        old: KeyId,
        /// Its successor.
        new: KeyId,
        /// Whose they are.
        agent: AgentId,
    },
    /// A tool version was published; number 1 is a new tool.
    ToolPublished(ToolId, i32, Difference),
    /// A version was saved, and is not published.
    ToolDrafted(ToolId, i32),
    /// A tool version was published without a real call, for that reason.
    ToolPublishedUntried(ToolId, i32, String),
    /// The gate stopped a version, at that check.
    ToolStopped(ToolId, i32, &'static str),
    /// A tool points at a version again that was published before.
    ToolRolledBack(ToolId, i32, Difference),
    /// How a tool is tried changed.
    ToolProbeChanged(ToolId, Difference),
    /// A tool fails what it is tried by, at that check.
    ToolFailing(ToolId, String),
    /// It does not any more.
    ToolWell(ToolId),
    /// How a source is tried changed.
    SourceProbeChanged(SourceId, Difference),
    /// A source was let in without a real call, for that reason.
    SourceUntried(SourceId, String),
    /// The gate stopped a source, at that check.
    SourceStopped(SourceId, &'static str),
    /// A source fails what it is tried by, at that check.
    SourceFailing(SourceId, String),
    /// It does not any more.
    SourceWell(SourceId),
    /// An agent is given that version, whatever the tool points at.
    ToolPinned(ToolId, AgentId, i32),
    /// It is not any more.
    ToolUnpinned(ToolId, AgentId),
    /// A tool may not be called any more.
    ToolDisabled(ToolId),
    /// It may be called again.
    ToolEnabled(ToolId),
    /// Its limits changed, its definition did not.
    ToolLimitsChanged(ToolId, Difference),
    /// A member is about to run it by hand.
    ToolTrialBegun(ToolId),
    /// A member ran it by hand, and so it ended.
    ToolTried(ToolId, Outcome),
    /// How calls treat that upstream changed.
    ResilienceChanged(String, Difference),
    /// A source came into being.
    SourceAdded(SourceId),
    /// Where it is, its secret or its policy changed.
    SourceChanged(SourceId),
    /// Its definitions are served again.
    SourceEnabled(SourceId),
    /// Its definitions are not served any more.
    SourceDisabled(SourceId),
    /// It is gone, and its tools are disabled.
    SourceRemoved(SourceId),
    /// The description of an HTTP API was imported.
    ApiImported(ApiId),
    /// A member read it again.
    ApiReadAgain(ApiId),
    /// Another document than the pinned one was found or brought: the pinned digest and its own. Nothing of it is used.
    ApiDescriptionChanged(ApiId, String, String),
    /// Before anybody decided about that document, another one was found or brought.
    ApiDescriptionReplaced(ApiId, String),
    /// Before anybody decided about that document, the pinned one was back.
    ApiDescriptionReturned(ApiId, String),
    /// A document was approved and is pinned: the digest before and its own.
    ApiDescriptionApproved(ApiId, String, String),
    /// That document is not wanted.
    ApiDescriptionDismissed(ApiId, String),
    /// Its link cannot be read for long, for that reason.
    ApiUnreadable(ApiId, String),
    /// It can be read again.
    ApiReadable(ApiId),
    /// Something of an operation of it is wanted otherwise than its description has it.
    ApiOverridden(ApiId, OperationId),
    /// Some of its operations were made tools, and others not any more.
    ApiPublished(ApiId),
    /// Tools were made of it without a real call, for that reason.
    ApiUntried(ApiId, String),
    /// The gate stopped it, at that check.
    ApiStopped(ApiId, &'static str),
    /// It is gone, and its tools are disabled.
    ApiRemoved(ApiId),
    /// A secret has another value; for so many seconds calls go on with the one before where the new one is refused.
    CredentialRotated(CredentialId, i64),
    /// The value before is in force again.
    CredentialWentBack(CredentialId),
    /// The value before is destroyed.
    CredentialOverlapEnded(CredentialId),
    /// It is called something else.
    CredentialChanged(CredentialId, Difference),
    /// It is gone; nothing referred to it.
    CredentialDeleted(CredentialId),
    /// Each person uses their own account at it from now on, or the provider of their accounts changed.
    ConnectionProviderSet(SourceId),
    /// It has one credential for the tenant again, and all connections ended.
    ConnectionProviderRemoved(SourceId),
    /// A member connected their account to it.
    ConnectionMade(SourceId, UserId),
    /// A member ended their connection.
    ConnectionEnded(SourceId, UserId),
    /// The provider refuses what a member had connected.
    ConnectionBroken(SourceId, UserId),
    /// It brought a definition that is new.
    DefinitionFound(DefinitionId, SourceId, &'static str),
    /// A definition is served from now on.
    DefinitionApproved(DefinitionId),
    /// A definition is not served any more, because somebody does not want it.
    DefinitionSwitchedOff(DefinitionId),
    /// The source no longer has it.
    DefinitionRemoved(DefinitionId),
    /// The source has it again.
    DefinitionReturned(DefinitionId),
    /// It changed, and the change was taken at once.
    DefinitionChanged(DefinitionId),
    /// It changed, and the change waits for a person.
    ChangePending(ChangeId, DefinitionId),
    /// The policy of its source would have let it in, and the gate stopped it at that check: it waits for a person.
    DefinitionStopped(DefinitionId, &'static str),
    /// A member took the change.
    ChangeApproved(ChangeId, DefinitionId),
    /// A member did not take it.
    ChangeRejected(ChangeId, DefinitionId),
    /// A toolset came into being.
    ToolsetCreated(ToolsetId),
    /// Its words or its tools changed.
    ToolsetChanged(ToolsetId),
    /// It is gone.
    ToolsetDeleted(ToolsetId),
    /// A client that the tenant did not know asked for consent.
    ClientMet(ClientId),
    /// A client was registered by hand.
    ClientAdded(ClientId),
    /// A client may be used.
    ClientApproved(ClientId),
    /// A client may not be used any more, and everything it was granted is revoked.
    ClientBlocked(ClientId),
    /// A client has a new secret; the old one is refused.
    ClientSecretReplaced(ClientId),
    /// Which clients members may use changed.
    ClientPolicyChanged(TenantId, Difference),
    /// An identity provider is believed.
    IssuerTrusted(TrustedIssuerId),
    /// It is not any more, and what came of its assertions is revoked.
    IssuerRemoved(TrustedIssuerId),
    /// What client certificates mean changed.
    CertificatePolicyChanged(TenantId),
    /// A name in certificates stands for an agent.
    CertificateNameAdded(CertificateNameId, AgentId),
    /// It does not any more.
    CertificateNameRemoved(CertificateNameId, AgentId),
    /// A client may act as an agent.
    GrantGiven(GrantId, AgentId),
    /// It may not any more; the word says why.
    GrantRevoked(GrantId, &'static str),
    /// Whom alerts are told changed.
    AlertTargetsChanged(TenantId),
    /// A member looks after an alert.
    AlertAcknowledged(AlertId),
    /// Nobody is told of what it is about until then.
    AlertSilenced(AlertId, chrono::DateTime<chrono::Utc>),
    /// Retention has dropped a month (`YYYYMM`) of the record: so many entries.
    MonthDropped(TenantId, String, u64),
}

impl Event {
    /// Name of the event, such as `agent.created`.
    pub fn action(&self) -> &'static str {
        match self {
            Self::TenantCreated(_) => "tenant.created",
            Self::DataKeyRenewed(_) => "tenant.data_key_renewed",
            Self::TenantChanged(..) => "tenant.changed",
            Self::MemberInvited(..) => "member.invited",
            Self::InvitationWithdrawn(_) => "member.invitation_withdrawn",
            Self::MemberJoined(..) => "member.joined",
            Self::MemberRoleChanged(..) => "member.role_changed",
            Self::MemberRemoved(_) => "member.removed",
            Self::AccountChanged(_, change) => change.as_str(),
            Self::SignInChanged(_) => "tenant.sign_in_changed",
            Self::SsoChanged(_) => "sso.changed",
            Self::SsoRemoved(_) => "sso.removed",
            Self::AgentCreated(_) => "agent.created",
            Self::AgentChanged(..) => "agent.changed",
            Self::AgentSuspended(_) => "agent.suspended",
            Self::AgentResumed(_) => "agent.resumed",
            Self::AgentThrottled(_) => "agent.throttled",
            Self::AgentSuspendedForRefusals(_) => "agent.suspended_for_refusals",
            Self::TenantLimitsChanged(..) => "tenant.limits_changed",
            Self::BudgetSet(..) => "budget.set",
            Self::BudgetRemoved(..) => "budget.removed",
            Self::BudgetWarned(..) => "budget.warned",
            Self::BudgetSpent(..) => "budget.spent",
            Self::KeyCreated(..) => "key.created",
            Self::KeyRevoked(..) => "key.revoked",
            Self::KeyRolled { .. } => "key.rolled",
            Self::ToolPublished(..) => "tool.published",
            Self::ToolDrafted(..) => "tool.drafted",
            Self::ToolPublishedUntried(..) => "tool.published_untried",
            Self::ToolStopped(..) => "tool.stopped",
            Self::ToolRolledBack(..) => "tool.rolled_back",
            Self::ToolProbeChanged(..) => "tool.probe_changed",
            Self::ToolFailing(..) => "tool.failing",
            Self::ToolWell(_) => "tool.well",
            Self::SourceProbeChanged(..) => "source.probe_changed",
            Self::SourceUntried(..) => "source.untried",
            Self::SourceStopped(..) => "source.stopped",
            Self::SourceFailing(..) => "source.failing",
            Self::SourceWell(_) => "source.well",
            Self::ToolPinned(..) => "tool.pinned",
            Self::ToolUnpinned(..) => "tool.unpinned",
            Self::ToolDisabled(_) => "tool.disabled",
            Self::ToolEnabled(_) => "tool.enabled",
            Self::ToolLimitsChanged(..) => "tool.limits_changed",
            Self::ToolTrialBegun(_) => "tool.trial_begun",
            Self::ToolTried(..) => "tool.tried",
            Self::ResilienceChanged(..) => "upstream.resilience_changed",
            Self::SourceAdded(_) => "source.added",
            Self::SourceChanged(_) => "source.changed",
            Self::SourceEnabled(_) => "source.enabled",
            Self::SourceDisabled(_) => "source.disabled",
            Self::SourceRemoved(_) => "source.removed",
            Self::ApiImported(_) => "api.imported",
            Self::ApiReadAgain(_) => "api.read_again",
            Self::ApiDescriptionChanged(..) => "api.description_changed",
            Self::ApiDescriptionReplaced(..) => "api.description_replaced",
            Self::ApiDescriptionReturned(..) => "api.description_returned",
            Self::ApiDescriptionApproved(..) => "api.description_approved",
            Self::ApiDescriptionDismissed(..) => "api.description_dismissed",
            Self::ApiUnreadable(..) => "api.unreadable",
            Self::ApiReadable(_) => "api.readable",
            Self::ApiOverridden(..) => "api.operation_changed",
            Self::ApiPublished(_) => "api.published",
            Self::ApiUntried(..) => "api.untried",
            Self::ApiStopped(..) => "api.stopped",
            Self::ApiRemoved(_) => "api.removed",
            Self::CredentialRotated(..) => "credential.rotated",
            Self::CredentialWentBack(_) => "credential.went_back",
            Self::CredentialOverlapEnded(_) => "credential.overlap_ended",
            Self::CredentialChanged(..) => "credential.changed",
            Self::CredentialDeleted(_) => "credential.deleted",
            Self::ConnectionProviderSet(_) => "connection.provider_set",
            Self::ConnectionProviderRemoved(_) => "connection.provider_removed",
            Self::ConnectionMade(..) => "connection.made",
            Self::ConnectionEnded(..) => "connection.ended",
            Self::ConnectionBroken(..) => "connection.broken",
            Self::DefinitionFound(..) => "definition.found",
            Self::DefinitionApproved(_) => "definition.approved",
            Self::DefinitionSwitchedOff(_) => "definition.switched_off",
            Self::DefinitionRemoved(_) => "definition.removed",
            Self::DefinitionReturned(_) => "definition.returned",
            Self::DefinitionChanged(_) => "definition.changed",
            Self::ChangePending(..) => "definition.change_pending",
            Self::DefinitionStopped(..) => "definition.stopped",
            Self::ChangeApproved(..) => "definition.change_approved",
            Self::ChangeRejected(..) => "definition.change_rejected",
            Self::ToolsetCreated(_) => "toolset.created",
            Self::ToolsetChanged(_) => "toolset.changed",
            Self::ToolsetDeleted(_) => "toolset.deleted",
            Self::ClientMet(_) => "client.met",
            Self::ClientAdded(_) => "client.added",
            Self::ClientApproved(_) => "client.approved",
            Self::ClientBlocked(_) => "client.blocked",
            Self::ClientSecretReplaced(_) => "client.secret_replaced",
            Self::ClientPolicyChanged(..) => "client.policy_changed",
            Self::IssuerTrusted(_) => "issuer.trusted",
            Self::IssuerRemoved(_) => "issuer.removed",
            Self::CertificatePolicyChanged(_) => "certificate.policy_changed",
            Self::CertificateNameAdded(..) => "certificate.name_added",
            Self::CertificateNameRemoved(..) => "certificate.name_removed",
            Self::GrantGiven(..) => "grant.given",
            Self::GrantRevoked(..) => "grant.revoked",
            Self::AlertTargetsChanged(_) => "alert.targets_changed",
            Self::AlertAcknowledged(_) => "alert.acknowledged",
            Self::AlertSilenced(..) => "alert.silenced",
            Self::MonthDropped(..) => "record.month_dropped",
        }
    }

    /// Id of what it happened to.
    pub fn subject(&self) -> String {
        match self {
            Self::TenantCreated(id)
            | Self::TenantChanged(id, _)
            | Self::TenantLimitsChanged(id, _)
            | Self::SignInChanged(id)
            | Self::SsoChanged(id)
            | Self::SsoRemoved(id)
            | Self::DataKeyRenewed(id)
            | Self::ClientPolicyChanged(id, _)
            | Self::CertificatePolicyChanged(id)
            | Self::AlertTargetsChanged(id)
            | Self::MonthDropped(id, ..) => id.to_string(),
            Self::AlertAcknowledged(id) | Self::AlertSilenced(id, _) => id.to_string(),
            Self::MemberInvited(id, _) | Self::InvitationWithdrawn(id) => id.to_string(),
            Self::MemberJoined(id, _)
            | Self::MemberRoleChanged(id, ..)
            | Self::MemberRemoved(id)
            | Self::AccountChanged(id, _) => id.to_string(),
            Self::AgentCreated(id)
            | Self::AgentChanged(id, _)
            | Self::AgentSuspended(id)
            | Self::AgentResumed(id)
            | Self::AgentThrottled(id)
            | Self::AgentSuspendedForRefusals(id) => id.to_string(),
            Self::BudgetSet(_, subject, _)
            | Self::BudgetRemoved(_, subject, _)
            | Self::BudgetWarned(_, subject)
            | Self::BudgetSpent(_, subject)
            | Self::ResilienceChanged(subject, _) => subject.clone(),
            Self::KeyCreated(id, _) | Self::KeyRevoked(id, _) | Self::KeyRolled { old: id, .. } => id.to_string(),
            Self::ToolPublished(id, ..)
            | Self::ToolDrafted(id, _)
            | Self::ToolPublishedUntried(id, ..)
            | Self::ToolStopped(id, ..)
            | Self::ToolRolledBack(id, ..)
            | Self::ToolProbeChanged(id, _)
            | Self::ToolFailing(id, _)
            | Self::ToolWell(id)
            | Self::ToolPinned(id, ..)
            | Self::ToolUnpinned(id, _)
            | Self::ToolDisabled(id)
            | Self::ToolEnabled(id)
            | Self::ToolLimitsChanged(id, _)
            | Self::ToolTrialBegun(id)
            | Self::ToolTried(id, _) => id.to_string(),
            Self::SourceAdded(id)
            | Self::SourceChanged(id)
            | Self::SourceEnabled(id)
            | Self::SourceDisabled(id)
            | Self::SourceRemoved(id)
            | Self::SourceProbeChanged(id, _)
            | Self::SourceUntried(id, _)
            | Self::SourceStopped(id, _)
            | Self::SourceFailing(id, _)
            | Self::SourceWell(id)
            | Self::ConnectionProviderSet(id)
            | Self::ConnectionProviderRemoved(id)
            | Self::ConnectionMade(id, _)
            | Self::ConnectionEnded(id, _)
            | Self::ConnectionBroken(id, _) => id.to_string(),
            Self::CredentialRotated(id, _)
            | Self::CredentialWentBack(id)
            | Self::CredentialOverlapEnded(id)
            | Self::CredentialChanged(id, _)
            | Self::CredentialDeleted(id) => id.to_string(),
            Self::ApiImported(id)
            | Self::ApiOverridden(id, _)
            | Self::ApiReadAgain(id)
            | Self::ApiDescriptionChanged(id, ..)
            | Self::ApiDescriptionReplaced(id, _)
            | Self::ApiDescriptionReturned(id, _)
            | Self::ApiDescriptionApproved(id, ..)
            | Self::ApiDescriptionDismissed(id, _)
            | Self::ApiUnreadable(id, _)
            | Self::ApiReadable(id)
            | Self::ApiPublished(id)
            | Self::ApiRemoved(id)
            | Self::ApiUntried(id, _)
            | Self::ApiStopped(id, _) => id.to_string(),
            Self::DefinitionFound(id, ..)
            | Self::DefinitionApproved(id)
            | Self::DefinitionSwitchedOff(id)
            | Self::DefinitionRemoved(id)
            | Self::DefinitionReturned(id)
            | Self::DefinitionChanged(id)
            | Self::DefinitionStopped(id, _)
            | Self::ChangePending(_, id)
            | Self::ChangeApproved(_, id)
            | Self::ChangeRejected(_, id) => id.to_string(),
            Self::ToolsetCreated(id) | Self::ToolsetChanged(id) | Self::ToolsetDeleted(id) => id.to_string(),
            Self::ClientMet(id)
            | Self::ClientAdded(id)
            | Self::ClientApproved(id)
            | Self::ClientBlocked(id)
            | Self::ClientSecretReplaced(id) => id.to_string(),
            Self::IssuerTrusted(id) | Self::IssuerRemoved(id) => id.to_string(),
            Self::CertificateNameAdded(id, _) | Self::CertificateNameRemoved(id, _) => id.to_string(),
            Self::GrantGiven(id, _) | Self::GrantRevoked(id, _) => id.to_string(),
        }
    }

    /// What else is worth knowing.
    pub fn details(&self) -> Value {
        match self {
            Self::MemberInvited(_, role) | Self::MemberJoined(_, role) => json!({ "role": role }),
            Self::MemberRoleChanged(_, role, difference) => difference.put(json!({ "role": role })),
            Self::AgentChanged(_, difference)
            | Self::ResilienceChanged(_, difference)
            | Self::ToolLimitsChanged(_, difference)
            | Self::ToolProbeChanged(_, difference)
            | Self::SourceProbeChanged(_, difference)
            | Self::CredentialChanged(_, difference)
            | Self::TenantLimitsChanged(_, difference)
            | Self::TenantChanged(_, difference)
            | Self::ClientPolicyChanged(_, difference) => difference.put(json!({})),
            Self::GrantGiven(_, agent) | Self::CertificateNameAdded(_, agent) | Self::CertificateNameRemoved(_, agent) => {
                json!({ "agent": agent })
            }
            Self::BudgetSet(id, _, difference) | Self::BudgetRemoved(id, _, difference) => {
                difference.put(json!({ "budget": id }))
            }
            Self::BudgetWarned(id, _) | Self::BudgetSpent(id, _) => json!({ "budget": id }),
            Self::AlertSilenced(_, until) => json!({ "until": until }),
            Self::MonthDropped(_, month, entries) => json!({ "month": month, "entries": entries }),
            Self::CredentialRotated(_, overlap_s) => json!({ "overlap_s": overlap_s }),
            Self::GrantRevoked(_, why) => json!({ "why": why }),
            Self::KeyCreated(_, agent) | Self::KeyRevoked(_, agent) | Self::ToolUnpinned(_, agent) => json!({ "agent": agent }),
            Self::KeyRolled { new, agent, .. } => json!({ "agent": agent, "new": new }),
            Self::ToolPinned(_, agent, number) => json!({ "agent": agent, "version": number }),
            Self::ToolDrafted(_, number) => json!({ "version": number }),
            Self::ToolPublishedUntried(_, number, reason) => json!({ "version": number, "reason": reason }),
            Self::ToolStopped(_, number, check) => json!({ "version": number, "check": check }),
            Self::SourceUntried(_, reason) | Self::ApiUntried(_, reason) | Self::ApiUnreadable(_, reason) => {
                json!({ "reason": reason })
            }
            Self::ApiDescriptionChanged(_, pinned, found) => json!({ "pinned": pinned, "found": found }),
            Self::ApiDescriptionApproved(_, before, pinned) => json!({ "before": before, "pinned": pinned }),
            Self::ApiDescriptionReplaced(_, found)
            | Self::ApiDescriptionReturned(_, found)
            | Self::ApiDescriptionDismissed(_, found) => json!({ "found": found }),
            Self::SourceStopped(_, check) | Self::ApiStopped(_, check) | Self::DefinitionStopped(_, check) => {
                json!({ "check": check })
            }
            Self::ToolFailing(_, check) | Self::SourceFailing(_, check) => json!({ "check": check }),
            Self::ToolPublished(_, number, difference) | Self::ToolRolledBack(_, number, difference) => {
                difference.put(json!({ "version": number }))
            }
            Self::ConnectionMade(_, user) | Self::ConnectionEnded(_, user) | Self::ConnectionBroken(_, user) => {
                json!({ "user": user })
            }
            Self::ApiOverridden(_, operation) => json!({ "operation": operation }),
            Self::ToolTried(_, outcome) => json!({ "outcome": outcome.as_str() }),
            Self::DefinitionFound(_, source, state) => json!({ "source": source, "state": state }),
            Self::ChangePending(change, _) | Self::ChangeApproved(change, _) | Self::ChangeRejected(change, _) => {
                json!({ "change": change })
            }
            _ => json!({}),
        }
    }
}
