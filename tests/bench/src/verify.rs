//! What it takes to verify an export: lines a second and memory, of as many entries as one likes.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    time::Instant,
};

use anyhow::ensure;
use serde_json::{Map, Value, json};
use trunkline_platform::{
    chain::{self, Checkpoint, Format, Outside, ROOT},
    ids::TenantId,
};

use crate::say;

/// As many as the requirements name.
pub(crate) const ENTRIES: u64 = 1_000_000;

/// Makes a chain of so many calls, and verifies its export.
pub(crate) fn measure(entries: u64) -> anyhow::Result<()> {
    let file = std::env::temp_dir().join(format!("trunkline-bench-{}.jsonl", std::process::id()));
    let outside = Outside { checkpoints: vec![write(&file, entries)?], ..Outside::default() };
    let began = Instant::now();
    let verified = chain::verify_export(BufReader::new(File::open(&file)?), Format::Jsonl, &outside, false)?;
    let took = began.elapsed();
    std::fs::remove_file(&file)?;
    let verified = verified.map_err(|finding| anyhow::anyhow!("{finding}"))?;
    ensure!(verified.lines == entries && verified.signed == entries, "{verified:?}");
    let memory = std::fs::read_to_string("/proc/self/status")?;
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    say(format!("{entries} entries verified in {took:?}; {peak}"));
    Ok(())
}

fn write(file: &std::path::Path, entries: u64) -> anyhow::Result<Checkpoint> {
    let mut file = BufWriter::new(File::create(file)?);
    let mut head = ROOT;
    for seq in 1..=entries {
        let entry = entry(seq);
        let text = entry.to_string();
        let previous = head;
        head = chain::hash(&previous, &text);
        let mut line = entry.as_object().cloned().unwrap_or_else(Map::new);
        for hashed_only in ["v", "call"] {
            line.remove(hashed_only);
        }
        for (name, value) in [
            ("seq", json!(seq)),
            ("hash", json!(hex(&head))),
            ("previous", json!(hex(&previous))),
            ("before", json!([])),
            ("entry", json!(text)),
            ("after", json!([])),
        ] {
            line.insert(name.to_owned(), value);
        }
        writeln!(file, "{}", Value::Object(line))?;
    }
    file.flush()?;
    Ok(Checkpoint { tenant: TenantId::NIL, seq: entries, hash: head })
}

/// A call as large as they are.
fn entry(seq: u64) -> Value {
    json!({
        "v": 1, "id": format!("ent_{seq:026}"), "tenant": TenantId::NIL.to_string(), "at": "2026-11-21T20:08:35.982905Z",
        "actor_kind": "agent", "actor": "agt_01m7zvjrw2f1986jxq18zt865g", "action": "tools/call",
        "subject": "tool_01m7zvjrpzebpv8wmc7pqevzxq", "decision": "allowed", "reason": "",
        "request_id": "01a1ffb9-98f8-75f0-bbc2-a2b92bc18004", "details": {},
        "call": {
            "agent": "agt_01m7zvjrw2f1986jxq18zt865g", "key": "key_01m7zvjrwnec2r5xywbhpg1rw8", "client": "bench",
            "tool": "tool_01m7zvjrpzebpv8wmc7pqevzxq", "tool_version": "ver_01m7zvjrtkek7bz70j3em2mr6j", "tool_name": "echo",
            "outcome": "ok", "latency_us": 286_909, "auth_us": 149_053, "admission_us": 31_758, "upstream_us": 65, "bytes_in": 280,
            "bytes_out": 287, "cost_micro": 0, "revision": "2026-07-28", "degraded": false, "jsonrpc_id": seq.to_string(),
        },
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
