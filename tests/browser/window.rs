//! Chromium through its driver. Whatever it writes to its console as an error is one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use serde_json::{Value, json};
use trunkline::services::free_port;

use crate::support::{SOON, eventually, http, private::Folder, process::Process};

/// A browser of the test's own.
pub(super) struct Window {
    pub(super) client: Client,
    driver_url: String,
    _driver: Process,
    _profile: Folder,
}

fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/lib/chromium".into(), "/usr/bin".into()]).collect();
    let found = names.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name))).find(|path| Path::is_file(path));
    found.unwrap_or_else(|| panic!("none of {names:?} is installed; `make test` installs it"))
}

impl Window {
    /// Opens one.
    pub(super) async fn open() -> Self {
        let (port, profile) = (free_port().expect("a port"), Folder::new("browser"));
        let mut command = Command::new(program(&["chromedriver"]));
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::start(command);
        let driver_url = format!("http://127.0.0.1:{port}");
        eventually("the driver listens", SOON, async || http().get(format!("{driver_url}/status")).send().await.ok()).await;
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1440,1000".to_owned(),
            format!("--user-data-dir={}", profile.0.display()),
        ];
        let binary = program(&["chromium", "chromium-browser", "google-chrome"]);
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "binary": binary },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let client =
            ClientBuilder::rustls().expect("TLS").capabilities(capabilities).connect(&driver_url).await.expect("a window");
        Self { client, driver_url, _driver: driver, _profile: profile }
    }

    /// Opens a page.
    pub(super) async fn visit(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    /// Waits for an element.
    pub(super) async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(SOON).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}: {}", self.text().await),
        }
    }

    /// Types into a field.
    pub(super) async fn fill(&self, name: &str, text: &str) {
        let field = self.find(&format!("[name='{name}']:not([type=hidden])")).await;
        field.clear().await.expect("cleared");
        field.send_keys(text).await.expect("typed");
    }

    /// Clicks, as a person does: on what is in view.
    pub(super) async fn click(&self, css: &str) {
        let element = self.find(css).await;
        let script = "arguments[0].scrollIntoView({block: 'center'})";
        let argument = serde_json::to_value(&element).expect("an element");
        self.client.execute(script, vec![argument]).await.expect("scrolled");
        element.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Everything that is shown.
    pub(super) async fn text(&self) -> String {
        let text = self.client.execute("return document.body ? document.body.innerText : ''", vec![]).await.expect("a page");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows it.
    pub(super) async fn shows(&self, text: &str, within: Duration) {
        eventually(text, within, async || self.text().await.contains(text).then_some(())).await;
    }

    /// The path of the page.
    pub(super) async fn path(&self) -> String {
        self.client.current_url().await.expect("a page").path().to_owned()
    }

    /// Errors and warnings of the console since the last time, of scripts, styles and the content policy.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.expect("a session").expect("a session");
        let url = format!("{}/session/{session}/se/log", self.driver_url);
        let answer: Value =
            http().post(url).json(&json!({ "type": "browser" })).send().await.expect("an answer").json().await.expect("JSON");
        let entries = answer["value"].as_array().unwrap_or_else(|| panic!("no log: {answer}"));
        let severe = entries.iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Ends it.
    pub(super) async fn close(self) {
        self.client.clone().close().await.expect("closed");
    }
}
