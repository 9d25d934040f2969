//! What a script finds in `dev.json` and a person on the screen: the same, in two forms.

use std::net::SocketAddr;

use serde::Serialize;
use url::Url;

use super::{conformance::Conformance, seed::Seeded, state::StateDir};
use crate::{services::Services, terminal};

/// Everything one needs to use the running platform. Its fields are an interface: scripts depend on them.
#[derive(Serialize)]
pub(super) struct Announcement {
    base_url: String,
    ops_url: String,
    issuer: String,
    tenant: String,
    mcp_url: String,
    agent_id: String,
    api_key: String,
    user: User,
    postgres_url: String,
    redis_url: String,
    mail_url: String,
    pid: u32,
    /// With `--conformance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conformance: Option<Conformance>,
}

#[derive(Serialize)]
struct User {
    email: String,
    password: String,
}

impl Announcement {
    pub(super) fn new(public_url: &Url, ops: SocketAddr, services: &Services, seeded: Seeded) -> Self {
        let base_url = public_url.as_str().trim_end_matches('/').to_owned();
        let ops_url = format!("http://{ops}");
        Self {
            issuer: format!("{base_url}/oauth"),
            mcp_url: format!("{base_url}/t/{}/mcp", seeded.tenant),
            mail_url: format!("{ops_url}/mail"),
            postgres_url: services.postgres.admin_url().reveal().to_owned(),
            redis_url: services.redis.url().reveal().to_owned(),
            user: User { email: seeded.email, password: seeded.password },
            tenant: seeded.tenant,
            agent_id: seeded.agent_id.to_string(),
            api_key: seeded.api_key.reveal().to_owned(),
            pid: std::process::id(),
            conformance: None,
            base_url,
            ops_url,
        }
    }

    /// For a person.
    pub(super) fn print(&self, dir: &StateDir) {
        let Self { base_url, mcp_url, mail_url, ops_url, api_key: key, .. } = self;
        terminal::say(format!(
            "\nTrunkline is ready. Ctrl-C stops everything.\n\n  \
             Dashboard     {base_url}\n  \
             Log in as     {}   password {}\n  \
             MCP endpoint  {mcp_url}\n  \
             Mail          {mail_url}   (captured, nothing is sent)\n  \
             Health        {ops_url}/health\n  \
             State         {}\n",
            self.user.email,
            self.user.password,
            dir.path().display(),
        ));
        terminal::say(format!(
            "Claude Code:\n  claude mcp add --transport http trunkline {mcp_url} --header \"Authorization: Bearer {key}\"\n\n\
             A first call:\n  \
             curl -s {mcp_url} \\\n    \
             -H 'Authorization: Bearer {key}' \\\n    \
             -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\\n    \
             -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: echo' \\\n    \
             -d '{FIRST_CALL}'\n"
        ));
    }
}

const FIRST_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"curl","version":"1"}}}}"#;
