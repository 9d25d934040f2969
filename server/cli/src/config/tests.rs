use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::*;

const KEY: &str = "q83vEjRWeJCrze8SNFZ4kAEjRWeJq83v/ty6mHZUMhA=";

fn enough() -> Vec<(&'static str, String)> {
    vec![
        ("TRUNKLINE_DATABASE_URL", "postgres://trunkline_app:hunter2@localhost/trunkline".into()),
        ("TRUNKLINE_REDIS_URL", "redis://localhost:6379".into()),
        ("TRUNKLINE_SECRETS_KEY", KEY.into()),
    ]
}

fn load(more: &[(&'static str, &str)]) -> Result<Config, Problems> {
    let environment = enough().into_iter().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect();
    Config::load(&Sources { environment, ..Sources::default() })
}

fn complaint(more: &[(&'static str, &str)]) -> String {
    load(more).unwrap_err().to_string()
}

fn temporary(name: &str, text: &str, mode: u32) -> PathBuf {
    let path = std::env::temp_dir().join(format!("trunkline-config-{}-{name}", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn three_settings_are_enough() {
    let config = load(&[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url(config.http.listen).unwrap().as_str(), "http://127.0.0.1:8080/");
}

#[test]
fn what_is_missing_is_named_all_at_once() {
    let text = Config::load(&Sources::default()).unwrap_err().to_string();
    for expected in
        ["database.url: is missing", "TRUNKLINE_DATABASE_URL", "redis.url: is missing", "secrets.key: is missing", "_FILE"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn a_redis_cluster_is_several_addresses_with_database_0() {
    let of = |url: &str| load(&[("TRUNKLINE_REDIS_URL", url)]).map(|config| config.redis.url.reveal().to_owned());
    assert_eq!(of("redis://a:1, redis://:p@b:2/0").unwrap(), "redis://a:1,redis://:p@b:2/0");
    assert!(of("redis://a:1/3").is_ok(), "one server has others");
    for (bad, expected) in [
        ("redis://a:1,redis://b:2/3", "expected database 0"),
        ("redis://a:1,b:2", "expected an address such as"),
        ("redis://a:1,redis://", "expected an address such as"),
    ] {
        let text = complaint(&[("TRUNKLINE_REDIS_URL", bad)]);
        assert!(text.contains("redis.url") && text.contains(expected), "{bad}: {text}");
    }
}

#[test]
fn wrong_values_are_named_with_their_source_and_what_would_be_right() {
    let text = complaint(&[
        ("TRUNKLINE_HTTP_LISTEN", "everywhere"),
        ("TRUNKLINE_SHUTDOWN_GRACE_S", "-1"),
        ("TRUNKLINE_EGRESS_ALLOW", "10.0.0.0/8, nonsense"),
        ("TRUNKLINE_LOG_FORMAT", "xml"),
        ("TRUNKLINE_HTTP_BEHIND_PROXY", "yes"),
    ]);
    for expected in [
        r#"http.listen: "everywhere" (environment variable TRUNKLINE_HTTP_LISTEN): expected an address and a port"#,
        "a whole number from 0 to 3600",
        "`nonsense` is not an IP address",
        "json or human",
        "true or false",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn unknown_settings_are_refused_but_not_what_kubernetes_adds() {
    assert!(complaint(&[("TRUNKLINE_HTTP_LISTENN", "x")]).contains("TRUNKLINE_HTTP_LISTENN: there is no such setting"));
    load(&[("TRUNKLINE_PORT", "tcp://10.0.0.1:80"), ("TRUNKLINE_SERVICE_HOST", "10.0.0.1"), ("OTHER", "x")]).unwrap();
    let file = temporary("unknown", "listen = '127.0.0.1:1'\n[http]\nport = 1\n", 0o600);
    let text = Config::load(&Sources { file: Some(file.clone()), environment: enough().into_iter().collect(), options: vec![] })
        .unwrap_err()
        .to_string();
    std::fs::remove_file(file).unwrap();
    assert!(
        text.contains("http.port: there is no such setting (file") && text.contains("`http.listen` was probably meant"),
        "{text}"
    );
}

#[test]
fn stronger_sources_win() {
    let file = temporary("strength", "[http]\nlisten = '127.0.0.1:1'\nworkers = 3\n[shutdown]\ngrace_s = 5\n", 0o644);
    let environment =
        enough().into_iter().chain([("TRUNKLINE_HTTP_LISTEN", "127.0.0.1:2".into()), ("TRUNKLINE_LOG", "debug".into())]);
    let mut sources = Sources { file: Some(file.clone()), environment: environment.collect(), options: vec![] };
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.http.listen.port(), config.http.workers, config.shutdown.grace_s), (2, 3, 5));
    assert_eq!(config.log.level, "debug");
    sources.options.push(("--listen", "http.listen", "127.0.0.1:3".into()));
    assert_eq!(Config::load(&sources).unwrap().http.listen.port(), 3);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn broken_file_is_refused_without_quoting_it() {
    let file = temporary("broken", "[secrets]\nkey = hunter2hunter2\n", 0o600);
    let text = Config::load(&Sources { file: Some(file.clone()), ..Sources::default() }).unwrap_err().to_string();
    std::fs::remove_file(file).unwrap();
    assert!(text.contains("is not TOML") && text.contains("line 2") && !text.contains("hunter2"), "{text}");
}

#[test]
fn secrets_never_show() {
    let config = load(&[("TRUNKLINE_MAIL_SMTP_URL", "smtp://u:hunter2@h")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(config.shown.iter().any(|row| row.key == "database.url" && row.value == "[REDACTED]"));
    let text = complaint(&[("TRUNKLINE_DATABASE_URL", "mysql://u:hunter2@h"), ("TRUNKLINE_SECRETS_KEY", "hunter2")]);
    assert!(text.contains("database.url: [REDACTED]") && text.contains("is not base64") && !text.contains("hunter2"), "{text}");
}

#[test]
fn weak_keys_are_refused() {
    for (key, expected) in [
        ("c2hvcnQ=", "has 5 bytes"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "looks like a sample"),
        ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "looks like a sample"),
        ("Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtMTI=", "looks like a sample"),
    ] {
        let text = complaint(&[("TRUNKLINE_SECRETS_KEY", key)]);
        assert!(text.contains(expected) && text.contains("openssl rand -base64 32"), "{text}");
    }
}

#[test]
fn secret_from_a_file_that_only_its_owner_reads() {
    let file = temporary("secret", &format!("{KEY}\n"), 0o600);
    let environment = |path: &str| {
        let rest = enough().into_iter().filter(|(name, _)| *name != "TRUNKLINE_SECRETS_KEY");
        rest.chain([("TRUNKLINE_SECRETS_KEY_FILE", path.to_owned())]).collect()
    };
    let sources = Sources { environment: environment(file.to_str().unwrap()), ..Sources::default() };
    Config::load(&sources).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(text.contains("secrets.key_file") && text.contains("chmod o-rwx"), "{text}");
    std::fs::remove_file(&file).unwrap();
    assert!(Config::load(&sources).unwrap_err().to_string().contains("cannot be read"));
    assert!(complaint(&[("TRUNKLINE_SECRETS_KEY_FILE", "/x")]).contains("is given twice"));
}

#[test]
fn other_addresses_than_loopback_need_a_proxy_or_a_certificate() {
    let outside = ("TRUNKLINE_HTTP_LISTEN", "0.0.0.0:8080");
    let url = ("TRUNKLINE_PUBLIC_URL", "https://trunkline.example");
    let text = complaint(&[outside]);
    assert!(text.contains("--behind-proxy") && text.contains("public_url: is missing"), "{text}");
    load(&[outside, url, ("TRUNKLINE_HTTP_BEHIND_PROXY", "true")]).unwrap();
    load(&[outside, url, ("TRUNKLINE_HTTP_TLS_CERT", "/a"), ("TRUNKLINE_HTTP_TLS_KEY", "/b")]).unwrap();
    assert!(complaint(&[("TRUNKLINE_HTTP_TLS_CERT", "/a")]).contains("http.tls_key: is missing"));
    load(&[("TRUNKLINE_HTTP_LISTEN", "[::1]:0")]).unwrap();
}

#[test]
fn public_url_is_an_origin_over_tls() {
    for (url, expected) in [
        ("http://trunkline.example", "expected https://"),
        ("https://trunkline.example/path", "without a path"),
        ("trunkline.example", "expected an address"),
        ("ftp://trunkline.example", "begins with https://"),
    ] {
        assert!(complaint(&[("TRUNKLINE_PUBLIC_URL", url)]).contains(expected), "{url}");
    }
    load(&[("TRUNKLINE_PUBLIC_URL", "http://localhost:8080")]).unwrap();
}

#[test]
fn serving_needs_a_mail_server() {
    assert!(load(&[]).unwrap().check_for_serving().unwrap_err().to_string().contains("mail.smtp_url: is missing"));
    load(&[("TRUNKLINE_MAIL_SMTP_URL", "smtp://localhost:25")]).unwrap().check_for_serving().unwrap();
}

#[test]
fn example_loads_and_explains_every_setting() {
    let text = example();
    let file = temporary("example", &text, 0o600);
    let config =
        Config::load(&Sources { file: Some(file.clone()), environment: enough().into_iter().collect(), options: vec![] })
            .unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(config.http.listen.port(), 8080);
    for key in keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name} = ")), "{name}");
    }
    let uncommented = text.replace("# public_url", "public_url");
    let file = temporary("example-open", &uncommented, 0o600);
    Config::load(&Sources { file: Some(file.clone()), environment: enough().into_iter().collect(), options: vec![] }).unwrap();
    std::fs::remove_file(file).unwrap();
}
