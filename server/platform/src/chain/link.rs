//! One link of a tenant's chain: the canonical form of an entry with its call, and the hash over it and the one before.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    catalog::definition::canonical,
    hex,
    ids::{AgentId, EntryId, GrantId, KeyId, TenantId, ToolId, ToolVersionId, UserId},
};

/// The canonical form that new links are hashed in. A link remembers its own.
pub(super) const FORM: i16 = 4;
/// From this one on a call has what it cost in its context.
const WITH_CONTEXT: i16 = 2;
/// From this one on where it came from and what it was about.
const WITH_PROVENANCE: i16 = 3;
/// From this one on the requests that were made for it.
const WITH_DOWNSTREAM: i16 = 4;

/// The hash of a link.
pub type Hash = [u8; 32];

/// What stands before the first link.
pub const ROOT: Hash = [0; 32];

/// The hash of the link that has this canonical entry and comes after that hash.
pub fn hash(previous: &Hash, entry: &str) -> Hash {
    let mut digest = Sha256::new();
    digest.update([0]);
    digest.update(previous);
    digest.update(entry.as_bytes());
    digest.finalize().into()
}

/// An audit entry with its call, as it lies in the database.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct EntryRow {
    /// Whose.
    pub(super) tenant_id: TenantId,
    /// Its id.
    pub(super) id: EntryId,
    /// When.
    pub(super) at: DateTime<Utc>,
    pub(super) actor_kind: String,
    pub(super) actor_id: Option<Uuid>,
    pub(super) action: String,
    pub(super) subject: String,
    pub(super) decision: String,
    pub(super) reason: String,
    pub(super) request_id: String,
    pub(super) details: Value,
    #[sqlx(flatten)]
    pub(super) call: CallRow,
}

/// The columns of a call; none of them where the entry is not one.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct CallRow {
    pub(super) agent_id: Option<AgentId>,
    pub(super) key_id: Option<KeyId>,
    pub(super) grant_id: Option<GrantId>,
    pub(super) user_id: Option<UserId>,
    pub(super) tool_id: Option<ToolId>,
    pub(super) tool_version_id: Option<ToolVersionId>,
    pub(super) tool_name: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) error: Option<String>,
    pub(super) latency_us: Option<i64>,
    pub(super) auth_us: Option<i64>,
    pub(super) admission_us: Option<i64>,
    pub(super) upstream_us: Option<i64>,
    pub(super) bytes_in: Option<i64>,
    pub(super) bytes_out: Option<i64>,
    pub(super) tokens_out: Option<i64>,
    pub(super) tokens_definition: Option<i64>,
    pub(super) tokens_estimated: Option<bool>,
    pub(super) context_micro: Option<i64>,
    pub(super) cost_micro: Option<i64>,
    pub(super) revision: Option<String>,
    pub(super) client_name: Option<String>,
    pub(super) degraded: Option<bool>,
    pub(super) jsonrpc_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) network: Option<String>,
    pub(super) region: Option<String>,
    pub(super) arguments_digest: Option<Vec<u8>>,
    pub(super) definition_digest: Option<Vec<u8>>,
    pub(super) upstream_status: Option<i16>,
    pub(super) downstream: Option<Value>,
}

/// Members of an object; what is nothing is left out.
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn id(&mut self, name: &str, id: Option<impl ToString>) -> &mut Self {
        self.put(name, id.map(|id| id.to_string()))
    }
}

impl EntryRow {
    /// That canonical form (RFC 8785), which is what is hashed.
    pub(super) fn canonical(&self, form: i16) -> String {
        let mut entry = Members(Map::new());
        let actor = self.actor_id.map(|id| match &*self.actor_kind {
            "agent" => AgentId::from_uuid(id).to_string(),
            "member" => UserId::from_uuid(id).to_string(),
            _ => id.to_string(),
        });
        entry.put("v", Some(form)).id("id", Some(self.id)).id("tenant", Some(self.tenant_id)).put("at", Some(time(self.at)));
        entry.put("actor_kind", Some(&*self.actor_kind)).put("actor", actor).put("action", Some(&*self.action));
        entry.put("subject", Some(&*self.subject)).put("decision", Some(&*self.decision)).put("reason", Some(&*self.reason));
        entry.put("request_id", Some(&*self.request_id)).put("details", Some(self.details.clone()));
        entry.put("call", self.call.canonical(form));
        canonical(&Value::Object(entry.0))
    }

    /// Is it a call of a tool?
    pub(super) fn is_call(&self) -> bool {
        self.action == "tools/call"
    }
}

impl CallRow {
    fn canonical(&self, form: i16) -> Option<Value> {
        let mut call = Members(Map::new());
        call.id("agent", Some(self.agent_id?)).id("key", self.key_id).id("grant", self.grant_id).id("user", self.user_id);
        call.id("tool", self.tool_id).id("tool_version", self.tool_version_id).put("tool_name", self.tool_name.clone());
        call.put("outcome", self.outcome.clone()).put("error", self.error.clone()).put("client", self.client_name.clone());
        call.put("latency_us", self.latency_us).put("auth_us", self.auth_us).put("admission_us", self.admission_us);
        call.put("upstream_us", self.upstream_us).put("bytes_in", self.bytes_in).put("bytes_out", self.bytes_out);
        call.put("tokens_out", self.tokens_out).put("cost_micro", self.cost_micro).put("revision", self.revision.clone());
        call.put("degraded", self.degraded).put("jsonrpc_id", self.jsonrpc_id.clone()).put("trace_id", self.trace_id.clone());
        if form >= WITH_CONTEXT {
            call.put("tokens_definition", self.tokens_definition).put("tokens_estimated", self.tokens_estimated);
            call.put("context_micro", self.context_micro);
        }
        if form >= WITH_PROVENANCE {
            let digest = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(hex::encode);
            call.put("network", self.network.clone()).put("region", self.region.clone());
            call.put("arguments_digest", digest(&self.arguments_digest))
                .put("definition_digest", digest(&self.definition_digest));
            call.put("upstream_status", self.upstream_status.map(|class| format!("{class}xx")));
        }
        if form >= WITH_DOWNSTREAM {
            call.put("downstream", self.downstream.clone());
        }
        Some(Value::Object(call.0))
    }
}

/// As it stands in canonical entries and in exports: to the microsecond, as the database keeps it.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A call of which everything is known, or nothing that came with a later form.
    fn row(tokens_definition: Option<i64>) -> EntryRow {
        let counted = tokens_definition.is_some();
        EntryRow {
            tenant_id: TenantId::NIL,
            id: EntryId::NIL,
            at: DateTime::UNIX_EPOCH,
            actor_kind: "agent".into(),
            actor_id: Some(Uuid::nil()),
            action: "tools/call".into(),
            subject: String::new(),
            decision: "allowed".into(),
            reason: String::new(),
            request_id: String::new(),
            details: json!({}),
            call: CallRow {
                agent_id: Some(AgentId::NIL),
                key_id: None,
                grant_id: None,
                user_id: None,
                tool_id: None,
                tool_version_id: None,
                tool_name: Some("echo".into()),
                outcome: Some("ok".into()),
                error: None,
                latency_us: Some(5),
                auth_us: Some(1),
                admission_us: Some(1),
                upstream_us: Some(1),
                bytes_in: Some(2),
                bytes_out: Some(3),
                tokens_out: tokens_definition,
                tokens_definition,
                tokens_estimated: counted.then_some(false),
                context_micro: counted.then_some(7),
                cost_micro: Some(4),
                revision: Some("2026-07-28".into()),
                client_name: Some(String::new()),
                degraded: Some(false),
                jsonrpc_id: None,
                trace_id: None,
                network: counted.then(|| "203.0.113.0/24".into()),
                region: counted.then(|| "here".into()),
                arguments_digest: counted.then(|| vec![0xab; 32]),
                definition_digest: counted.then(|| vec![1; 32]),
                upstream_status: counted.then_some(2),
                downstream: counted.then(|| json!({ "requests": [{ "to": "https://a.example", "took_us": 3 }] })),
            },
        }
    }

    #[test]
    fn each_form_has_what_it_knows() {
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|form| row(Some(9)).canonical(form));
        let (context, provenance) = (
            ["\"context_micro\":7", "\"tokens_definition\":9", "\"tokens_estimated\":false"],
            [
                "\"network\":\"203.0.113.0/24\"",
                "\"region\":\"here\"",
                "\"arguments_digest\":\"abab",
                "\"upstream_status\":\"2xx\"",
            ],
        );
        assert!(context.iter().all(|member| !first.contains(member) && second.contains(member) && third.contains(member)));
        assert!(provenance.iter().all(|member| !first.contains(member) && !second.contains(member) && third.contains(member)));
        let downstream = "\"downstream\":{\"requests\":[{\"to\":\"https://a.example\",\"took_us\":3}]}";
        assert!(!third.contains("downstream") && fourth.contains(downstream), "{fourth}");
        // What is not known is not there: but for the number of the form, all are the same.
        for form in [2, 3, FORM] {
            assert_eq!(row(None).canonical(1), row(None).canonical(form).replace(&format!("\"v\":{form}"), "\"v\":1"));
        }
    }
}
