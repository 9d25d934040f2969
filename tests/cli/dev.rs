//! `trunkline dev` from end to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    Visitor, eventually, http,
    private::Folder,
    process::{Process, command, run, with_command_line},
};

const READY_WITHIN: Duration = Duration::from_mins(1);

/// Everything that is announced, as `DESIGN.md` has it: scripts depend on these names.
const ANNOUNCED: [&str; 12] = [
    "agent_id",
    "api_key",
    "base_url",
    "issuer",
    "mail_url",
    "mcp_url",
    "ops_url",
    "pid",
    "postgres_url",
    "redis_url",
    "tenant",
    "user",
];
/// Where the other commands look for it.
const STATE: &str = ".trunkline";

/// Starts it and waits until it has announced itself.
async fn start(folder: &Folder) -> (Process, Value) {
    let state = folder.0.join(STATE);
    let mut starting = command(&["dev", "--port", "0", "--state-dir"]);
    starting.arg(&state).current_dir(&folder.0);
    starting.stdout(File::create(folder.0.join("stdout")).expect("a file"));
    starting.stderr(File::create(folder.0.join("stderr")).expect("a file"));
    let mut process = Process::start(starting);
    let announced = eventually("dev.json is there", READY_WITHIN, async || {
        assert!(!process.has_ended(), "it ended: {}", said(folder, "stderr"));
        let announced = serde_json::from_str::<Value>(&std::fs::read_to_string(state.join("dev.json")).ok()?).ok()?;
        // What a killed one has left behind says nothing.
        (announced["pid"] == process.id()).then_some(announced)
    });
    let announced = announced.await;
    (process, announced)
}

fn said(folder: &Folder, stream: &str) -> String {
    std::fs::read_to_string(folder.0.join(stream)).unwrap_or_default()
}

fn text<'a>(announced: &'a Value, name: &str) -> &'a str {
    announced[name].as_str().unwrap_or_else(|| panic!("{name} is missing in {announced}"))
}

/// Processes that have the folder on their command line.
fn left_of(path: &Path) -> Vec<u32> {
    with_command_line(path.to_str().expect("a path"))
}

async fn nothing_left(folder: &Folder) {
    eventually("nothing is left running", Duration::from_secs(15), async || left_of(&folder.0).is_empty().then_some(())).await;
}

/// A process and all that it and its children have started, each with its moment of birth, since ids are used again.
fn family(id: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut family = vec![id];
    let mut asked = 0;
    while let Some(parent) = family.get(asked) {
        let parent = parent.to_string();
        family.extend(ids.iter().filter(|id| status(**id).is_some_and(|words| words[1] == parent)));
        asked += 1;
    }
    family.into_iter().filter_map(|id| Some((id, status(id)?.swap_remove(19)))).collect()
}

/// Those of them that run, and are not only remains.
fn alive(family: &[(u32, String)]) -> Vec<u32> {
    let is_alive = |id: u32, born: &str| status(id).is_some_and(|words| words[19] == born && words[0] != "Z");
    family.iter().filter(|(id, born)| is_alive(*id, born)).map(|(id, _)| *id).collect()
}

/// What the kernel says of a process, after its name: state, parent, …, moment of birth.
fn status(id: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test]
async fn everything_on_this_computer_from_the_first_start_to_the_last_process() {
    let folder = Folder::new("dev");
    let (mut process, first) = start(&folder).await;
    let names: BTreeSet<_> = first.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(ANNOUNCED));
    assert_eq!(first["pid"], process.id());
    assert_eq!(first["user"].as_object().map(serde_json::Map::len), Some(2));
    let (base, tenant) = (text(&first, "base_url"), text(&first, "tenant"));
    assert_eq!(text(&first, "mcp_url"), format!("{base}/t/{tenant}/mcp"));
    assert_eq!(text(&first, "issuer"), format!("{base}/oauth"));
    for (name, begin) in [
        ("base_url", "http://127.0.0.1:"),
        ("ops_url", "http://127.0.0.1:"),
        ("mail_url", text(&first, "ops_url")),
        ("postgres_url", "postgres://"),
        ("redis_url", "redis://"),
        ("agent_id", "agt_"),
        ("api_key", "tl_live_"),
    ] {
        assert!(text(&first, name).len() > begin.len() && text(&first, name).starts_with(begin), "{name}: {}", first[name]);
    }
    let (email, password) = (text(&first["user"], "email"), text(&first["user"], "password"));

    // What is printed for a person works as it stands there.
    let printed = eventually("the curl is printed", READY_WITHIN, async || {
        let printed = said(&folder, "stdout");
        printed.contains("curl").then_some(printed)
    })
    .await;
    assert!(printed.contains("claude mcp add") && printed.contains(password), "{printed}");
    let start_of = printed.find("curl -s").expect("a curl");
    let called = Command::new("sh").arg("-c").arg(&printed[start_of..]).stderr(Stdio::null()).output().expect("a shell");
    let answer: Value =
        serde_json::from_slice(&called.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&called.stdout)));
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");

    let visitor = Visitor::new(text(&first, "base_url"));
    visitor.log_in(email, password).await.leads_to("/");
    let home = format!("/t/{}", text(&first, "tenant"));
    visitor.get(&format!("{home}/tools")).await.ok();
    visitor.post("/reset", &[("email", email)]).await.leads_to("/reset/sent");
    eventually("the letter is captured", READY_WITHIN, async || {
        let mail = http().get(text(&first, "mail_url")).send().await.expect("an answer").text().await.expect("a body");
        mail.contains("Choose a new password").then_some(())
    })
    .await;
    assert_eq!(http().get(format!("{}/metrics", text(&first, "ops_url"))).send().await.expect("an answer").status(), 200);

    // Other commands need no settings beside it, but do elsewhere; a second one in the same place is told so.
    let doctor = |place: &Path| run(&["doctor"], &BTreeMap::new(), place);
    let well = doctor(&folder.0);
    assert!(well.status.success(), "{}", String::from_utf8_lossy(&well.stdout));
    assert_eq!(doctor(&folder.0.join(STATE)).status.code(), Some(1));
    let connected = run(&["connect", "--check"], &BTreeMap::new(), &folder.0);
    let found = String::from_utf8_lossy(&connected.stdout);
    assert!(connected.status.success() && found.contains("3 tools: echo, time, weather"), "{found}");
    let second = run(&["dev", "--port", "0"], &BTreeMap::new(), &folder.0);
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("another `trunkline dev` runs"));

    let all = family(process.id());
    assert!(all.len() > 6, "postgres alone has half a dozen: {all:?}");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(Duration::from_secs(30)), Some(0), "{}", said(&folder, "stderr"));
    nothing_left(&folder).await;
    assert_eq!(alive(&all), [0_u32; 0]);
    assert!(!folder.0.join(STATE).join("dev.json").exists());

    // Killed without a chance to tidy up: its services end with it or with the next start, and nothing is forgotten.
    let (process, again) = start(&folder).await;
    assert_eq!((&again["api_key"], &again["agent_id"]), (&first["api_key"], &first["agent_id"]), "state is kept");
    let before = family(process.id());
    assert!(before.len() > 6, "{before:?}");
    process.signal(Signal::SIGKILL);
    drop(process);
    let (mut process, third) = start(&folder).await;
    assert_eq!(third["api_key"], first["api_key"]);
    assert_eq!(alive(&before), [0_u32; 0], "still there after the restart");
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(Duration::from_secs(30)), Some(0));
    nothing_left(&folder).await;
}

#[tokio::test]
async fn a_busy_port_is_an_error_that_says_so() {
    let folder = Folder::new("busy");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let state = folder.0.join(STATE);
    let output = run(&["dev", "--port", &port, "--state-dir", state.to_str().expect("a path")], &BTreeMap::new(), &folder.0);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(&port) && text.contains("is taken by another program"), "{text}");
    nothing_left(&folder).await;
}
