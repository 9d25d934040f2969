//! Names that do not resolve, resolve late, to themselves, or to somewhere else than before. The replica runs where another file says who is asked.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{net::UdpSocket, task::JoinHandle};
use trunkline::services::free_port;

use super::timed;
use crate::support::{Era, Replica, SPOOL_DIR, TestApp, Upstream, figure, private::Folder, process::binary, tools, world};

/// Where names are asked for: nobody else's.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
/// What a name may take, the way to the upstream, and some for a busy machine.
const WITHIN: Duration = Duration::from_secs(5);

/// Answers of the server of names, by the question's first label and how often it was asked for an address.
struct Names {
    asked: Arc<Mutex<HashMap<String, usize>>>,
    task: JoinHandle<()>,
}

impl Names {
    /// `None` where this user may not answer at the port of names.
    async fn start() -> Option<Self> {
        let socket = world().spawn(UdpSocket::bind((SERVER, 53))).await.expect("no panic").ok()?;
        let asked = Arc::<Mutex<HashMap<String, usize>>>::default();
        let its_asked = Arc::clone(&asked);
        let task = world().spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                if let Some(answer) = answer(&bytes[..length], &its_asked) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Some(Self { asked, task })
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035 as far as this test needs it: one question, its first label, its kind.
fn answer(query: &[u8], asked: &Mutex<HashMap<String, usize>>) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let (question, label) = (query.get(12..end)?, 13..13 + usize::from(*query.get(12)?));
    let name = String::from_utf8_lossy(query.get(label)?).to_lowercase();
    let is_v4 = question[question.len() - 3] == 1;
    let times = {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(name.clone()).or_insert(0);
        *times += usize::from(is_v4);
        *times
    };
    let local = Some([127, 0, 0, 1]);
    let (code, address) = match (&*name, times) {
        ("hang", _) => return None,
        ("none", _) | ("flap", ..=1) => (3, None),
        ("turn", ..=1) => (0, Some([169, 254, 169, 254])),
        ("flap" | "turn", _) => (0, local),
        _ => (0, None),
    };
    let address = address.filter(|_| is_v4);
    let is_loop = name == "loop";
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some() || is_loop), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address);
    } else if is_loop {
        // Its other name is itself.
        answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, 12]);
    }
    Some(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_39_names_that_hang_flap_or_turn_cost_their_call_only() {
    let Some(names) = Names::start().await else {
        return figure("F39", "not played: answering at port 53 needs root");
    };
    let (app, upstream) = (TestApp::builder().unlimited().start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let port = upstream.addr.port();
    for name in ["hang", "none", "flap", "turn", "loop"] {
        acme.tool(name, tools::get(&format!("http://{name}.names.test:{port}/json"))).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    let (spool, folder) = (Folder::new("spool"), Folder::new("names"));
    let file = folder.0.join("resolv.conf");
    std::fs::write(&file, format!("nameserver {SERVER}\noptions timeout:10 attempts:1\n")).expect("written");
    // In a world of its own, where another file lies in that place.
    let mut starting = Command::new("unshare");
    starting.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]).arg(&file).arg(binary());
    starting.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    let settings = [(SPOOL_DIR, &*spool.0.display().to_string())];
    let replica = Replica::start_by(starting, &app, free_port().expect("a port"), &settings, None).await;
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    let call = async |tool: &str| {
        let asked = Instant::now();
        let answer = there.call(Era::Stateless, tool, json!({})).await;
        let class = if answer.is_ok() { "ok".to_owned() } else { answer.error_class().to_owned() };
        (class, asked.elapsed())
    };
    timed(&there).await;
    let mut said = Vec::new();
    for (tool, wanted) in [
        ("none", "upstream_unreachable"),
        ("loop", "upstream_unreachable"),
        ("flap", "upstream_unreachable"),
        // What was not there a moment ago is not remembered as missing.
        ("flap", "ok"),
        ("turn", "egress_refused"),
        ("turn", "ok"),
        ("hang", "upstream_unreachable"),
    ] {
        let (class, took) = call(tool).await;
        assert!(class == wanted && took < WITHIN, "{tool}: {class} after {took:?}, asked {} times", names.asked(tool));
        said.push(format!("{tool} {class} after {took:.1?}"));
    }
    assert_eq!(upstream.seen().len(), 2, "nothing else was asked");
    // More than are looked up at the same time, and others go on meanwhile.
    let (hanging, other) = tokio::join!(join_all((0..70).map(|_| call("hang"))), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        timed(&there).await
    });
    let slowest = hanging.iter().map(|(_, took)| *took).max().expect("some");
    assert!(hanging.iter().all(|(class, _)| class == "upstream_unreachable") && slowest < WITHIN, "{slowest:?} {:?}", hanging[0]);
    figure("F39", &format!("{}; 70 that hang at once within {slowest:.1?}, another call meanwhile {other:.1?}", said.join(", ")));
    assert!(other < Duration::from_secs(1), "{other:?}");
    replica.stop();
}
