//! Every setting there is: its name, default, kind and explanation. Loading, the example file and the printout follow this table.

/// How a setting is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Quoted text.
    Text,
    /// Text nobody may see. Has a twin with `_file` at its end that names a file holding the value.
    Secret,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    List,
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Dotted name, such as `http.listen`.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// What holds when nobody says otherwise.
    pub default: Option<&'static str>,
    /// Shown in the example when there is no default.
    pub sample: &'static str,
    /// What it does, for the person who sets it.
    pub help: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("TRUNKLINE_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// May its value not be shown?
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

const fn set(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, default: Some(default), sample: default, help }
}

const fn open(name: &'static str, kind: Kind, sample: &'static str, help: &'static str) -> Key {
    Key { name, kind, default: None, sample, help }
}

/// All settings, in the order of the example file: those without a section first.
pub static KEYS: &[Key] = &[
    open(
        "public_url",
        Kind::Text,
        "https://trunkline.example",
        "Where people and agents reach this installation. Needed unless it listens on loopback.",
    ),
    open(
        "region",
        Kind::Text,
        "eu-central",
        "Where this replica is, in your words: stands in the record of each call that it takes.",
    ),
    set(
        "http.listen",
        Kind::Text,
        "127.0.0.1:8080",
        "Address and port. Another address than loopback needs http.behind_proxy or a certificate.",
    ),
    set("http.behind_proxy", Kind::Flag, "false", "A proxy in front terminates TLS and is the only one who reaches this port."),
    set("http.trusted_proxies", Kind::List, "", "Networks whose X-Forwarded-For is believed, such as 10.0.0.0/8."),
    open("http.tls_cert", Kind::Text, "/etc/trunkline/tls.crt", "Certificate chain (PEM), for TLS without a proxy."),
    open("http.tls_key", Kind::Text, "/etc/trunkline/tls.key", "Its private key (PEM)."),
    set(
        "http.client_certificates",
        Kind::Text,
        "off",
        "off, or optional: clients may show certificates to the TLS listener. What they mean is each tenant's setting.",
    ),
    open(
        "http.client_certificate_header",
        Kind::Text,
        "x-forwarded-client-cert",
        "Header in which http.trusted_proxies forward a client's certificate: PEM, URL-encoded. They must remove it from what clients send.",
    ),
    set("http.workers", Kind::Number, "0", "Threads that serve requests; 0 is one per core."),
    set(
        "ops.listen",
        Kind::Text,
        "127.0.0.1:9464",
        "Operations listener: health and metrics, without authentication. Keep it private.",
    ),
    open(
        "database.url",
        Kind::Secret,
        "postgres://trunkline_app:…@localhost/trunkline",
        "PostgreSQL 15 or newer, as the application role trunkline_app.",
    ),
    open(
        "database.admin_url",
        Kind::Secret,
        "postgres://postgres:…@localhost/trunkline",
        "For `trunkline migrate` only: a role that may create roles.",
    ),
    set("database.max_connections", Kind::Number, "20", "Most connections of one process."),
    set("database.acquire_timeout_ms", Kind::Number, "1500", "Longest wait for a free connection."),
    set("database.statement_timeout_ms", Kind::Number, "10000", "Longest run of one statement."),
    open(
        "redis.url",
        Kind::Secret,
        "redis://:…@localhost:6379/0",
        "Redis 7 or Valkey, with maxmemory-policy noeviction. Of a cluster one server, or several with commas between them.",
    ),
    set("redis.prefix", Kind::Text, "trunkline:", "Put before every key, so that installations can share a server."),
    set("redis.timeout_ms", Kind::Number, "250", "Longest wait for an answer; what takes longer counts as away."),
    set(
        "redis.decision_ms",
        Kind::Number,
        "20",
        "The same for a decision about a call, which is asked for twice; then it is decided without Redis.",
    ),
    open(
        "secrets.key",
        Kind::Secret,
        "",
        "The installation's key: 32 random bytes in base64 (openssl rand -base64 32). Keep a copy elsewhere.",
    ),
    open(
        "secrets.other_keys",
        Kind::Secret,
        "",
        "Keys that open but do not seal, separated by commas: the next one while replicas are restarted, then the last one until `trunkline keys rewrap` is done.",
    ),
    set("mail.from", Kind::Text, "Trunkline <trunkline@localhost>", "Sender of all letters."),
    open(
        "mail.smtp_url",
        Kind::Secret,
        "smtps://user:…@smtp.example:465",
        "Mail server. Needed by `serve`, because people sign up by mail.",
    ),
    set("accounts.session_idle_days", Kind::Number, "14", "Days without a visit after which a browser is signed out."),
    set("accounts.session_days", Kind::Number, "90", "Days after which it is signed out in any case."),
    set("accounts.link_minutes", Kind::Number, "60", "Minutes for which a mailed link works."),
    set("accounts.invitation_days", Kind::Number, "7", "Days for which an invitation works."),
    set(
        "accounts.password_concurrency",
        Kind::Number,
        "1",
        "Passwords checked at once; each takes 19 MiB and a core, some fifty a second.",
    ),
    set("accounts.password_queue", Kind::Number, "32", "Passwords that may wait for it; more are refused."),
    open(
        "sso.issuer",
        Kind::Text,
        "https://login.example.com",
        "OpenID Connect issuer that people of this installation may log in through.",
    ),
    open("sso.client_id", Kind::Text, "trunkline", "The client id that it gave."),
    open("sso.client_secret", Kind::Secret, "", "The client secret that it gave."),
    set("sso.name", Kind::Text, "single sign-on", "What people call it; stands on the log-in page."),
    set("sso.domains", Kind::List, "", "Domains of the addresses that it may vouch for, such as example.com; empty: any."),
    set("quota.read.per_minute", Kind::Number, "300", "An agent's calls to one read tool, per minute."),
    set("quota.read.burst", Kind::Number, "300", "The same, at once."),
    set("quota.write.per_minute", Kind::Number, "60", "An agent's calls to one write tool, per minute."),
    set("quota.write.burst", Kind::Number, "60", "The same, at once."),
    set("quota.destructive.per_minute", Kind::Number, "5", "An agent's calls to one destructive tool, per minute."),
    set("quota.destructive.burst", Kind::Number, "5", "The same, at once."),
    set("quota.agent.per_minute", Kind::Number, "1200", "An agent's calls to all tools together, per minute."),
    set("quota.agent.burst", Kind::Number, "1200", "The same, at once."),
    set("quota.tenant.per_minute", Kind::Number, "12000", "A tenant's calls, per minute."),
    set("quota.tenant.burst", Kind::Number, "12000", "The same, at once."),
    set("quota.lists.per_minute", Kind::Number, "1200", "An agent's lists, handshakes and pings, per minute."),
    set("quota.lists.burst", Kind::Number, "1200", "The same, at once."),
    set("quota.at_once.agent", Kind::Number, "512", "Calls of one agent that run at the same time, on all replicas together."),
    set("quota.at_once.read", Kind::Number, "1024", "Calls of one read tool that run at the same time."),
    set("quota.at_once.write", Kind::Number, "512", "Calls of one write tool that run at the same time."),
    set("quota.at_once.destructive", Kind::Number, "128", "Calls of one destructive tool that run at the same time."),
    open(
        "quota.installation.per_minute",
        Kind::Number,
        "600000",
        "Calls of all tenants together, per minute. Not limited if not set.",
    ),
    open("quota.installation.burst", Kind::Number, "600000", "The same, at once. As many as per minute if not set."),
    set(
        "quota.ladder.refusals",
        Kind::Number,
        "50",
        "Refusals within quota.ladder.window_s after which an agent has a tenth of its rates for a while; 0: never.",
    ),
    set("quota.ladder.window_s", Kind::Number, "60", "Seconds within which refusals count together."),
    set("quota.ladder.throttled_s", Kind::Number, "300", "Seconds for which an agent is throttled."),
    set(
        "quota.ladder.throttlings",
        Kind::Number,
        "3",
        "Throttlings within a day after which an agent is suspended until somebody resumes it.",
    ),
    set("quota.attempts.login_per_ip.per_minute", Kind::Number, "10", "Log-ins from one address."),
    set("quota.attempts.login_per_ip.burst", Kind::Number, "20", "The same, at once."),
    set("quota.attempts.login_per_account.per_minute", Kind::Number, "30", "Log-ins to one account."),
    set("quota.attempts.login_per_account.burst", Kind::Number, "100", "The same, at once."),
    set("quota.attempts.second_per_account.per_minute", Kind::Number, "1", "Second factors shown for one account."),
    set("quota.attempts.second_per_account.burst", Kind::Number, "10", "The same, at once."),
    set("quota.attempts.signup_per_ip.per_minute", Kind::Number, "2", "Sign-ups from one address."),
    set("quota.attempts.signup_per_ip.burst", Kind::Number, "10", "The same, at once."),
    set(
        "quota.attempts.mail_per_account.per_minute",
        Kind::Number,
        "1",
        "Letters to one account: confirmations, resets, invitations.",
    ),
    set("quota.attempts.mail_per_account.burst", Kind::Number, "5", "The same, at once."),
    set("quota.attempts.trials_per_member.per_minute", Kind::Number, "20", "Tools that one member may run by hand, per minute."),
    set("quota.attempts.trials_per_member.burst", Kind::Number, "20", "The same, at once."),
    set(
        "quota.attempts.registrations_per_ip.per_hour",
        Kind::Number,
        "10",
        "OAuth clients that may register themselves from one address, per hour and at once.",
    ),
    set(
        "quota.attempts.token_failures_per_ip.per_minute",
        Kind::Number,
        "60",
        "Requests to the token endpoint that may fail, from one address.",
    ),
    set("quota.attempts.token_failures_per_ip.burst", Kind::Number, "60", "The same, at once."),
    set(
        "audit.spool_dir",
        Kind::Text,
        "/var/lib/trunkline/spool",
        "Folder of this process for entries on their way to the database: on a volume that outlives restarts, and no other process's.",
    ),
    set(
        "audit.spool_max_mib",
        Kind::Number,
        "1024",
        "Most MiB of entries that wait for the database. From four fifths on new calls are refused; the disk needs about twice as much.",
    ),
    set(
        "audit.durability",
        Kind::Text,
        "process",
        "What the entry of a call outlives before its answer leaves: process (kill -9), or disk (synced; also the end of the machine).",
    ),
    set(
        "audit.effect_durability",
        Kind::Text,
        "disk",
        "The same for write and destructive tools, whose intent is kept before they run: disk, or process.",
    ),
    open(
        "audit.checkpoint_dir",
        Kind::Text,
        "/var/lib/trunkline/checkpoints",
        "Folder to which signed heads of the record are appended, a file for each tenant: where whoever may write the database cannot.",
    ),
    open(
        "audit.checkpoint_webhook",
        Kind::Text,
        "https://keeper.example/checkpoints",
        "Address that is sent each signed head (POST, text/plain); 2xx takes it, anything else is tried again.",
    ),
    open(
        "audit.retention_months",
        Kind::Number,
        "13",
        "Full months that the record is kept; then a month is dropped, with a signed receipt (needs one of the two above). Unset: for ever.",
    ),
    set(
        "supply.read_minutes",
        Kind::Number,
        "60",
        "Minutes between two reads of the link of an imported description (5 to 1440). Another document than the pinned one is used for nothing.",
    ),
    open(
        "supply.manifest",
        Kind::Text,
        "/etc/trunkline/pins.toml",
        "File (TOML, or JSON if its name ends so) that pins descriptions from outside: [[documents]] with link and sha256. It wins over what people \
         approve; with `only = true` no other link is read.",
    ),
    set("egress.allow_http", Kind::Flag, "false", "Let tools call plain http:// too, at any port."),
    set("egress.allow", Kind::List, "", "Private networks that tools may call all the same, such as 10.1.2.0/24."),
    set(
        "functions.processes",
        Kind::Number,
        "0",
        "Most processes that run functions of tenants, one call each; 0: two per core, at least four. One tenant has at most half of them.",
    ),
    set(
        "functions.cache_dir",
        Kind::Text,
        "/var/lib/trunkline/functions",
        "Folder for the compiled engine of functions. Private: whoever may write there may run anything here.",
    ),
    open(
        "telemetry.otlp_endpoint",
        Kind::Text,
        "http://localhost:4318",
        "OpenTelemetry collector that is sent traces of calls, metrics and the log (OTLP over HTTP, protobuf; /v1/traces and so on is added). Unset: nobody is.",
    ),
    set(
        "telemetry.sample_ratio",
        Kind::Number,
        "0.01",
        "Share of the traces beginning here that are sent, from 0 to 1. A trace that its caller keeps is always sent.",
    ),
    set("telemetry.metrics_s", Kind::Number, "60", "How often the collector is told the metrics, in seconds."),
    open("telemetry.headers", Kind::Secret, "api-key=…", "Headers for the collector, name=value, with commas between them."),
    set("log.format", Kind::Text, "json", "json or human."),
    set(
        "log.level",
        Kind::Text,
        "info",
        "error, warn, info, debug, trace, or directives such as info,trunkline_web=debug. TRUNKLINE_LOG sets it too.",
    ),
    set(
        "shutdown.delay_s",
        Kind::Number,
        "0",
        "Seconds between \"not ready\" and closing the port, for load balancers that poll readiness.",
    ),
    set("shutdown.grace_s", Kind::Number, "60", "Longest wait for running requests when stopping."),
];

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
