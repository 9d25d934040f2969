//! One process that runs functions. What it says is believed as little as the code in it.

use std::{
    io::{self, ErrorKind},
    process::Stdio,
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, ChildStdout, Command},
    time::Instant,
};
use trunkline_sandbox::{
    Confinement, limits,
    wire::{self, Done, Job, Order, Outcome, Report, Setup},
};

use super::{GRACE, Reach, START_WITHIN, Settings, fetch};
use crate::egress::Egress;

/// A process. Dropping it ends it.
pub(super) struct Child {
    process: tokio::process::Child,
    orders: ChildStdin,
    reports: ChildStdout,
    arrived: BytesMut,
    pub(super) confinement: Confinement,
}

/// Why a call has no end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It did not come in time.
    Late,
    /// The process has ended.
    Gone,
    /// It says what makes no sense.
    Nonsense,
}

impl Child {
    /// Starts it, with three descriptors and nothing else. Its last words go nowhere: what it says, it says as a report.
    pub(super) fn spawn(settings: &Settings) -> io::Result<Self> {
        let mut command = Command::new(&settings.program);
        command.arg("sandbox").env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let (Some(orders), Some(reports)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        Ok(Self { process, orders, reports, arrived: BytesMut::new(), confinement: Confinement::default() })
    }

    /// Waits until it has closed itself off.
    pub(super) async fn prepare(mut self, settings: &Settings) -> io::Result<Self> {
        private_folder(&settings.cache)?;
        let setup = wire::encode(&Order::Prepare(Setup { cache: settings.cache.clone() }))?;
        let prepared = async {
            self.orders.write_all(&setup).await?;
            self.report().await
        };
        match tokio::time::timeout(START_WITHIN, prepared).await {
            Ok(Ok(Report::Ready(confinement))) => Ok(Self { confinement, ..self }),
            Ok(Ok(Report::Broken(why))) => Err(io::Error::other(why)),
            Ok(Ok(_)) => Err(io::Error::other("it says something else than that it is ready")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Has it not ended meanwhile? One that is about to be gone is seen by its silence only.
    pub(super) async fn is_there(&mut self) -> bool {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return false;
        }
        let says = async { self.order(&Order::Ping).await.is_ok() && matches!(self.report().await, Ok(Report::Pong)) };
        tokio::time::timeout(GRACE, says).await.unwrap_or(false)
    }

    /// Runs a call to its end. After a failure the process is of no use.
    pub(super) async fn run(&mut self, egress: &Egress, job: Job, reach: &Reach) -> Result<Done, Broken> {
        let timeout = Duration::from_millis(job.timeout_ms.into());
        let until = Instant::now() + timeout;
        tokio::time::timeout(timeout + GRACE, self.converse(egress, job, reach, until)).await.unwrap_or(Err(Broken::Late))
    }

    async fn converse(&mut self, egress: &Egress, job: Job, reach: &Reach, until: Instant) -> Result<Done, Broken> {
        self.order(&Order::Run(job)).await?;
        let mut asked = 0;
        let mut underway = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((id, result)) = underway.next() => self.order(&Order::Answer { id, result }).await?,
                report = self.report() => match report.map_err(|error| broken(&error))? {
                    Report::Request { id, request } => {
                        asked += 1;
                        if asked > limits::REQUESTS {
                            return Err(Broken::Nonsense);
                        }
                        underway.push(async move { (id, fetch::fetch(egress, reach, request, until).await) });
                    }
                    Report::Done(done) => return bounded(done).ok_or(Broken::Nonsense),
                    Report::Ready(_) | Report::Pong | Report::Broken(_) => return Err(Broken::Nonsense),
                },
            }
        }
    }

    async fn order(&mut self, order: &Order) -> Result<(), Broken> {
        let frame = wire::encode(order).map_err(|_| Broken::Nonsense)?;
        self.orders.write_all(&frame).await.map_err(|_| Broken::Gone)
    }

    /// The next report. What has come of it stays if this is dropped.
    async fn report(&mut self) -> io::Result<Report> {
        loop {
            if let Some((report, length)) = wire::decode(&self.arrived)? {
                let _ = self.arrived.split_to(length);
                return Ok(report);
            }
            if self.reports.read_buf(&mut self.arrived).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn broken(error: &io::Error) -> Broken {
    if error.kind() == ErrorKind::UnexpectedEof || error.kind() == ErrorKind::BrokenPipe {
        Broken::Gone
    } else {
        Broken::Nonsense
    }
}

/// The bounds of the sandbox, once more: who broke out of it says what they want.
fn bounded(done: Done) -> Option<Done> {
    let logged: usize = done.logs.iter().map(|line| line.text.len()).sum();
    let text = match &done.outcome {
        Outcome::Text(text) | Outcome::Object(text) => text.len(),
        Outcome::Failed(failure) => failure.message.len(),
    };
    // A line that was cut has an ellipsis more.
    let fits = text <= limits::OUTPUT_BYTES
        && done.logs.len() <= limits::LOG_LINES
        && logged <= limits::LOG_BYTES + limits::LOG_LINES * 3;
    fits.then_some(done)
}

/// Compiled code lies there: nobody else may write to it.
fn private_folder(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::metadata(path)?;
    if found.mode() & 0o022 != 0 {
        let why = format!("{} may be written by others than its owner: functions.cache_dir has to be private", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    Ok(())
}
