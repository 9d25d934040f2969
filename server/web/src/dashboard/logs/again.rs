//! A call again, from a terminal.

use trunkline_platform::{Error, actor::Member, catalog, error::ErrorKind, usage::Call};
use trunkline_protocol::mcp::Revision;

use crate::{
    WebState,
    dashboard::connect::{self, arguments},
};

/// The command that makes the same call; nothing if its tool is gone, or never was. Arguments are not kept, so there are some that fit.
pub(super) async fn curl(state: &WebState, actor: &Member, slug: &str, call: &Call) -> Result<String, Error> {
    let Some(tool) = call.tool_id else { return Ok(String::new()) };
    let tool = match catalog::get(&state.platform, actor, tool).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound(_)) => return Ok(String::new()),
        tool => tool?,
    };
    let schema = serde_json::from_str(tool.version.input_schema.get()).map_err(Error::internal)?;
    let revision = Revision::find(&call.revision).unwrap_or(Revision::ALL[0]);
    Ok(command(&connect::mcp_url(state, slug), tool.name.as_str(), &arguments(&schema), revision))
}

/// As a client of that revision would send it, without a session.
fn command(url: &str, tool: &str, arguments: &str, revision: Revision) -> String {
    let mut headers = vec![
        "Authorization: Bearer $TRUNKLINE_TOKEN".to_owned(),
        "Content-Type: application/json".to_owned(),
        "Accept: application/json, text/event-stream".to_owned(),
    ];
    if revision != Revision::WITHOUT_HEADER {
        headers.push(format!("MCP-Protocol-Version: {}", revision.as_str()));
    }
    let mut meta = String::new();
    if !revision.has_handshake() {
        headers.extend(["Mcp-Method: tools/call".to_owned(), format!("Mcp-Name: {tool}")]);
        meta = format!(
            ",\n    \"_meta\": {{\"io.modelcontextprotocol/protocolVersion\": \"{}\",\n              \"io.modelcontextprotocol/clientCapabilities\": {{}}}}",
            revision.as_str()
        );
    }
    let headers = headers.iter().fold(String::new(), |text, header| format!("{text}  -H \"{header}\" \\\n"));
    // Within quotes of the shell; outside of texts JSON has none of these.
    let arguments = arguments.replace('\'', "\\u0027");
    format!(
        "curl -sS {url} \\\n{headers}  -d '{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/call\", \"params\": {{\n    \"name\": \"{tool}\",\n    \"arguments\": {arguments}{meta}}}}}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_of_arguments_do_not_end_the_command() {
        let text = command("http://x/mcp", "echo", r#"{"it's":"hello"}"#, Revision::V2025_06_18);
        assert!(text.contains(r#""arguments": {"it\u0027s":"hello"}}}'"#), "{text}");
        assert_eq!(text.matches('\'').count(), 2, "{text}");
    }

    #[test]
    fn each_revision_has_its_headers() {
        for (revision, has_version, has_method) in
            [(Revision::V2025_03_26, false, false), (Revision::V2025_11_25, true, false), (Revision::V2026_07_28, true, true)]
        {
            let text = command("http://x/mcp", "echo", "{}", revision);
            assert_eq!((text.contains("MCP-Protocol-Version"), text.contains("Mcp-Method")), (has_version, has_method), "{text}");
        }
    }
}
