//! A PostgreSQL server of our own.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use trunkline_platform::secret::Plaintext;

use super::{
    Keep,
    child::{self, Child, Farewell},
    find, free_port, kept_secret,
    owner::Owner,
};

/// SIGINT ends sessions and writes everything down; SIGQUIT leaves the rest to recovery.
const FAREWELL: Farewell = Farewell { polite: Signal::SIGINT, firm: Signal::SIGQUIT };
const DATABASE: &str = "trunkline";
const READY_WITHIN: Duration = Duration::from_mins(1);
const ATTEMPTS: usize = 3;

/// A running server with an empty or kept database `trunkline`. Stopped when dropped.
#[derive(Debug)]
pub struct PrivatePostgres {
    child: Child,
    port: u16,
    admin_password: Plaintext,
    app_password: Plaintext,
    log: PathBuf,
}

/// Ends the server that an earlier run left behind in that folder, if there is one.
pub(super) fn end_leftover(dir: &Path) {
    child::end_leftover(&dir.join("postgres.pid"), &dir.join("postgres"), FAREWELL);
}

impl PrivatePostgres {
    /// Starts it under that folder, making the cluster the first time.
    pub fn start(dir: &Path, keep: Keep) -> anyhow::Result<Self> {
        let programs = find::postgres()?;
        let owner = Owner::choose()?;
        let (data, pid_file, log) = (dir.join("postgres"), dir.join("postgres.pid"), dir.join("postgres.log"));
        end_leftover(dir);
        let admin_password = kept_secret(&dir.join("postgres-admin.password"), || Plaintext::generate(""))?;
        let app_password = kept_secret(&dir.join("postgres-app.password"), || Plaintext::generate(""))?;
        let _ = fs::remove_file(&log);
        if !data.join("PG_VERSION").exists() || !data.join("created").exists() {
            create(&programs, owner, &data, &admin_password, &log)?;
        }
        check_version(&programs, &data)?;
        let (child, port) = start(&programs, owner, &data, &log, &pid_file, keep)?;
        Ok(Self { child, port, admin_password, app_password, log })
    }

    /// As the superuser, for migrations.
    pub fn admin_url(&self) -> Plaintext {
        self.url("postgres", &self.admin_password)
    }

    /// As the application role; it can log in after the first migration.
    pub fn app_url(&self) -> Plaintext {
        self.url("trunkline_app", &self.app_password)
    }

    /// What it has to say.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> String {
        self.child.ended().await
    }

    /// Stops it and waits for its end.
    pub fn stop(self) {
        drop(self);
    }

    fn url(&self, role: &str, password: &Plaintext) -> Plaintext {
        Plaintext::new(format!("postgres://{role}:{}@127.0.0.1:{}/{DATABASE}", password.reveal(), self.port))
    }
}

/// A new cluster; a half-made one of an earlier attempt is thrown away, because nobody can have used it.
fn create(programs: &Path, owner: Owner, data: &Path, password: &Plaintext, log: &Path) -> anyhow::Result<()> {
    if data.exists() {
        fs::remove_dir_all(data).with_context(|| format!("{} cannot be removed", data.display()))?;
    }
    owner.make_dir(data)?;
    // Inside the folder of somebody else, but `initdb` wants its own folder empty: beside it.
    let password_file = data.with_extension("initdb");
    super::write_private(&password_file, password.reveal())?;
    owner.give(&password_file)?;
    let mut initdb = owner.command(&programs.join("initdb"), "KILL", data);
    initdb
        .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .arg("-D")
        .arg(data)
        .arg("--pwfile")
        .arg(&password_file);
    let made = run(initdb, None, log);
    let _ = fs::remove_file(&password_file);
    made.context("initdb failed")?;
    // Without a server and without a client: both may be missing or busy.
    let mut single = owner.command(&programs.join("postgres"), "KILL", data);
    single.args(["--single", "-F", "-D"]).arg(data).arg("postgres");
    run(single, Some(&format!("CREATE DATABASE {DATABASE}\n")), log).context("the database cannot be made")?;
    fs::write(data.join("created"), "by trunkline dev\n")?;
    Ok(())
}

fn run(mut command: Command, input: Option<&str>, log: &Path) -> anyhow::Result<()> {
    let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn()?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}; see {}", log.display());
    }
    Ok(())
}

/// Data of another version cannot be read, and the server's own message does not say what to do about it.
fn check_version(programs: &Path, data: &Path) -> anyhow::Result<()> {
    let version = fs::read_to_string(data.join("PG_VERSION")).context("the private PostgreSQL has no version")?;
    let output = Command::new(programs.join("postgres")).arg("--version").output()?;
    let program = String::from_utf8_lossy(&output.stdout).into_owned();
    let number: String = program.split_whitespace().nth(2).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    if number != version.trim() {
        bail!(
            "the state in {} was made by PostgreSQL {}, installed is {number}; start over with `trunkline dev --fresh`, or install version {}",
            data.display(),
            version.trim(),
            version.trim()
        );
    }
    Ok(())
}

fn start(programs: &Path, owner: Owner, data: &Path, log: &Path, pid_file: &Path, keep: Keep) -> anyhow::Result<(Child, u16)> {
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        let mut command = owner.command(&programs.join("postgres"), "INT", data);
        command.arg("-D").arg(data).current_dir("/").env("LC_ALL", "C");
        for setting in settings(port, keep) {
            command.args(["-c", &setting]);
        }
        let child = Child::start(command, log, pid_file, FAREWELL)?;
        match child.wait_until(READY_WITHIN, || is_ready(data, port)) {
            Ok(()) => return Ok((child, port)),
            Err(how) => reason = how,
        }
    }
    bail!("the private PostgreSQL {reason}; see {}", log.display())
}

fn settings(port: u16, keep: Keep) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        "timezone=UTC".to_owned(),
        "log_min_messages=error".to_owned(),
    ];
    if keep == Keep::Nothing {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}

/// The server writes its state into the eighth line of its own pid file, and its port into the fourth. One that follows another is ready as `standby`.
fn is_ready(data: &Path, port: u16) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let line = |number: usize| text.lines().nth(number - 1).map(str::trim);
    line(4) == Some(port.to_string().as_str()) && matches!(line(8), Some("ready" | "standby"))
}
