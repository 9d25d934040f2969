//! A Chromium without a window, driven through chromedriver. Both end with the test: with `close`, when dropped, and when the test is killed.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, error::CmdError};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{
    eventually, http,
    private::Folder,
    process::{Process, is_alive, send, with_command_line},
};

/// Longest wait for a page. A browser is the first to starve on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// One browser at a time: two of them are more than two cores.
static TURN: Mutex<()> = Mutex::const_new(());

/// A person's browser, new and empty.
pub(super) struct Browser {
    client: Client,
    driver: Option<Process>,
    /// Where the driver listens.
    address: String,
    profile: Folder,
    site: String,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// At that installation.
    pub(super) async fn start(site: &str) -> Self {
        let turn = TURN.lock().await;
        let profile = Folder::new("browser");
        let (driver, port) = start_driver(&profile.0).await;
        let address = format!("http://127.0.0.1:{port}");
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": found(&["chromium", "chromium-browser", "google-chrome"]), "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
                "--window-size=1280,1000",
                // Instead of a port: the browser ends when the other side of the pipe does.
                "--remote-debugging-pipe",
                format!("--user-data-dir={}", profile.0.join("profile").display()),
            ] },
        });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let connecting = async {
            let mut builder = ClientBuilder::rustls().expect("a connector");
            builder.capabilities(capabilities).connect(&address).await
        };
        let client = tokio::time::timeout(PATIENCE, connecting).await.expect("a browser in time").expect("a browser");
        Self { client, driver: Some(driver), address, profile, site: site.to_owned(), _turn: turn }
    }

    /// Opens a page of the installation and waits until it is there.
    pub(super) async fn open(&self, path: &str) {
        let url = format!("{}{path}", self.site);
        tokio::time::timeout(PATIENCE, self.client.goto(&url)).await.expect("a page in time").expect("a page");
    }

    /// Makes the window that wide.
    pub(super) async fn resize(&self, width: u32) {
        self.client.set_window_size(width, 1000).await.expect("a size");
    }

    /// Where it is: path and query.
    pub(super) async fn path(&self) -> String {
        let url = steadily(async || self.client.current_url().await).await.expect("a URL");
        url.as_str().trim_start_matches(&self.site).split('#').next().unwrap_or_default().to_owned()
    }

    /// Waits until it has come to such a place.
    pub(super) async fn arrives(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        eventually(what, PATIENCE, async || {
            let path = self.path().await;
            let loaded =
                steadily(async || self.client.execute("return document.readyState === 'complete'", Vec::new()).await).await;
            let loaded = loaded.expect("an answer") == json!(true);
            (loaded && is_there(&path)).then_some(path)
        })
        .await
    }

    /// Types into a field of the page's main part.
    pub(super) async fn fill(&self, name: &str, value: &str) {
        self.find(&format!("main [name='{name}']")).await.send_keys(value).await.expect("it is typed");
    }

    /// Ticks a box or a radio button, at its label as people do.
    pub(super) async fn choose(&self, name: &str, value: &str) {
        let label = self.find(&format!("main label:has(input[name='{name}'][value='{value}'])")).await;
        label.click().await.expect("it is clicked");
        let chosen = format!("return document.querySelector(\"main input[name='{name}'][value='{value}']\").checked");
        assert_eq!(self.run(&chosen).await, json!(true), "{name}={value}");
    }

    /// Presses the button with that text.
    pub(super) async fn press(&self, label: &str) {
        let button = format!("//main//button[normalize-space()='{label}']");
        let button = self.client.find(Locator::XPath(&button)).await.unwrap_or_else(|error| panic!("{label}: {error}"));
        button.click().await.expect("it is clicked");
    }

    /// What a person reads there.
    pub(super) async fn text(&self, css: &str) -> String {
        let text = steadily(async || self.client.find(Locator::Css(css)).await?.text().await).await;
        text.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Does a person see that?
    pub(super) async fn shows(&self, css: &str) -> bool {
        let shown = steadily(async || self.client.find(Locator::Css(css)).await?.is_displayed().await).await;
        match shown {
            Ok(shown) => shown,
            Err(error) if error.is_no_such_element() => false,
            Err(error) => panic!("{css}: {error}"),
        }
    }

    /// Everything the page has, shown or not.
    pub(super) async fn source(&self) -> String {
        steadily(async || self.client.source().await).await.expect("a source")
    }

    /// Runs a script in the page.
    pub(super) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The page as a picture, all of it.
    pub(super) async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }

    /// A device that keeps passkeys and always finds its user there.
    pub(super) async fn add_authenticator(&self) {
        let session = self.client.session_id().await.expect("a session").expect("an id");
        let url = format!("{}/session/{session}/webauthn/authenticator", self.address);
        let device = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true,
        });
        let answer = http().post(url).json(&device).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    async fn find(&self, css: &str) -> Element {
        self.client.find(Locator::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Errors and warnings of the console since it was last asked: scripts, the content policy, whatever could not be loaded.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.expect("a session").expect("an id");
        let request = http().post(format!("{}/session/{session}/se/log", self.address)).json(&json!({ "type": "browser" }));
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let entries = answer["value"].as_array().unwrap_or_else(|| panic!("no log: {answer}"));
        let loud = entries.iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        loud.map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Ends it.
    pub(super) async fn close(self) {
        let ended = tokio::time::timeout(PATIENCE, self.client.clone().close()).await;
        ended.expect("it ends in time").expect("it ends");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.driver.take());
        let asked = Instant::now();
        let profile = self.profile.0.to_str().expect("a path").to_owned();
        let mut left = with_command_line(&profile);
        while !left.is_empty() && asked.elapsed() < PATIENCE {
            if asked.elapsed() > PATIENCE / 6 {
                left.iter().filter(|id| is_alive(**id)).for_each(|id| send(*id, Signal::SIGKILL));
            }
            std::thread::sleep(Duration::from_millis(20));
            left = with_command_line(&profile);
        }
        assert!(left.is_empty() || std::thread::panicking(), "still running: {left:?}");
    }
}

/// Asks until the page under it stands still: what is asked while another one comes is answered with an error about the one that went.
async fn steadily<T>(mut question: impl AsyncFnMut() -> Result<T, CmdError>) -> Result<T, CmdError> {
    const GOING: [&str; 6] = [
        "aborted by navigation",
        "stale element",
        "execution context",
        "frame detached",
        "does not belong to the document",
        "loading status",
    ];
    let asked = Instant::now();
    loop {
        match question().await {
            Err(error) if asked.elapsed() < PATIENCE && GOING.iter().any(|sign| error.to_string().contains(sign)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}

/// Starts chromedriver on a port that it chooses.
async fn start_driver(folder: &Path) -> (Process, u16) {
    let driver = found(&["chromedriver"]);
    let mut command = Command::new(&driver);
    if let Some(setpriv) = find(&["setpriv"]) {
        // Even if the test is killed. The kernel's signal is about the thread that starts it, which is the test's own.
        command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(&driver);
    }
    let said = folder.join("driver.log");
    command.args(["--port=0"]).process_group(0).env_clear().env("HOME", folder).stdin(Stdio::null());
    command.envs(["PATH", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdout(File::create(&said).expect("a file")).stderr(Stdio::null());
    let process = Process::start(command);
    let port = eventually("chromedriver listens", PATIENCE, async || {
        let said = std::fs::read_to_string(&said).ok()?;
        let (_, rest) = said.split_once("started successfully on port ")?;
        rest.split_once('.')?.0.parse().ok()
    })
    .await;
    (process, port)
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

fn found(names: &[&str]) -> PathBuf {
    find(names).unwrap_or_else(|| panic!("{} is not on the PATH; the browser's tests need chromium and chromedriver", names[0]))
}
