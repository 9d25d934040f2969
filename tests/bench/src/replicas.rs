//! What a call costs where several replicas share the calls of a tenant: they meet in Redis and in Postgres, and nowhere else.

use std::{path::Path, time::Duration};

use futures_util::future::try_join_all;

use crate::{
    installation::{Installation, Replica},
    load::{self, Load},
    record::cpu_us,
    say, upstream,
};

/// Replicas at most.
const REPLICAS: usize = 3;
/// Connections in all, spread evenly.
const CONNECTIONS: usize = 48;
/// Each number of replicas is measured so often, in turns.
const ROUNDS: usize = 3;
/// After the load, for what was called to be shipped.
const SHIPPED_WITHIN: Duration = Duration::from_secs(2);

/// Prints it. All replicas run all the time; calls go to the first of them only, then to two, then to all. Where they have a processor each, their
/// calls per second would add up; on a machine that is busy already, what each call costs says the same.
pub(crate) async fn measure(program: &Path, seconds: u64) -> anyhow::Result<()> {
    let length = Duration::from_secs(seconds.clamp(1, 60));
    let upstream = upstream::Child::start().await?;
    let installation = Installation::start(program, &upstream.url(), 1).await?;
    let mut others = Vec::new();
    for number in 1..REPLICAS {
        others.push(installation.replica(program, number).await?);
    }
    say(format!("\nreplicas, {CONNECTIONS} connections in all, {} s each, medians of {ROUNDS}", length.as_secs()));
    let mut costs = vec![Vec::new(); REPLICAS];
    for _ in 0..ROUNDS {
        for (count, costs) in (1..).zip(&mut costs) {
            costs.push(calls(&installation, &others, count, length).await?);
        }
    }
    let mut alone_us = None;
    for (count, mut costs) in (1..).zip(costs) {
        costs.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (per_second, cpu_us) = costs[ROUNDS / 2];
        let ratio = cpu_us / *alone_us.get_or_insert(cpu_us);
        say(format!(
            "  {count}: {per_second:>6.0} calls/s, {cpu_us:.0} µs of CPU of all servers per call, {ratio:.2} x one replica"
        ));
    }
    for other in others {
        other.stop().await?;
    }
    installation.stop().await
}

/// Calls per second through so many of them, and the CPU of all servers for each.
async fn calls(installation: &Installation, others: &[Replica], count: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
    let urls: Vec<&str> = std::iter::once(installation.url()).chain(others.iter().map(|other| &*other.url)).take(count).collect();
    let loads: Vec<Load> = urls.iter().map(|url| Load::call(url, installation.key(), CONNECTIONS / count, length)).collect();
    let before = cpu(installation, others)?;
    let reports = try_join_all(loads.iter().map(load::run)).await?;
    tokio::time::sleep(SHIPPED_WITHIN).await;
    let used_us = cpu(installation, others)? - before;
    let per_second: f64 = reports.iter().map(|report| report.per_second).sum();
    // The load runs for a moment before it is counted.
    Ok((per_second, used_us / (per_second * (length + load::WARM_UP).as_secs_f64())))
}

fn cpu(installation: &Installation, others: &[Replica]) -> anyhow::Result<f64> {
    let pids = std::iter::once(installation.pid()).chain(others.iter().map(Replica::pid));
    pids.map(|pid| cpu_us(&format!("/proc/{pid}/stat"))).sum()
}
