//! what stands around a process that runs functions, as the kernel says it.

use std::fs;

use serde_json::json;

use super::{function, idle, proc_file, start};
use crate::support::{Era, TestApp};

async fn one_process(app: &TestApp) -> u32 {
    let acme = app.tenant("acme").await;
    acme.tool("quick", function("export default () => 'quick'", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.call(Era::Stateless, "quick", json!({})).await.is_ok());
    let [process] = idle(app)[..] else { panic!("one process") };
    process
}

#[tokio::test]
async fn x_03_the_kernel_confines_the_process() {
    let app = start().await;
    let process = one_process(&app).await;
    let status = fs::read_to_string(proc_file(process, "status")).expect("its status");
    let line = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {status}")).trim()
    };
    assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1", "2"), "{status}");
    // Every thread of it, not only the one that runs code.
    for task in fs::read_dir(proc_file(process, "task")).expect("its threads").flatten() {
        let status = fs::read_to_string(task.path().join("status")).expect("its status");
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    let limits = fs::read_to_string(proc_file(process, "limits")).expect("its limits");
    for (name, most) in [("Max open files", "16"), ("Max processes", "0"), ("Max file size", "0"), ("Max core file size", "0")] {
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
        let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [most, most], "{line}");
    }
    let confinement = app.act(|platform| async move { platform.sandboxes.confinement().await }).await.expect("a process");
    assert_eq!(confinement.missing(), [""; 0]);
}

#[tokio::test]
async fn x_05_the_process_holds_nothing_of_ours() {
    let app = start().await;
    let process = one_process(&app).await;
    assert_eq!(fs::read(proc_file(process, "environ")).expect("its environment"), b"");
    let mut open = Vec::new();
    for entry in fs::read_dir(proc_file(process, "fd")).expect("its descriptors").flatten() {
        let to = fs::read_link(entry.path()).expect("a link").display().to_string();
        open.push((entry.file_name().to_string_lossy().parse::<u32>().expect("a number"), to));
    }
    open.sort();
    let kinds: Vec<_> = open.iter().map(|(number, to)| (*number, to.split(':').next().unwrap_or_default())).collect();
    assert!(matches!(kinds[..], [(0, "pipe" | "socket"), (1, "pipe" | "socket"), (2, "/dev/null")]), "{open:?}");
}

#[tokio::test]
async fn x_05_code_finds_no_way_out() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    let code = "export default async () => {
        const names = ['require', 'process', 'Deno', 'Bun', 'std', 'os', 'WebAssembly', 'XMLHttpRequest', 'WebSocket', 'Worker'];
        const found = names.filter((name) => name in globalThis);
        for (const from of ['fs', 'node:fs', 'std', 'os', '/etc/passwd', './x.js', 'https://example.com/x.js']) {
            try { await import(from); found.push(from); } catch {}
        }
        for (const url of ['file:///etc/passwd', 'http://127.0.0.1/', 'data:text/plain,x']) {
            try { await fetch(url); found.push(url); } catch {}
        }
        const roots = Object.getOwnPropertyNames(globalThis).filter((name) => name.startsWith('__'));
        return { found, roots, made: typeof new Function('return this')().__request };
    }";
    acme.tool("probe", function(code, &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    let answer = agent.call(Era::Stateless, "probe", json!({})).await;
    let found = &answer.json["result"]["structuredContent"];
    assert_eq!(*found, json!({ "found": [], "roots": [], "made": "undefined" }), "{}", answer.text);
}
