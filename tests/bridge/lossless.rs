//! What we do not know survives byte for byte, in both directions and every revision.

use serde_json::json;
use trunkline_platform::dialogue::Dialogue;

use super::{Ask, call, cells, result, revision_of, target};
use crate::support::{Draw, TestApp, mcp_upstream::McpUpstream};

/// Values of the whole alphabet of JSON, written as others write them.
fn value(draw: &mut Draw, depth: u32) -> String {
    let number = ["0", "-0", "1.50", "1e2", "1E+2", "-12.0e-3", "9007199254740993", "123456789012345678901234567890", "0.1000"];
    let text = [r#""""#, r#""ä\u00e4\n\/""#, r#""\ud83d\ude00 😀""#, r#""\u0000""#, r#""a\"b\\c""#, r#"" x ""#];
    let space = ["", " ", "  "][usize::try_from(draw.below(3)).expect("small")];
    let choice = draw.below(if depth == 0 { 5 } else { 7 });
    let mut pick = |from: &[&str]| from[usize::try_from(draw.below(from.len() as u64)).expect("small")].to_owned();
    match choice {
        0 => "null".to_owned(),
        1 => pick(&["true", "false"]),
        2 | 3 => pick(&number),
        4 => pick(&text),
        5 => {
            let count = draw.below(4);
            let items: Vec<_> = (0..count).map(|_| value(draw, depth - 1)).collect();
            format!("[{space}{}]", items.join(&format!("{space},")))
        }
        _ => object(draw, depth - 1, ""),
    }
}

fn object(draw: &mut Draw, depth: u32, begin: &str) -> String {
    let count = draw.below(5);
    let mut members: Vec<_> = (0..count).map(|i| format!("\"x-{i}\\u00e4\" :{}", value(draw, depth))).collect();
    if !begin.is_empty() {
        let at = usize::try_from(draw.below(count + 1)).expect("small");
        members.insert(at, begin.to_owned());
    }
    format!("{{{}}}", members.join(", "))
}

#[tokio::test]
async fn unknown_members_of_results_survive_byte_for_byte() {
    let app = TestApp::start().await;
    let mut draw = Draw::new(20_261_121);
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for _ in 0..60 {
            let content = r#""content":[{"type":"text","text":"x","x-inner":1.50}]"#;
            let begin = if revision_of(speaks).has_handshake() {
                content.to_owned()
            } else {
                format!(r#""resultType":"complete",{content}"#)
            };
            let written = object(&mut draw, 4, &begin);
            let came = result(call(&app, &target, "raw", json!({ "result": written })).await);
            assert_eq!(came.get(), written, "{speaks:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn unknown_members_of_requests_survive_byte_for_byte() {
    let app = TestApp::start().await;
    let mut draw = Draw::new(4_711);
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for _ in 0..30 {
            let (arguments, unknown, meta) = (object(&mut draw, 4, ""), value(&mut draw, 3), value(&mut draw, 3));
            let params = format!(
                r#"{{"x-unknown":{unknown},"name":"tool_error","arguments":{arguments},"_meta":{{"example.com/k":{meta},"progressToken":"caller-canary"}}}}"#
            );
            result(Ask::call(&params).send(&app, &target, &Dialogue::silent()).await);
            let sent = upstream.seen_of("tools/call").pop().expect("a call").body;
            for part in [format!(r#""arguments":{arguments}"#), format!(r#""x-unknown":{unknown}"#), meta] {
                assert!(sent.contains(&part), "{speaks:?} {way:?}: {part} is not in {sent}");
            }
            assert!(!sent.contains("caller-canary"), "its token is not ours: {sent}");
        }
    }
}
