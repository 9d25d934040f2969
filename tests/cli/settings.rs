//! Settings that do not fit are refused at once, all of them, by name, value and source.

use std::{collections::BTreeMap, process::Output};

use crate::support::{
    TestApp,
    private::Folder,
    process::{binary, run},
};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn serve_settings(app: &TestApp) -> BTreeMap<String, String> {
    let mut settings = app.settings().clone();
    settings.insert("TRUNKLINE_MAIL_SMTP_URL".to_owned(), "smtp://127.0.0.1:1".to_owned());
    settings
}

#[tokio::test]
async fn the_example_can_be_loaded_and_says_everything_there_is() {
    let app = TestApp::start().await;
    let folder = Folder::new("config");
    let example = run(&["config", "example"], &BTreeMap::new(), &folder.0);
    assert!(example.status.success(), "{}", text(&example));
    std::fs::write(folder.0.join("trunkline.toml"), &example.stdout).expect("written");
    let settings = serve_settings(&app);
    let check = run(&["--config", "trunkline.toml", "config", "check", "--json"], &settings, &folder.0);
    assert!(check.status.success(), "{}", text(&check));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&check.stdout).expect("JSON");
    for key in trunkline::config::keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap_or_default();
        assert!(String::from_utf8_lossy(&example.stdout).contains(name), "{} is not in the example", key.name);
        assert!(key.default.is_none() || rows.iter().any(|row| row["key"] == key.name), "{} is not shown", key.name);
    }
    let password =
        app.settings()["TRUNKLINE_DATABASE_URL"].split(':').nth(2).and_then(|rest| rest.split('@').next()).map(str::to_owned);
    assert!(!text(&check).contains(&password.expect("a password")), "secrets are not printed");
}

#[tokio::test]
async fn several_mistakes_are_told_at_once_with_key_value_and_source() {
    let folder = Folder::new("config");
    let file = "[http]\nlisten = \"here\"\nworkerz = 3\n[quota.read]\nper_minute = \"many\"\n[databse]\nurl = \"x\"\n";
    std::fs::write(folder.0.join("bad.toml"), file).expect("written");
    let settings = BTreeMap::from([
        ("TRUNKLINE_REDIS_URL".to_owned(), "http://redis".to_owned()),
        ("TRUNKLINE_SHUTDOWN_GRACE_S".to_owned(), "-1".to_owned()),
        ("TRUNKLINE_NONSENSE".to_owned(), "1".to_owned()),
    ]);
    for command in [&["--config", "bad.toml", "config", "check"][..], &["--config", "bad.toml", "serve"]] {
        let output = run(command, &settings, &folder.0);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [
            "http.listen: \"here\" (file",
            "http.workerz",
            "quota.read.per_minute: \"many\"",
            "databse.url",
            "redis.url: [REDACTED] (environment variable TRUNKLINE_REDIS_URL)",
            "shutdown.grace_s: \"-1\" (environment variable TRUNKLINE_SHUTDOWN_GRACE_S)",
            "TRUNKLINE_NONSENSE",
            "database.url: is missing",
            "secrets.key: is missing",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}

#[tokio::test]
async fn another_address_than_loopback_needs_a_proxy_or_tls() {
    let app = TestApp::start().await;
    let folder = Folder::new("config");
    let settings = serve_settings(&app);
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let output = run(&["serve", "--listen", listen], &settings, &folder.0);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("http.listen") && text.contains("--behind-proxy") && text.contains("in the clear"), "{text}");
    }
    // Behind a proxy the same is well. Only checked: nothing of the suite is to be reached from elsewhere.
    let mut proxied = settings;
    for (name, value) in
        [("HTTP_LISTEN", "0.0.0.0:0"), ("HTTP_BEHIND_PROXY", "true"), ("PUBLIC_URL", "https://trunkline.example")]
    {
        proxied.insert(format!("TRUNKLINE_{name}"), value.to_owned());
    }
    let output = run(&["config", "check"], &proxied, &folder.0);
    assert!(output.status.success(), "{}", text(&output));
}

#[tokio::test]
async fn a_sample_key_and_a_file_that_everybody_reads_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = TestApp::start().await;
    let folder = Folder::new("config");
    let mut settings = serve_settings(&app);
    for key in ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "short", "Y2hhbmdlIG1lIGNoYW5nZSBtZSBjaGFuZ2UgbWUgY2g="] {
        settings.insert("TRUNKLINE_SECRETS_KEY".to_owned(), key.to_owned());
        let output = run(&["config", "check"], &settings, &folder.0);
        assert!(!output.status.success() && text(&output).contains("secrets.key: [REDACTED]"), "{}", text(&output));
        assert!(!text(&output).contains(key));
    }
    let secret = folder.0.join("key");
    std::fs::write(&secret, &app.settings()["TRUNKLINE_SECRETS_KEY"]).expect("written");
    settings.remove("TRUNKLINE_SECRETS_KEY");
    settings.insert("TRUNKLINE_SECRETS_KEY_FILE".to_owned(), secret.display().to_string());
    for (mode, works) in [(0o644, false), (0o600, true)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).expect("set");
        let output = run(&["config", "check"], &settings, &folder.0);
        assert_eq!(output.status.success(), works, "{mode:o}: {}", text(&output));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let app = TestApp::start().await;
    let folder = Folder::new("config");
    let taken = app.url.trim_start_matches("http://");
    let output = run(&["serve", "--listen", taken], &serve_settings(&app), &folder.0);
    assert!(!output.status.success() && text(&output).contains("is taken by another program"), "{}", text(&output));
}

#[tokio::test]
async fn doctor_succeeds_where_everything_is_well_and_names_what_is_not() {
    let app = TestApp::start().await;
    let folder = Folder::new("doctor");
    let well = app.settings().clone();
    let output = run(&["doctor", "--json"], &well, &folder.0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let wrong: Vec<_> =
        report["findings"].as_array().expect("findings").iter().filter(|finding| finding["ok"] == false).collect();
    // A Redis of the suite's own keeps everything; a foreign one may be set otherwise.
    assert_eq!((output.status.code(), wrong.len()), (Some(0), 0), "{wrong:?}");
    let mut admin = app.sql().await;
    crate::support::run_sql(&mut admin, "ALTER TABLE app.agents NO FORCE ROW LEVEL SECURITY".to_owned()).await;
    for (what, key, value, named) in [
        ("isolation", "TRUNKLINE_LOG_LEVEL", "info".to_owned(), "app.agents"),
        ("database", "TRUNKLINE_DATABASE_URL", "postgres://nobody:x@127.0.0.1:1/none".to_owned(), "database"),
        ("role", "TRUNKLINE_DATABASE_URL", app.database().admin.clone(), "row-level security"),
        ("redis", "TRUNKLINE_REDIS_URL", "redis://127.0.0.1:1/0".to_owned(), "redis"),
        ("settings", "TRUNKLINE_HTTP_LISTEN", "nowhere".to_owned(), "http.listen"),
    ] {
        let mut settings = well.clone();
        settings.insert(key.to_owned(), value);
        let output = run(&["doctor"], &settings, &folder.0);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {text}");
        assert!(text.contains("PROBLEM") && text.contains(named) && text.contains('→'), "{what}: {text}");
    }
}

#[test]
fn help_and_version_answer_and_an_unknown_command_does_not() {
    let folder = Folder::new("help");
    for (arguments, code) in
        [(&["--help"][..], 0), (&["--version"], 0), (&["dance"], 2), (&[], 2), (&["serve", "--port", "1"], 2)]
    {
        let output = run(arguments, &BTreeMap::new(), &folder.0);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    }
    assert!(binary().is_file());
}
