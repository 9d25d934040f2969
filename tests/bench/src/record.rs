//! What the record costs per call, under both durabilities: through the whole platform, and of the record alone. Calls of a write tool leave an
//! intent and an entry, calls of a read tool an entry.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use trunkline_platform::{
    call::{Entry, Outcome, Provenance},
    clock::{Clock as _, SystemClock},
    egress::Exchanges,
    ids::{AgentId, EntryId, KeyId, TenantId, ToolId, ToolVersionId},
    record::{self, Durability, Settings, Spool},
};

use crate::{
    installation::Installation,
    load::{self, Load, Report},
    say, upstream,
};

/// Calls at the same time.
const AT_ONCE: usize = 16;
/// Each measurement is made so often, in turns.
const ROUNDS: usize = 3;
const DURABILITIES: [(&str, Durability); 2] = [("process", Durability::Process), ("disk", Durability::Disk)];

/// Prints it.
pub(crate) async fn measure(program: &Path, seconds: u64) -> anyhow::Result<()> {
    let length = Duration::from_secs(seconds.clamp(1, 60));
    say(format!("\nrecord, {AT_ONCE} calls at once, {} s each", length.as_secs()));
    for (name, durability) in DURABILITIES {
        for (kind, has_effect) in [("read tool", false), ("write tool", true)] {
            let alone = Alone::measure(durability, has_effect, length).await?;
            say(format!("  alone, {name:>7}, {kind:>10}: {alone}"));
        }
    }
    let upstream = upstream::Child::start().await?;
    let (mut process, mut disk) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        process.push(through(program, &upstream.url(), "process", length).await?);
        disk.push(through(program, &upstream.url(), "disk", length).await?);
    }
    for (name, mut rounds) in [("process", process), ("disk", disk)] {
        rounds.sort_by(|a, b| a.0.per_second.total_cmp(&b.0.per_second));
        let (report, cpu_us) = rounds[rounds.len() / 2];
        say(format!(
            "  whole, {name:>7}, write tool: {:>6.0} calls/s, p50 {:.2} ms, p99 {:.2} ms, {cpu_us:.0} µs of CPU per call",
            report.per_second, report.p50_ms, report.p99_ms
        ));
    }
    Ok(())
}

/// Calls of a write tool through an installation with that durability, and the CPU of its process for each.
async fn through(program: &Path, upstream: &str, durability: &str, length: Duration) -> anyhow::Result<(Report, f64)> {
    let settings = [("TRUNKLINE_AUDIT_DURABILITY", durability), ("TRUNKLINE_AUDIT_EFFECT_DURABILITY", durability)];
    let installation = Installation::start_with(program, upstream, 1, &settings).await?;
    load::run(&Load::call(installation.url(), installation.key(), AT_ONCE, Duration::from_secs(1))).await?;
    let before = cpu_us(&format!("/proc/{}/stat", installation.pid()))?;
    let report = load::run(&Load::call(installation.url(), installation.key(), AT_ONCE, length)).await?;
    // What was called is shipped too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_us(&format!("/proc/{}/stat", installation.pid()))? - before;
    installation.stop().await?;
    // The load runs for a moment before it is counted.
    let calls = report.per_second * (length.as_secs_f64() + load::WARM_UP.as_secs_f64());
    Ok((report, used / calls))
}

/// User and system time of a process, in microseconds: ticks of 10 ms, as Linux counts for everybody.
pub(crate) fn cpu_us(stat: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(stat)?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    ensure!(fields.len() > 12, "{stat} has an unknown form");
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) * 10_000.0)
}

/// What the record takes of a call by itself, without anything else and without shipping.
struct Alone {
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    cpu_us: f64,
}

impl std::fmt::Display for Alone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, p50_us, p99_us, cpu_us } = self;
        write!(f, "{per_second:>6.0} calls/s, p50 {p50_us} µs, p99 {p99_us} µs, {cpu_us:.0} µs of CPU per call")
    }
}

impl Alone {
    async fn measure(durability: Durability, has_effect: bool, length: Duration) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("trunkline-bench-record-{}", std::process::id()));
        let settings = Settings { dir: dir.clone(), max_bytes: 4 << 30, durability, effects: durability };
        let (spool, mut writer) = record::open(settings);
        writer.start()?;
        let (began, cpu) = (Instant::now(), cpu_us("/proc/self/stat")?);
        let until = began + length;
        let mut running = JoinSet::new();
        for _ in 0..AT_ONCE {
            running.spawn(calls(Arc::clone(&spool), has_effect, until));
        }
        let mut all = Histogram::<u64>::new(3)?;
        while let Some(one) = running.join_next().await {
            all.add(one??)?;
        }
        let (took, used) = (began.elapsed().as_secs_f64(), cpu_us("/proc/self/stat")? - cpu);
        drop((spool, writer));
        remove(&dir)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let calls = all.len() as f64;
        let at = |quantile| all.value_at_quantile(quantile);
        Ok(Self { per_second: calls / took, p50_us: at(0.5), p99_us: at(0.99), cpu_us: used / calls })
    }
}

/// One after the other, each as the path of a call does it.
async fn calls(spool: Arc<dyn Spool>, has_effect: bool, until: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    while Instant::now() < until {
        let began = Instant::now();
        let mut place = spool.reserve()?;
        let entry = entry();
        if has_effect {
            place.intend(&entry).await?;
        }
        place.complete(&entry).await?;
        latencies.record(u64::try_from(began.elapsed().as_micros())?)?;
    }
    Ok(latencies)
}

/// Its thread may still write what was put into the queue last.
fn remove(dir: &Path) -> std::io::Result<()> {
    let asked = Instant::now();
    loop {
        match std::fs::remove_dir_all(dir) {
            Err(_) if asked.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_millis(50)),
            removed => return removed,
        }
    }
}

fn entry() -> Entry {
    let now = SystemClock.now();
    Entry {
        id: EntryId::new(now),
        tenant: TenantId::NIL,
        at: now,
        agent: AgentId::NIL,
        key: Some(KeyId::NIL),
        grant: None,
        tool: Some((ToolId::NIL, ToolVersionId::NIL)),
        tool_name: "echo".to_owned(),
        outcome: Outcome::Ok,
        error: None,
        latency_us: 1_200,
        auth_us: 20,
        admission_us: 180,
        upstream_us: 900,
        bytes_in: 420,
        bytes_out: 380,
        cost_micro: 10,
        revision: "2026-07-28".into(),
        client_name: "bench".to_owned(),
        request_id: "01a1ffb9-98f8-75f0-bbc2-a2b92bc18004".to_owned(),
        degraded: false,
        user: None,
        jsonrpc_id: Some("1".to_owned()),
        trace_id: None,
        downstream: Exchanges::default(),
        reserved: None,
        context: None,
        provenance: Provenance::default(),
    }
}
