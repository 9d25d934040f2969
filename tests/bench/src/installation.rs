//! An installation to measure: private Postgres and Redis, one tenant with one HTTP tool and wide limits, and the release binary in front.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};
use trunkline::{
    config::{Config, Environment, Sources},
    services::{Keep, Services, free_port},
    wiring,
};
use trunkline_platform::{
    Platform, accounts,
    actor::{Member, Role},
    agents::{self, NewAgent, NewKey},
    catalog::{
        self, AnswerShape, Executor, HttpMethod, HttpTool, NewVersion, Parameter, ParameterType, Place, Price, SecretChange,
        ToolName, UrlTemplate,
    },
    clock::SystemClock,
    random,
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

/// More calls than the machine can make: what is measured is the cost of limits, not their effect.
const UNLIMITED: &str = "6000000";
const SETTINGS: &str = "config.toml";

/// Everything but the server: services, settings, a tenant.
pub(crate) struct Ground {
    services: Services,
    dir: PathBuf,
    port: u16,
    ops_port: u16,
    key: Plaintext,
    /// Of the tenant.
    pub(crate) owner: Option<Member>,
}

/// A running installation.
pub(crate) struct Installation {
    server: Child,
    ground: Ground,
    url: String,
    /// From the start of the process to the first successful `/readyz`.
    pub(crate) ready_ms: u128,
    /// Resident memory some seconds after that, in MB.
    pub(crate) idle_mb: f64,
}

/// One more server on the same services.
pub(crate) struct Replica {
    server: Child,
    /// Its MCP endpoint.
    pub(crate) url: String,
}

impl Replica {
    /// Of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id().unwrap_or(0)
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.server.kill().await?)
    }
}

impl Ground {
    /// Starts the services and plants a tenant with so many tools. `upstream` is where the one that is called sends its requests.
    pub(crate) async fn prepare(program: &Path, upstream: &str, port: u16, tools: usize) -> anyhow::Result<Self> {
        Self::prepare_with(program, upstream, port, tools, Effect::Write).await
    }

    /// The same with tools of that effect.
    pub(crate) async fn prepare_with(
        program: &Path,
        upstream: &str,
        port: u16,
        tools: usize,
        effect: Effect,
    ) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("trunkline-bench-{}", std::process::id()));
        let mut ground = Self::open(program, &dir, port).await?;
        ground.plant(upstream, tools, effect).await?;
        Ok(ground)
    }

    /// Services and settings in that folder, with what an earlier run left there. No tenant.
    pub(crate) async fn open(program: &Path, dir: &Path, port: u16) -> anyhow::Result<Self> {
        let services_dir = dir.to_owned();
        let services = tokio::task::spawn_blocking(move || Services::start(&services_dir, Keep::State)).await??;
        let port = if port == 0 { free_port()? } else { port };
        let (dir, file, ops_port) = (dir.to_owned(), dir.join(SETTINGS), free_port()?);
        std::fs::write(&file, settings(&services, port, ops_port, &dir)?)?;
        run(program, &file, "migrate").await?;
        Ok(Self { services, dir, port, ops_port, key: Plaintext::new(String::new()), owner: None })
    }

    /// A tenant with so many tools.
    pub(crate) async fn plant(&mut self, upstream: &str, tools: usize, effect: Effect) -> anyhow::Result<()> {
        let platform = self.platform()?;
        let owner = owner(&platform, "bench").await?;
        self.key = plant(&platform, &owner, upstream, tools, effect).await?;
        self.owner = Some(owner);
        platform.db.close().await;
        Ok(())
    }

    /// The settings to serve with.
    pub(crate) fn settings(&self) -> PathBuf {
        self.dir.join(SETTINGS)
    }

    /// The MCP endpoint, once it is served.
    pub(crate) fn url(&self) -> String {
        self.url_of("bench")
    }

    /// That of another tenant.
    pub(crate) fn url_of(&self, slug: &str) -> String {
        format!("http://127.0.0.1:{}/t/{slug}/mcp", self.port)
    }

    /// The product on it, while no server runs.
    pub(crate) fn platform(&self) -> anyhow::Result<Platform> {
        let environment = Environment::default();
        let config = Config::load(&Sources { file: Some(self.settings()), environment, options: Vec::new() })?;
        Ok(wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform)
    }

    /// A key that may call the tool.
    pub(crate) fn key(&self) -> &str {
        self.key.reveal()
    }

    /// The database, as its administrator.
    pub(crate) fn admin_url(&self) -> Plaintext {
        self.services.postgres.admin_url()
    }

    /// Stops the services; what they hold stays.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        let services = self.services;
        tokio::task::spawn_blocking(|| services.stop()).await?;
        Ok(())
    }

    /// Stops the services and removes all state.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        let dir = self.dir.clone();
        self.leave().await?;
        std::fs::remove_dir_all(&dir)?;
        Ok(())
    }
}

impl Installation {
    /// Starts everything. The agent sees half of so many tools, and calls one of them.
    pub(crate) async fn start(program: &Path, upstream: &str, tools: usize) -> anyhow::Result<Self> {
        Self::start_with(program, upstream, tools, &[]).await
    }

    /// The same with settings of its own, by the names of their environment variables.
    pub(crate) async fn start_with(
        program: &Path,
        upstream: &str,
        tools: usize,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::on(program, Ground::prepare(program, upstream, 0, tools).await?, settings).await
    }

    /// The same on a ground that is there.
    pub(crate) async fn on(program: &Path, ground: Ground, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut server = command(program, &ground.settings(), "serve");
        let server = server.envs(settings.iter().copied()).spawn().context("the server cannot be started")?;
        until_ready(ground.port).await?;
        let ready_ms = started.elapsed().as_millis();
        let mut installation = Self { server, url: ground.url(), ground, ready_ms, idle_mb: 0.0 };
        tokio::time::sleep(Duration::from_secs(3)).await;
        installation.idle_mb = installation.resident_mb()?;
        Ok(installation)
    }

    /// The MCP endpoint.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A key that may call the tool.
    pub(crate) fn key(&self) -> &str {
        self.ground.key()
    }

    /// Of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id().unwrap_or(0)
    }

    /// Resident memory of the server, in MB.
    pub(crate) fn resident_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Event streams that the server says are open.
    pub(crate) async fn open_streams(&self) -> anyhow::Result<usize> {
        let metrics = get(self.ground.ops_port, "/metrics").await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix("mcp_open_streams ")).context("no mcp_open_streams")?;
        Ok(line.trim().parse()?)
    }

    /// Another replica of it, with a name and a spool of its own.
    pub(crate) async fn replica(&self, program: &Path, number: usize) -> anyhow::Result<Replica> {
        let (port, ops_port, spool) = (free_port()?, free_port()?, self.ground.dir.join(format!("spool-{number}")));
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
        let mut server = command(program, &self.ground.settings(), "serve");
        server.env("TRUNKLINE_PUBLIC_URL", &url).env("TRUNKLINE_HTTP_LISTEN", listen);
        server.env("TRUNKLINE_OPS_LISTEN", format!("127.0.0.1:{ops_port}")).env("TRUNKLINE_AUDIT_SPOOL_DIR", spool);
        let server = server.spawn().context("a replica cannot be started")?;
        until_ready(port).await?;
        Ok(Replica { server, url: format!("{url}/t/bench/mcp") })
    }

    /// A page of the dashboard, head included, for whoever has that session.
    pub(crate) async fn page(&self, path: &str, session: &Plaintext) -> anyhow::Result<String> {
        Ok(get_with(self.ground.port, path, &format!("Cookie: __Host-trunkline={}\r\n", session.reveal())).await?)
    }

    /// Stops everything and removes its state.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.end().await?.clear().await
    }

    /// Stops the server.
    pub(crate) async fn end(mut self) -> anyhow::Result<Ground> {
        let terminated = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().await?;
        ensure!(terminated.success(), "the server cannot be stopped");
        tokio::time::timeout(Duration::from_secs(30), self.server.wait()).await.context("the server does not stop")??;
        Ok(self.ground)
    }
}

/// What a folder was sealed with opens it again.
const KEY_FILE: &str = "sealing.key";

fn settings(services: &Services, port: u16, ops_port: u16, dir: &Path) -> anyhow::Result<String> {
    let key_file = dir.join(KEY_FILE);
    if !key_file.exists() {
        std::fs::write(&key_file, BASE64_STANDARD.encode(random::bytes::<32>()))?;
    }
    let mut text = format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n[ops]\nlisten = \"127.0.0.1:{ops_port}\"\n\
         [database]\nurl = \"{}\"\nadmin_url = \"{}\"\n[redis]\nurl = \"{}\"\n[secrets]\nkey = \"{}\"\n\
         [mail]\nsmtp_url = \"smtp://127.0.0.1:9\"\n[egress]\nallow = [\"127.0.0.0/8\"]\nallow_http = true\n[log]\nlevel = \"warn\"\n[shutdown]\ngrace_s = 5\ndelay_s = 0\n\
         [audit]\nspool_dir = \"{}\"\n",
        services.postgres.app_url().reveal(),
        services.postgres.admin_url().reveal(),
        services.redis.url().reveal(),
        std::fs::read_to_string(key_file)?,
        dir.join("spool").display(),
    );
    for bucket in ["read", "write", "agent", "tenant", "lists"] {
        text.push_str("[quota.");
        text.push_str(bucket);
        text.push_str("]\nper_minute = ");
        text.push_str(UNLIMITED);
        text.push_str("\nburst = ");
        text.push_str(UNLIMITED);
        text.push('\n');
    }
    Ok(text)
}

/// A tenant with one agent, its key, one tool that sends its text upstream and back, and as many others as it takes: the agent sees half of all.
async fn plant(platform: &Platform, owner: &Member, upstream: &str, tools: usize, effect: Effect) -> anyhow::Result<Plaintext> {
    let text = Parameter {
        name: "text".to_owned(),
        place: Place::Body,
        kind: ParameterType::String,
        required: true,
        description: "What comes back.".to_owned(),
        default: None,
    };
    let http = HttpTool {
        method: HttpMethod::Post,
        url: UrlTemplate::parse(upstream)?,
        parameters: vec![text],
        secret_header: None,
        timeout_ms: 10_000,
        answer: AnswerShape::default(),
    };
    let version = NewVersion {
        title: "Echo".to_owned(),
        description: "Gives its text back, by way of an HTTP upstream.".to_owned(),
        effect,
        executor: Executor::Http(http),
        secret: SecretChange::Remove,
        price: Price::per_call(10),
        limits: None,
    };
    catalog::create(platform, owner, ToolName::parse("echo")?, version.clone()).await?;
    for number in 1..tools {
        let effect = if number < tools.div_ceil(2) { Effect::Read } else { Effect::Destructive };
        let name = ToolName::parse(&format!("tool-{number:04}"))?;
        catalog::create(platform, owner, name, NewVersion { effect, ..version.clone() }).await?;
    }
    key(platform, owner).await
}

/// The owner of a new tenant of that name.
pub(crate) async fn owner(platform: &Platform, slug: &str) -> anyhow::Result<Member> {
    let (password, mail) = (Plaintext::new(random::base62(20)), format!("{slug}@trunkline.example"));
    let (user, tenant) = accounts::create_verified_user(platform, &mail, &password, slug, &slug.parse()?).await?;
    Ok(Member { user, tenant, role: Role::Owner })
}

/// A key that may call all of its tools that destroy nothing.
pub(crate) async fn key(platform: &Platform, owner: &Member) -> anyhow::Result<Plaintext> {
    let agent = agents::create(platform, owner, NewAgent::parse("bench", "", "tools:write")?).await?;
    Ok(agents::create_key(platform, owner, agent.id, NewKey::parse("bench", "tools:write", 1)?).await?.text)
}

fn command(program: &Path, config: &Path, verb: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).arg(verb).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(program: &Path, config: &Path, verb: &str) -> anyhow::Result<()> {
    let status = command(program, config, verb).status().await.with_context(|| format!("{} is not there", program.display()))?;
    ensure!(status.success(), "`{} {verb}` failed", program.display());
    Ok(())
}

/// Asks every two milliseconds.
async fn until_ready(port: u16) -> anyhow::Result<()> {
    let asking = async {
        loop {
            if is_ready(port).await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.context("the server does not become ready")
}

async fn is_ready(port: u16) -> std::io::Result<bool> {
    Ok(get(port, "/readyz").await?.starts_with("HTTP/1.1 200"))
}

/// The whole answer of a loopback port, head included.
async fn get(port: u16, path: &str) -> std::io::Result<String> {
    get_with(port, path, "").await
}

/// The same with more headers, each with its end of line.
async fn get_with(port: u16, path: &str, headers: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}
