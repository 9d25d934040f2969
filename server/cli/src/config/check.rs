//! From written values to meaning: types, ranges, and the rules across settings. Collects problems instead of stopping at the first.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use trunkline_platform::{
    accounts,
    catalog::api::{Manifest, supply},
    chain, db, egress, functions,
    network::Network,
    quota::{self, AtOnce, Ladder, Rate, attempts},
    record, redis,
    secret::{MasterKey, Plaintext},
    telemetry,
};
use url::{Host, Url};

use super::{
    Config, Http, Log, LogFormat, Mail, Problem, Problems, Shutdown, keys,
    load::{Gathered, Setting},
    manifest, show,
    source::{Source, Written},
};

/// What lists of addresses hold.
const NETWORKS: &str = "networks such as 10.0.0.0/8";

/// Gives the written values their meaning.
pub(super) fn interpret(gathered: Gathered) -> Result<Config, Problems> {
    let shown = show::rows(&gathered.settings);
    let mut reader = Reader { settings: gathered.settings, problems: gathered.problems };
    let config = read(&mut reader, shown);
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(Problems(reader.problems)),
    }
}

/// All sections are read before the first missing one ends it, so that every problem is found.
fn read(reader: &mut Reader, shown: Vec<show::Shown>) -> Option<Config> {
    let http = http(reader);
    let public_url = public_url(reader);
    let region = reader.optional("region", region);
    let ops_listen = reader.parsed::<SocketAddr>("ops.listen", "an address and a port, such as 127.0.0.1:9464");
    let database = database(reader);
    let database_admin_url = reader.optional("database.admin_url", database_url);
    let redis = redis(reader);
    let master_key = reader.required("secrets.key", master_key);
    let other_keys = reader.optional("secrets.other_keys", master_keys);
    let mail = mail(reader);
    let accounts = accounts(reader);
    let sso = sso(reader);
    let quota = quota(reader);
    let audit = audit(reader);
    let checkpoints = checkpoints(reader);
    let egress_allow = reader.list::<Network>("egress.allow", NETWORKS);
    let egress_allow_http = reader.parsed("egress.allow_http", "true or false");
    let supply = supply(reader);
    let functions = functions(reader);
    let telemetry = telemetry(reader);
    let log = log(reader);
    let shutdown = shutdown(reader);
    listening(reader, http.as_ref(), public_url.as_ref());
    Some(Config {
        http: http?,
        public_url: public_url?.value(),
        region: region?.value(),
        ops_listen: ops_listen?,
        database: database?,
        database_admin_url: database_admin_url?.value(),
        redis: redis?,
        master_key: other_keys?.value().into_iter().flatten().fold(master_key?, MasterKey::knowing),
        mail: mail?,
        accounts: accounts?,
        sso: sso?.value(),
        quota: quota?,
        audit: audit?,
        checkpoints: checkpoints?,
        egress: egress::Settings { allow: egress_allow?, allow_http: egress_allow_http? },
        supply: supply?,
        functions: functions?,
        telemetry: telemetry?.value(),
        log: log?,
        shutdown: shutdown?,
        shown,
    })
}

fn http(reader: &mut Reader) -> Option<Http> {
    let listen = reader.parsed("http.listen", "an address and a port, such as 127.0.0.1:8080");
    let behind_proxy = reader.parsed("http.behind_proxy", "true or false");
    let trusted_proxies = reader.list("http.trusted_proxies", NETWORKS);
    let certificate = reader.optional("http.tls_cert", |path| Ok(PathBuf::from(path)));
    let key = reader.optional("http.tls_key", |path| Ok(PathBuf::from(path)));
    let workers = reader.number("http.workers", 0..=1024);
    let client_certificates = reader.parsed::<Certificates>("http.client_certificates", "off or optional");
    let header = reader.optional("http.client_certificate_header", header_name);
    let tls = match (certificate?.value(), key?.value()) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return reader.refuse("http.tls_key", "is missing, but http.tls_cert is set; TLS needs both"),
        (None, Some(_)) => return reader.refuse("http.tls_cert", "is missing, but http.tls_key is set; TLS needs both"),
    };
    let workers = usize::try_from(workers?).ok();
    let (behind_proxy, trusted_proxies): (bool, Vec<Network>) = (behind_proxy?, trusted_proxies?);
    let client_certificates = client_certificates? == Certificates::Optional;
    if client_certificates && tls.is_none() {
        return reader
            .refuse("http.client_certificates", "is optional, but without http.tls_cert nobody can show a certificate here");
    }
    let certificate_header = header?.value();
    if certificate_header.is_some() && (!behind_proxy || trusted_proxies.is_empty()) {
        let message = "needs http.behind_proxy and http.trusted_proxies: from anybody else a certificate proves nothing";
        return reader.refuse("http.client_certificate_header", message);
    }
    Some(Http { listen: listen?, behind_proxy, trusted_proxies, tls, client_certificates, certificate_header, workers: workers? })
}

/// Whether our own listener asks for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certificates {
    Off,
    Optional,
}

impl std::str::FromStr for Certificates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "optional" => Ok(Self::Optional),
            _ => Err("neither"),
        }
    }
}

fn header_name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_name {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected the name of a header, such as x-forwarded-client-cert".to_owned())
    }
}

fn public_url(reader: &mut Reader) -> Option<Given<Url>> {
    reader.optional("public_url", |text| {
        let url: Url =
            text.parse().map_err(|error| format!("expected an address such as https://trunkline.example ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("expected an address that begins with https://".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("expected scheme, host and port only, without a path".to_owned());
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err("expected https://, because browsers send the session cookie over TLS only".to_owned());
        }
        Ok(url)
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn database(reader: &mut Reader) -> Option<db::Settings> {
    let url = reader.required("database.url", database_url);
    let max_connections = reader.small("database.max_connections", 2..=1000);
    let acquire_timeout_ms = reader.number("database.acquire_timeout_ms", 1..=60_000);
    let statement_timeout_ms = reader.number("database.statement_timeout_ms", 1..=600_000);
    Some(db::Settings {
        url: url?,
        max_connections: max_connections?,
        acquire_timeout_ms: acquire_timeout_ms?,
        statement_timeout_ms: statement_timeout_ms?,
    })
}

fn database_url(text: &str) -> Result<Plaintext, String> {
    secret_url(text, &["postgres", "postgresql"], "postgres://trunkline_app:password@host/database")
}

fn redis(reader: &mut Reader) -> Option<redis::Settings> {
    let url = reader.required("redis.url", redis_url);
    let prefix = reader.required("redis.prefix", |text| {
        let plain = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || ":_-.".contains(c));
        plain.then(|| text.to_owned()).ok_or_else(|| "expected up to 64 letters, digits, `:`, `_`, `-` and `.`".to_owned())
    });
    let timeout_ms = reader.number("redis.timeout_ms", 1..=10_000);
    let decision_ms = reader.number("redis.decision_ms", 1..=10_000);
    Some(redis::Settings { url: url?, prefix: prefix?, timeout_ms: timeout_ms?, decision_ms: decision_ms? })
}

/// One address, or several of one cluster.
fn redis_url(text: &str) -> Result<Plaintext, String> {
    let all = redis::addresses(text);
    for one in &all {
        let example = "redis://:password@host:6379/0; of a cluster several, with commas between them";
        let url = secret_url(one, &["redis", "rediss"], example)?;
        if url.reveal().parse::<Url>().is_ok_and(|url| url.host_str().is_none_or(str::is_empty)) {
            return Err(format!("expected an address such as {example}"));
        }
        let database = url.reveal().parse::<Url>().map(|url| url.path().trim_matches('/').to_owned()).unwrap_or_default();
        if all.len() > 1 && !matches!(database.as_str(), "" | "0") {
            return Err(format!("expected database 0 in each address of a cluster, which has no other; found {database}"));
        }
    }
    Ok(Plaintext::new(all.join(",")))
}

fn secret_url(text: &str, schemes: &[&str], example: &str) -> Result<Plaintext, String> {
    match text.parse::<Url>() {
        Ok(url) if schemes.contains(&url.scheme()) => Ok(Plaintext::new(text.to_owned())),
        _ => Err(format!("expected an address such as {example}")),
    }
}

fn master_key(text: &str) -> Result<MasterKey, String> {
    const RIGHT: &str = "expected 32 random bytes in base64; make some with: openssl rand -base64 32";
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| format!("is not base64; {RIGHT}"))?;
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| format!("has {} bytes; {RIGHT}", bytes.len()))?;
    // Sixteen different values among 32 random bytes fail less than once in 10^9 keys; what people type or count up does.
    let mut values = key;
    values.sort_unstable();
    let different = 1 + values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let counted_up = key.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    let typed = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if different < 16 || counted_up || typed {
        return Err(format!("looks like a sample, not like random bytes; {RIGHT}"));
    }
    Ok(MasterKey::new(key))
}

fn master_keys(text: &str) -> Result<Vec<MasterKey>, String> {
    text.split(',').map(|key| master_key(key.trim())).collect()
}

fn mail(reader: &mut Reader) -> Option<Mail> {
    let from = reader.required("mail.from", |text| {
        if text.contains('@') && !text.contains(['\r', '\n']) {
            Ok(text.to_owned())
        } else {
            Err("expected a sender such as Trunkline <trunkline@example.com>".to_owned())
        }
    });
    let smtp_url =
        reader.optional("mail.smtp_url", |text| secret_url(text, &["smtp", "smtps"], "smtps://user:password@smtp.example:465"));
    Some(Mail { from: from?, smtp_url: smtp_url?.value() })
}

fn accounts(reader: &mut Reader) -> Option<accounts::Settings> {
    let session_idle_days = reader.small("accounts.session_idle_days", 1..=365);
    let session_days = reader.small("accounts.session_days", 1..=365);
    let link_minutes = reader.small("accounts.link_minutes", 5..=60);
    let invitation_days = reader.small("accounts.invitation_days", 1..=30);
    let password_concurrency = reader.small("accounts.password_concurrency", 1..=64);
    let password_queue = reader.small("accounts.password_queue", 1..=10_000);
    Some(accounts::Settings {
        session_idle_days: session_idle_days?,
        session_days: session_days?,
        link_minutes: link_minutes?,
        invitation_days: invitation_days?,
        password_concurrency: password_concurrency?,
        password_queue: password_queue?,
    })
}

fn sso(reader: &mut Reader) -> Option<Given<accounts::SsoSettings>> {
    let issuer = reader.optional("sso.issuer", |text| match text.parse::<Url>() {
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => Ok(url),
        _ => Err("expected an address such as https://login.example.com".to_owned()),
    });
    let client_id = reader.optional("sso.client_id", |text| Ok(text.to_owned()));
    let client_secret = reader.optional("sso.client_secret", |text| Ok(Plaintext::new(text.to_owned())));
    let name = reader.required("sso.name", |text| match text.chars().count() {
        1..=40 => Ok(text.to_owned()),
        _ => Err("expected 1 to 40 characters".to_owned()),
    });
    let domains = reader.list::<Domain>("sso.domains", "domains such as example.com");
    let name = name?;
    let domains = domains?.into_iter().map(|Domain(text)| text).collect();
    match (issuer?.value(), client_id?.value(), client_secret?.value()) {
        (Some(issuer), Some(client_id), Some(client_secret)) => {
            Some(Given::Value(accounts::SsoSettings { issuer, client_id, client_secret, name, domains }))
        }
        (None, None, None) => Some(Given::Nothing),
        (None, ..) => reader.refuse("sso.issuer", "is missing, but other settings of single sign-on are set"),
        (_, None, _) => reader.refuse("sso.client_id", "is missing, but sso.issuer is set"),
        (.., None) => reader.refuse("sso.client_secret", "is missing, but sso.issuer is set"),
    }
}

/// A domain of addresses.
struct Domain(String);

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        match Host::parse(&text) {
            Ok(Host::Domain(parsed)) if parsed == text && text.contains('.') => Ok(Self(text)),
            _ => Err(format!("{text} is not a domain such as example.com")),
        }
    }
}

fn quota(reader: &mut Reader) -> Option<quota::Settings> {
    let read = rate(reader, "quota.read.per_minute", "quota.read.burst");
    let write = rate(reader, "quota.write.per_minute", "quota.write.burst");
    let destructive = rate(reader, "quota.destructive.per_minute", "quota.destructive.burst");
    let agent = rate(reader, "quota.agent.per_minute", "quota.agent.burst");
    let tenant = rate(reader, "quota.tenant.per_minute", "quota.tenant.burst");
    let lists = rate(reader, "quota.lists.per_minute", "quota.lists.burst");
    let at_once = at_once(reader);
    let installation = installation(reader);
    let ladder = ladder(reader);
    let attempts = attempts(reader);
    Some(quota::Settings {
        read: read?,
        write: write?,
        destructive: destructive?,
        agent: agent?,
        tenant: tenant?,
        lists: lists?,
        at_once: at_once?,
        installation: installation?,
        ladder: ladder?,
        attempts: attempts?,
    })
}

fn at_once(reader: &mut Reader) -> Option<AtOnce> {
    let agent = reader.small("quota.at_once.agent", 1..=10_000);
    let read = reader.small("quota.at_once.read", 1..=10_000);
    let write = reader.small("quota.at_once.write", 1..=10_000);
    let destructive = reader.small("quota.at_once.destructive", 1..=10_000);
    Some(AtOnce { agent: agent?, read: read?, write: write?, destructive: destructive? })
}

/// `Some(None)`: not limited.
#[expect(clippy::option_option, reason = "beside what cannot be read, a limit that is not there")]
fn installation(reader: &mut Reader) -> Option<Option<Rate>> {
    let number = |text: &str| match text.parse().ok().filter(|number| (1..=60_000_000).contains(number)) {
        Some(number) => Ok(number),
        None => Err("expected a whole number from 1 to 60000000".to_owned()),
    };
    let per_minute = reader.optional("quota.installation.per_minute", number)?.value();
    let burst = reader.optional("quota.installation.burst", number)?.value();
    match (per_minute, burst) {
        (Some(per_minute), burst) => Some(Some(Rate { per_minute, burst: burst.unwrap_or(per_minute) })),
        (None, None) => Some(None),
        (None, Some(_)) => {
            reader.refuse("quota.installation.per_minute", "is missing, but quota.installation.burst is set; a limit needs both")
        }
    }
}

fn ladder(reader: &mut Reader) -> Option<Ladder> {
    let refusals = reader.small("quota.ladder.refusals", 0..=1_000_000);
    let window_s = reader.small("quota.ladder.window_s", 1..=3_600);
    let throttled_s = reader.small("quota.ladder.throttled_s", 1..=86_400);
    let throttlings = reader.small("quota.ladder.throttlings", 1..=100);
    Some(Ladder { refusals: refusals?, window_s: window_s?, throttled_s: throttled_s?, throttlings: throttlings? })
}

fn attempts(reader: &mut Reader) -> Option<attempts::Settings> {
    let login_per_ip = rate(reader, "quota.attempts.login_per_ip.per_minute", "quota.attempts.login_per_ip.burst");
    let login_per_account = rate(reader, "quota.attempts.login_per_account.per_minute", "quota.attempts.login_per_account.burst");
    let second_per_account =
        rate(reader, "quota.attempts.second_per_account.per_minute", "quota.attempts.second_per_account.burst");
    let signup_per_ip = rate(reader, "quota.attempts.signup_per_ip.per_minute", "quota.attempts.signup_per_ip.burst");
    let mail_per_account = rate(reader, "quota.attempts.mail_per_account.per_minute", "quota.attempts.mail_per_account.burst");
    let trials_per_member = rate(reader, "quota.attempts.trials_per_member.per_minute", "quota.attempts.trials_per_member.burst");
    let registrations_per_ip_hour = reader.small("quota.attempts.registrations_per_ip.per_hour", 1..=6_000_000);
    let token_failures_per_ip =
        rate(reader, "quota.attempts.token_failures_per_ip.per_minute", "quota.attempts.token_failures_per_ip.burst");
    Some(attempts::Settings {
        login_per_ip: login_per_ip?,
        login_per_account: login_per_account?,
        second_per_account: second_per_account?,
        signup_per_ip: signup_per_ip?,
        mail_per_account: mail_per_account?,
        trials_per_member: trials_per_member?,
        registrations_per_ip_hour: registrations_per_ip_hour?,
        token_failures_per_ip: token_failures_per_ip?,
    })
}

fn rate(reader: &mut Reader, per_minute: &'static str, burst: &'static str) -> Option<Rate> {
    let per_minute = reader.small(per_minute, 1..=6_000_000);
    let burst = reader.small(burst, 1..=6_000_000);
    Some(Rate { per_minute: per_minute?, burst: burst? })
}

fn audit(reader: &mut Reader) -> Option<record::Settings> {
    let dir = reader.required("audit.spool_dir", |path| match path {
        "" => Err("expected a folder".to_owned()),
        _ => Ok(PathBuf::from(path)),
    });
    let max_mib = reader.number("audit.spool_max_mib", 1..=1_048_576);
    let reads = reader.required("audit.durability", durability);
    let effects = reader.required("audit.effect_durability", durability);
    Some(record::Settings { dir: dir?, max_bytes: max_mib? << 20, durability: reads?, effects: effects? })
}

fn functions(reader: &mut Reader) -> Option<functions::Settings> {
    let processes = reader.number("functions.processes", 0..=256);
    let cache = reader.required("functions.cache_dir", |path| match path {
        "" => Err("expected a folder".to_owned()),
        _ => Ok(PathBuf::from(path)),
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processes = match usize::try_from(processes?).ok()? {
        0 => (cores * 2).max(4),
        some => some,
    };
    Some(functions::Settings { program: functions::this_program(), cache: cache?, processes })
}

fn supply(reader: &mut Reader) -> Option<supply::Settings> {
    let minutes = reader.number("supply.read_minutes", 5..=1_440);
    let manifest = reader.optional("supply.manifest", |path| manifest::read(std::path::Path::new(path)));
    let every = std::time::Duration::from_secs(minutes? * 60);
    Some(supply::Settings { every, manifest: manifest?.value().unwrap_or_else(Manifest::default) })
}

fn telemetry(reader: &mut Reader) -> Option<Given<telemetry::Settings>> {
    let endpoint = reader.optional("telemetry.otlp_endpoint", |text| match text.parse::<Url>() {
        Ok(url) if !matches!(url.scheme(), "https" | "http") || url.host().is_none() => {
            Err("expected an address that begins with https:// or http://, such as http://localhost:4318".to_owned())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() => {
            Err("expected scheme, host, port and path only; what the collector must not be asked without goes into telemetry.headers".to_owned())
        }
        Ok(url) if url.path().trim_end_matches('/').ends_with("/v1/traces") => {
            Err("expected the address without /v1/traces, which is added, as are /v1/metrics and /v1/logs".to_owned())
        }
        Ok(url) => Ok(url),
        Err(error) => Err(format!("expected an address such as http://localhost:4318 ({error})")),
    });
    let ratio = reader.required("telemetry.sample_ratio", |text| {
        let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| "expected a number from 0 to 1, such as 0.01 for one trace in a hundred".to_owned())
    });
    let headers = reader.optional("telemetry.headers", header_values);
    let every = reader.number("telemetry.metrics_s", 1..=3_600);
    let (endpoint, sample_ratio, headers) = (endpoint?.value(), ratio?, headers?.value());
    let metrics_every = std::time::Duration::from_secs(every?);
    match (endpoint, headers) {
        (Some(endpoint), headers) => {
            let headers = headers.unwrap_or_default();
            Some(Given::Value(telemetry::Settings { endpoint, metrics_every, sample_ratio, headers }))
        }
        (None, None) => Some(Given::Nothing),
        (None, Some(_)) => {
            reader.refuse("telemetry.headers", "is set, but telemetry.otlp_endpoint is not: nobody would get them")
        }
    }
}

/// `name=value`, several with commas between them. Says which one is wrong by its place: the rest is secret.
fn header_values(text: &str) -> Result<telemetry::Headers, String> {
    let pairs = text.split(',').enumerate().map(|(at, pair)| {
        let wrong = || format!("header {} is not name=value, such as api-key=…", at + 1);
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        Ok((header_name(name.trim()).map_err(|_| wrong())?, value.trim()))
    });
    let pairs: Vec<_> = pairs.collect::<Result<_, String>>()?;
    telemetry::Headers::new(&pairs)
}

fn checkpoints(reader: &mut Reader) -> Option<chain::Settings> {
    let dir = reader.optional("audit.checkpoint_dir", |path| Ok(PathBuf::from(path)));
    let webhook = reader.optional("audit.checkpoint_webhook", |text| match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.host().is_some() => Ok(url),
        _ => Err("expected an address such as https://keeper.example/checkpoints".to_owned()),
    });
    let months = reader.optional("audit.retention_months", |text| {
        text.parse()
            .ok()
            .filter(|months| (1..=1_200).contains(months))
            .ok_or_else(|| "expected a whole number from 1 to 1200".to_owned())
    });
    let settings = chain::Settings { dir: dir?.value(), webhook: webhook?.value(), retention_months: months?.value() };
    if settings.retention_months.is_some() && !settings.is_delivered() {
        let why = "needs audit.checkpoint_dir or audit.checkpoint_webhook: nothing is dropped before its proof is outside";
        return reader.refuse("audit.retention_months", why);
    }
    Some(settings)
}

fn region(text: &str) -> Result<String, String> {
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !text.is_empty() && text.len() <= 40 && is_word(text) {
        return Ok(text.to_owned());
    }
    Err("expected a word of at most 40 letters, digits, dots, hyphens and underscores, such as eu-central".to_owned())
}

fn durability(text: &str) -> Result<record::Durability, String> {
    match text {
        "process" => Ok(record::Durability::Process),
        "disk" => Ok(record::Durability::Disk),
        _ => Err("expected process or disk".to_owned()),
    }
}

fn log(reader: &mut Reader) -> Option<Log> {
    let format = reader.required("log.format", |text| match text {
        "json" => Ok(LogFormat::Json),
        "human" => Ok(LogFormat::Human),
        _ => Err("expected json or human".to_owned()),
    });
    let level = reader.required("log.level", |text| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected error, warn, info, debug, trace or directives such as info,trunkline_web=debug".to_owned()),
    });
    Some(Log { format: format?, level: level? })
}

fn shutdown(reader: &mut Reader) -> Option<Shutdown> {
    let delay_s = reader.number("shutdown.delay_s", 0..=300);
    let grace_s = reader.number("shutdown.grace_s", 0..=3600);
    Some(Shutdown { delay_s: delay_s?, grace_s: grace_s? })
}

/// Whoever can reach the port must come through TLS: from a proxy in front, or from a certificate of its own.
fn listening(reader: &mut Reader, http: Option<&Http>, public_url: Option<&Given<Url>>) {
    let Some(http) = http.filter(|http| !http.listen.ip().is_loopback()) else { return };
    if !http.behind_proxy && http.tls.is_none() {
        let message = format!(
            "{} can be reached from other machines, and keys and passwords would travel in the clear; add --behind-proxy if a \
             proxy in front terminates TLS, or set http.tls_cert and http.tls_key, or listen on 127.0.0.1",
            http.listen
        );
        reader.note("http.listen", message);
    }
    if matches!(public_url, Some(Given::Nothing)) {
        reader.note("public_url", "is missing; expected the address people and agents use, such as https://trunkline.example");
    }
}

pub(super) fn serving(config: &Config) -> Result<(), Problems> {
    if config.mail.smtp_url.is_some() {
        return Ok(());
    }
    let message = "is missing; expected a mail server such as smtps://user:password@smtp.example:465 (`trunkline dev` captures mail instead)";
    Err(Problems(vec![Problem { key: "mail.smtp_url".into(), message: message.into() }]))
}

/// A setting that can be left out.
enum Given<T> {
    Value(T),
    Nothing,
}

impl<T> Given<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

/// Takes written values one by one and notes what is wrong with them. `None` means: noted, go on with the next.
struct Reader {
    settings: std::collections::BTreeMap<&'static str, Setting>,
    problems: Vec<Problem>,
}

impl Reader {
    fn note(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), message: message.into() });
    }

    fn refuse<T>(&mut self, key: &str, message: impl Into<String>) -> Option<T> {
        self.note(key, message);
        None
    }

    /// `key = value (source)`, with secrets left out.
    fn refuse_value<T>(&mut self, key: &str, setting: &Setting, message: impl Display) -> Option<T> {
        let secret = keys::find(key).is_some_and(keys::Key::is_secret);
        let value = if secret { "[REDACTED]".to_owned() } else { setting.written.to_string() };
        self.refuse(key, format!("{value} ({}): {message}", setting.source))
    }

    fn required<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match self.optional(key, parse)? {
            Given::Value(value) => Some(value),
            Given::Nothing => {
                let Some(known) = keys::find(key) else { return self.refuse(key, "is not in the table of settings") };
                let file = if known.is_secret() {
                    format!(", or {0}_file or {1}_FILE for a file that holds it", key, known.variable())
                } else {
                    String::new()
                };
                self.refuse(key, format!("is missing; set it in the file, or as {}{file}. {}", known.variable(), known.help))
            }
        }
    }

    fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Given<T>> {
        let Some(setting) = self.settings.get(key).cloned() else { return Some(Given::Nothing) };
        match &setting.written {
            Written::One(text) if text.is_empty() && setting.source != Source::Default => Some(Given::Nothing),
            Written::One(text) => match parse(text) {
                Ok(value) => Some(Given::Value(value)),
                Err(message) => self.refuse_value(key, &setting, message),
            },
            Written::Many(_) => self.refuse_value(key, &setting, "expected one value, not a list"),
        }
    }

    fn parsed<T: FromStr>(&mut self, key: &'static str, right: &str) -> Option<T> {
        self.required(key, |text| text.parse().map_err(|_| format!("expected {right}")))
    }

    fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
        })
    }

    fn small(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.number(key, u64::from(*range.start())..=u64::from(*range.end()))?;
        u32::try_from(number).ok()
    }

    fn list<T: FromStr<Err = String>>(&mut self, key: &'static str, what: &str) -> Option<Vec<T>> {
        let Some(setting) = self.settings.get(key).cloned() else { return Some(Vec::new()) };
        match setting.written.items().iter().map(|item| item.parse()).collect() {
            Ok(items) => Some(items),
            Err(message) => self.refuse_value(key, &setting, format!("expected {what}; {message}")),
        }
    }
}
