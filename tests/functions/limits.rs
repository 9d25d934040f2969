//! six attacks end at their limits, and a neighbour's calls go on meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{function, start, within_ms};
use crate::support::Era;

const ATTACKS: [(&str, &str, &[&str]); 7] = [
    ("endless_loop", "export default () => { for (;;); }", &["tool_timeout"]),
    (
        "allocation_bomb",
        "export default () => { const all = []; for (;;) all.push(new Array(1e5).fill(all.length)); }",
        &["tool_memory"],
    ),
    ("deep_recursion", "const f = () => f() + 1; export default f", &["tool_threw"]),
    ("huge_output", "export default () => 'x'.repeat(2 ** 21)", &["tool_output"]),
    ("log_flood", "export default () => { for (;;) console.log('x'.repeat(1000)); }", &["tool_timeout"]),
    (
        "promise_flood",
        "export default async () => { for (;;) { Promise.resolve().then(() => 1); await null; } }",
        &["tool_timeout", "tool_memory"],
    ),
    ("request_flood", "export default async () => { for (;;) await fetch('http://127.0.0.1:9/'); }", &["tool_threw"]),
];

#[tokio::test]
async fn f_40_x_01_x_02_attacks_end_at_their_limits() {
    let app = start().await;
    let (evil, good) = (app.tenant("evil").await, app.tenant("good").await);
    for (name, code, _) in ATTACKS {
        evil.tool(
            name,
            // It computes for long, so it comes last on a machine that others keep busy.
            within_ms(if name == "allocation_bomb" { 60_000 } else { 2000 }, function(code, &["http://127.0.0.1:9"])),
        )
        .await;
    }
    good.tool("quick", function("export default ({ n }) => String(n)", &[])).await;
    let (attacker, neighbour) = (evil.agent("agent", "tools:read").await, good.agent("agent", "tools:read").await);
    let attacks = tokio::spawn(async move {
        for (name, _, expected) in ATTACKS {
            let began = Instant::now();
            let answer = attacker.call(Era::Stateless, name, json!({})).await;
            assert!(expected.contains(&answer.error_class()), "{name}: {}", answer.text);
            assert!(began.elapsed() < Duration::from_secs(75), "{name} took {:?}", began.elapsed());
        }
    });
    let mut calls = 0;
    while !attacks.is_finished() || calls < 20 {
        let answer = neighbour.call(Era::Stateless, "quick", json!({ "n": calls })).await;
        assert_eq!(answer.result(), calls.to_string());
        calls += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    attacks.await.expect("each attack ends as it should");
}

#[tokio::test]
async fn x_02_more_calls_than_places_wait_or_are_told() {
    crate::support::process::binary();
    let app = crate::support::TestApp::builder().unlimited().set("FUNCTIONS_PROCESSES", 2).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("slow", function("export default () => new Promise((done) => setTimeout(() => done('done'), 100))", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.call(Era::Stateless, "slow", json!({})).await.is_ok());
    let calls = (0..50).map(|_| async { agent.call(Era::Stateless, "slow", json!({})).await });
    let answers = futures_util::future::join_all(calls).await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    let busy = answers.iter().filter(|answer| answer.error_class() == "tool_busy").count();
    assert_eq!(done + busy, 50, "{:?}", answers.iter().map(|answer| &answer.text).collect::<Vec<_>>());
    assert!(done >= 10 && busy >= 10, "{done} done, {busy} told that it is busy");
    assert!(agent.call(Era::Stateless, "slow", json!({})).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_process() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    acme.tool("loop", within_ms(5000, function("export default () => { for (;;); }", &[]))).await;
    acme.tool("quick", function("export default () => 'quick'", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.call(Era::Stateless, "quick", json!({})).await.is_ok());
    let [process] = super::idle(&app)[..] else { panic!("one process") };
    let cut = tokio::time::timeout(Duration::from_millis(500), agent.call(Era::Stateless, "loop", json!({}))).await;
    assert!(cut.is_err());
    crate::support::eventually("the process has ended", crate::support::SOON, async || {
        (!super::proc_file(process, "cmdline").exists()).then_some(())
    })
    .await;
}

/// Scheduling policies of a process's threads that are for calls, as the kernel numbers them: 0 is the ordinary one, 5 the one that comes last.
fn policies(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(super::proc_file(process, "task")).expect("its threads");
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let of_calls = stats.filter(|stat| stat.contains("(function)"));
    // The 41st field; the third comes after the name.
    of_calls
        .map(|stat| {
            stat.rsplit(')').next().expect("fields").split_whitespace().nth(38).expect("a policy").parse().expect("a number")
        })
        .collect()
}

#[tokio::test]
async fn x_01_a_call_that_computes_for_long_comes_last_and_the_next_does_not() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    acme.tool("quick", function("export default () => 'quick'", &[])).await;
    let looping = "export default ({ ms }) => { const end = Date.now() + ms; while (Date.now() < end); return 'done' }";
    acme.tool("long", within_ms(30_000, function(looping, &[]))).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert_eq!(agent.call(Era::Stateless, "quick", json!({})).await.result(), "quick");
    let [process] = super::idle(&app)[..] else { panic!("one process") };
    let before = policies(process);
    assert_eq!(before, [0; 32]);
    // Seen while it runs, however late this test gets to look.
    let seen = async {
        let last = |policies: &Vec<u32>| policies.iter().filter(|policy| **policy == 5).count() == 1;
        crate::support::eventually("its thread comes last", crate::support::SOON, async || Some(policies(process)).filter(last))
            .await
    };
    let (long, during) = tokio::join!(agent.call(Era::Stateless, "long", json!({ "ms": 4000 })), seen);
    assert_eq!(long.result(), "done");
    assert_eq!(during.len(), before.len(), "{during:?}");
    // The next call has another thread of the same process; that one ends when it gets to it.
    assert_eq!(agent.call(Era::Stateless, "quick", json!({})).await.result(), "quick");
    let left = vec![0; before.len() - 1];
    crate::support::eventually("its thread is gone", crate::support::SOON, async || (policies(process) == left).then_some(()))
        .await;
    assert_eq!(super::idle(&app), [process]);
    // After as many as it has threads it ends, and another one goes on.
    for _ in 0..before.len() * 4 {
        assert_eq!(agent.call(Era::Stateless, "long", json!({ "ms": 60 })).await.result(), "done");
        if super::idle(&app) != [process] {
            break;
        }
    }
    assert_ne!(super::idle(&app), [process]);
}
