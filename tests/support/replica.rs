//! A replica as a process, for what only a process can do: be killed, start again. It shares the database, Redis and key of an installation.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use trunkline::services::free_port;

use super::{
    SOON, SPOOL_DIR, TestApp, eventually, http,
    private::Folder,
    process::{Process, command},
};

/// The process.
#[derive(Debug)]
pub(crate) struct Replica {
    /// `http://127.0.0.1:…` of its public listener.
    pub(crate) url: String,
    process: Process,
    /// Removed with it.
    spool: Option<Folder>,
}

impl Replica {
    /// One more replica of that installation, when it is ready. Its clock is the machine's.
    pub(crate) async fn start(app: &TestApp) -> Self {
        Self::start_at(app, free_port().expect("a port")).await
    }

    /// The same at that port.
    pub(crate) async fn start_at(app: &TestApp, port: u16) -> Self {
        let spool = Folder::new("spool");
        let mut replica = Self::start_with(app, port, &[(SPOOL_DIR, &spool.0.display().to_string())]).await;
        replica.spool = Some(spool);
        replica
    }

    /// The same with other settings.
    pub(crate) async fn start_with(app: &TestApp, port: u16, settings: &[(&str, &str)]) -> Self {
        Self::start_telling(app, port, settings, None).await
    }

    /// The same; all that it prints goes there.
    pub(crate) async fn start_telling(app: &TestApp, port: u16, settings: &[(&str, &str)], printed: Option<&File>) -> Self {
        Self::start_by(command(&[]), app, port, settings, printed).await
    }

    /// The same, started by a command that takes the binary's arguments.
    pub(crate) async fn start_by(
        mut starting: Command,
        app: &TestApp,
        port: u16,
        settings: &[(&str, &str)],
        printed: Option<&File>,
    ) -> Self {
        starting.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        starting.envs(app.settings()).env("TRUNKLINE_MAIL_SMTP_URL", "smtp://127.0.0.1:1").env("TRUNKLINE_LOG_LEVEL", "error");
        starting.envs(settings.iter().copied());
        let output = || printed.map_or_else(Stdio::null, |file| file.try_clone().expect("a descriptor").into());
        starting.stdout(output()).stderr(output());
        let replica = Self { process: Process::start(starting), url: format!("http://127.0.0.1:{port}"), spool: None };
        eventually("the replica is ready", SOON, async || {
            let answer = http().get(format!("{}/readyz", replica.url)).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        replica
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// From now on it does nothing, as one that hangs.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Its memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// The most it ever was, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.peak_memory().expect("a running process")
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(SOON);
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// The same of one that is replaced.
    pub(crate) fn end(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.process.wait(SOON), Some(0));
    }
}
