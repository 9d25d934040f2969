//! Classes of failures, in words.

/// What the class of a failure means for who looks into it.
pub(super) fn explain(error: &str) -> &'static str {
    match error {
        "invalid_arguments" => {
            "The arguments did not fit the tool’s schema. The agent was told what would; the tool did not run."
        }
        "upstream_status" => "The tool’s server answered with an error status.",
        "upstream_timeout" => "The tool’s server did not answer within the tool’s timeout.",
        "upstream_unreachable" => "The tool’s server could not be reached.",
        "upstream_too_large" => "The tool’s server answered with more than is allowed.",
        "upstream_content" => "The tool’s server answered with something that is not text.",
        "upstream_protocol" => "The tool’s server answered with something that is not HTTP, or not UTF-8.",
        "egress_refused" => "The tool’s address leads to a private network, or to another place that tools may not reach.",
        "secret_integrity" => "The tool’s stored secret cannot be read. Enter it again.",
        "tool_crashed" => {
            "The tool’s definition is broken, or the process of its function ended. Publish it again if it stays so."
        }
        "tool_threw" => "The function threw an error, or is no JavaScript. Its message was told to the agent.",
        "tool_timeout" => "The function did not end within its timeout.",
        "tool_memory" => "The function wanted more memory than a call has.",
        "tool_output" => "The function gave more than is passed on, or something that is no JSON.",
        "tool_busy" => "Too many functions ran at the same time. This one did not begin, and cost nothing.",
        "tool_unavailable" => {
            "No process for functions could be started. The function did not begin; `trunkline doctor` says why."
        }
        "unknown_tool" => {
            "There is no tool of this name for this agent: it does not exist, is disabled, or its key has no scope for it."
        }
        "limits_unavailable" => {
            "Redis was away, and a tool that is destructive or has a price does not run while nobody can count."
        }
        "agent_tool" => "The agent’s limit for this tool was used up. The call cost nothing.",
        "agent" => "The agent’s limit for all tools together was used up. The call cost nothing.",
        "tool" => "The tool’s limit for all agents together was used up. The call cost nothing.",
        "tenant" => "The organisation’s limit was used up. The call cost nothing.",
        "day" => "The calls of the day (UTC) were used up. The call cost nothing.",
        "concurrency" => "As many calls ran as may run at the same time. The call cost nothing.",
        "installation" => "The limit of the whole installation was used up. The call cost nothing.",
        "never" => "A limit of 0 calls per day allows no such call.",
        "breaker_open" => "The tool’s server failed most of its calls and was left alone for a moment. The call cost nothing.",
        "idempotency_key_reused" => "The idempotency key had been used for another tool or other arguments.",
        "still_running" => "The first call with this idempotency key was still running.",
        "result_not_kept" => "The call with this idempotency key had been made; its result was too large to be kept.",
        "replayed" => "The result is that of an earlier call with the same idempotency key. The tool did not run again.",
        "upstream_lost" => "The tool’s server could not be reached any more in the middle of the call.",
        "cancelled" => "The agent went away before the tool was done.",
        _ => "",
    }
}
