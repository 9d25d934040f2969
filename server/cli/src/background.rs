//! The list of all background work, with who does it and how often.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunkline_platform::{
    Platform, Result, accounts, alerts, bus, catalog, chain, connections, execution, jobs, oauth, publishing, quota, record,
    session, telemetry, upstream, usage,
};

use crate::{lifecycle::Tasks, telemetry::take_lines};

/// A replica that is not heard of for a few of these no longer shares the limits.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// How soon it is noticed that Redis is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Sessions and links that have run out are refused at once; their rows may wait for this.
const FORGET_EVERY: Duration = Duration::from_mins(15);
/// People look at the day a key was last used, not at the second.
const NOTE_KEYS_EVERY: Duration = Duration::from_secs(5);
/// Tenants that nobody calls leave memory.
const DROP_IDLE_EVERY: Duration = Duration::from_mins(1);
/// What functions logged is not shown from its last second on; this is how soon it is destroyed.
const FORGET_LOGS_EVERY: Duration = Duration::from_hours(1);
/// Processes of functions have a minute; this is how exactly.
const SWEEP_SANDBOXES_EVERY: Duration = Duration::from_secs(10);
/// A change of the signing keys whose notification was missed is noticed after this.
const SIGNING_KEYS_EVERY: Duration = Duration::from_secs(30);
/// How soon tokens of people that run out are noticed.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(5);
/// How soon the end of a secret's overlap is noticed: its value before is not used from the second on that was said.
const OVERLAPS_EVERY: Duration = Duration::from_secs(5);
/// How often refusals of new secrets are written down.
const REFUSALS_EVERY: Duration = Duration::from_mins(1);
/// How soon a source that is due is noticed.
const SOURCES_EVERY: Duration = Duration::from_secs(5);
/// How soon a probe that is due is noticed.
const PROBES_EVERY: Duration = Duration::from_secs(2);
/// How soon a tenant that is due to be looked at for alerts is noticed.
const ALERTS_EVERY: Duration = Duration::from_secs(2);
/// How soon a tenant whose sums are due to be held against the record is noticed.
const SUMS_EVERY: Duration = Duration::from_secs(30);
/// How soon a description that is due is noticed.
const DESCRIPTIONS_EVERY: Duration = Duration::from_secs(10);
/// Partitions exist months ahead; this only has to happen now and then.
const PARTITIONS_EVERY: Duration = Duration::from_hours(6);

/// How soon entries are chained, and heads that are due are signed.
const CHAIN_EVERY: Duration = Duration::from_millis(500);

/// Upstreams that do not answer must not hold the end of this process.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Starts all of it.
pub fn start(tasks: &mut Tasks, platform: &Platform, writer: record::Writer) {
    let of = || platform.clone();
    let (to_write, to_hear, to_bus, to_sessions, to_work, to_share, to_greet) = (of(), of(), of(), of(), of(), of(), of());
    tasks.spawn("record writer", |stop| done(async move { record::run(to_write, writer, stop).await }));
    tasks.spawn("catalogue listener", |stop| done(async move { catalog::listen::run(to_hear, stop).await }));
    tasks.spawn("bus", |stop| done(async move { bus::run(to_bus, stop).await }));
    tasks.spawn("sessions", |stop| done(async move { session::run(to_sessions, stop).await }));
    let (to_ask, to_say, to_lease) = (of(), of(), of());
    tasks.spawn("redis probe", |stop| done(probe_redis(to_ask, stop)));
    tasks.spawn("words after calls", |stop| done(async move { quota::run_afterwards(to_say, stop).await }));
    tasks.spawn("lease of the installation's bucket", |stop| done(async move { quota::run_lease(to_lease, stop).await }));
    tasks.spawn("jobs", |stop| done(async move { jobs::run(to_work, stop).await }));
    tasks.spawn("replica heartbeat", |stop| done(be_counted(to_share, stop)));
    tasks.spawn("idle upstreams", |stop| done(sweep_upstreams(to_greet, stop)));
    let (to_end, to_tell, to_count, to_log) = (of(), of(), of(), of());
    tasks.spawn("traces", |stop| done(async move { telemetry::run(to_tell, stop).await }));
    tasks.spawn("metrics", |stop| done(async move { telemetry::run_numbers(to_count, stop).await }));
    let lines = take_lines();
    tasks.spawn("lines of the log", |stop| done(async move { telemetry::run_lines(to_log, lines, stop).await }));
    let (to_keep, to_destroy, to_warm) = (platform.clone(), platform.clone(), platform.clone());
    tasks.spawn("engine of functions", |stop| done(async move { execution::warm_functions(to_warm, stop).await }));
    tasks.spawn("logs of functions", |stop| done(async move { execution::logs::run(to_keep, stop).await }));
    tasks.spawn("old logs of functions", |stop| {
        let forget = |platform: Platform| async move { execution::logs::forget_old(&platform).await };
        let failure = "old logs of functions stay until the next round";
        done(async move { every(&to_destroy, ("old logs of functions", FORGET_LOGS_EVERY), stop, failure, forget).await })
    });
    tasks.spawn("idle sandboxes", |stop| done(sweep_sandboxes(to_end, stop)));
    start_rounds(tasks, platform);
}

/// What is looked at now and again.
fn start_rounds(tasks: &mut Tasks, platform: &Platform) {
    let of = || platform.clone();
    let (to_refresh, to_note, to_drop, to_forget, to_partition) = (of(), of(), of(), of(), of());
    tasks.spawn("sources", |stop| done(refresh_sources(to_refresh, stop)));
    let (to_probe, to_watch, to_verify) = (of(), of(), of());
    tasks.spawn("descriptions", |stop| done(verify_descriptions(to_verify, stop)));
    tasks.spawn("probes", |stop| done(probe_tools(to_probe, stop)));
    tasks.spawn("echoes", |stop| done(async move { publishing::watch(to_watch, stop).await }));
    tasks.spawn("use of keys", |stop| {
        let note = |platform: Platform| async move { record::note_key_use(&platform).await };
        done(async move { every(&to_note, ("use of keys", NOTE_KEYS_EVERY), stop, "the last use of keys is not noted", note).await })
    });
    tasks.spawn("idle tenants", |stop| {
        let drop_idle = |platform: Platform| async move {
            platform.snapshots.drop_idle(platform.clock.now().timestamp());
            Ok(())
        };
        done(async move { every(&to_drop, ("idle tenants", DROP_IDLE_EVERY), stop, "idle tenants stay in memory", drop_idle).await })
    });
    tasks.spawn("expired sessions", |stop| {
        let forget = |platform: Platform| async move { accounts::forget_expired(&platform).await.map(drop) };
        done(async move {
            every(&to_forget, ("expired sessions", FORGET_EVERY), stop, "expired sessions stay until the next round", forget)
                .await;
        })
    });
    let to_chain = platform.clone();
    tasks.spawn("chain", |stop| {
        let advance = |platform: Platform| async move { chain::advance(&platform).await };
        done(async move { every(&to_chain, ("chain", CHAIN_EVERY), stop, "the record is not chained", advance).await })
    });
    let to_retain = platform.clone();
    tasks.spawn("retention", |stop| {
        let retain = |platform: Platform| async move { chain::retain(&platform).await };
        done(async move {
            every(&to_retain, ("retention", PARTITIONS_EVERY), stop, "no month of the record is dropped", retain).await;
        })
    });
    let to_look = platform.clone();
    tasks.spawn("alerts", |stop| {
        let look = |platform: Platform| async move { alerts::look_due(&platform).await };
        done(async move { every(&to_look, ("alerts", ALERTS_EVERY), stop, "nobody looks for alerts", look).await })
    });
    let to_check = platform.clone();
    tasks.spawn("sums of usage", |stop| done(check_sums(to_check, stop)));
    start_oauth_rounds(tasks, platform);
    start_credential_rounds(tasks, platform);
    tasks.spawn("partitions", |stop| {
        let ensure = |platform: Platform| async move { record::ensure_partitions(&platform).await };
        done(async move { every(&to_partition, ("partitions", PARTITIONS_EVERY), stop, "partitions are not made", ensure).await })
    });
}

fn start_oauth_rounds(tasks: &mut Tasks, platform: &Platform) {
    let (to_sign, to_forget, to_connect) = (platform.clone(), platform.clone(), platform.clone());
    tasks.spawn("signing keys", |stop| {
        let refresh = |platform: Platform| async move { oauth::refresh_signing_keys(&platform).await };
        done(async move {
            every(&to_sign, ("signing keys", SIGNING_KEYS_EVERY), stop, "the signing keys are not looked after", refresh).await;
        })
    });
    tasks.spawn("connections", |stop| {
        let refresh = |platform: Platform| async move { connections::refresh_due(&platform).await };
        done(async move {
            every(&to_connect, ("connections", CONNECTIONS_EVERY), stop, "connections are not refreshed", refresh).await;
        })
    });
    tasks.spawn("expired grants", |stop| {
        let forget = |platform: Platform| async move { oauth::forget_expired(&platform).await.map(drop) };
        let failure = "expired codes and registrations stay until the next round";
        done(async move { every(&to_forget, ("expired grants", FORGET_EVERY), stop, failure, forget).await })
    });
}

fn start_credential_rounds(tasks: &mut Tasks, platform: &Platform) {
    let (to_end, to_note) = (platform.clone(), platform.clone());
    tasks.spawn("overlaps of secrets", |stop| {
        let end = |platform: Platform| async move { catalog::credential::end_due(&platform).await };
        done(async move {
            every(&to_end, ("overlaps of secrets", OVERLAPS_EVERY), stop, "secrets are kept beyond their overlap", end).await;
        })
    });
    tasks.spawn("refused secrets", |stop| done(note_refusals(to_note, stop)));
}

async fn note_refusals(platform: Platform, stop: CancellationToken) {
    let note = |platform: Platform| async move { catalog::credential::note_refusals(&platform).await };
    every(&platform, ("refused secrets", REFUSALS_EVERY), stop, "refusals of new secrets are not written down", note).await;
    // What was counted since is lost if this fails; it is a number for people.
    let _ = catalog::credential::note_refusals(&platform).await;
}

/// What ends only when it is told to has not failed then.
async fn done<E>(work: impl Future<Output = ()>) -> std::result::Result<(), E> {
    work.await;
    Ok(())
}

async fn probe_redis(platform: Platform, stop: CancellationToken) {
    // Sooner where a cluster has changed.
    let soon = || async { drop(tokio::time::timeout(PROBE_EVERY, platform.redis.moved()).await) };
    while stop.run_until_cancelled(soon()).await.is_some() {
        platform.redis.probe().await;
    }
}

async fn be_counted(platform: Platform, stop: CancellationToken) {
    let beat = |platform: Platform| async move { quota::replicas::beat(&platform).await };
    every(&platform, ("replica heartbeat", BEAT_EVERY), stop, "the other replicas are not counted", beat).await;
    // The others find out by themselves if this fails.
    let _ = quota::replicas::leave(&platform).await;
}

async fn sweep_sandboxes(platform: Platform, stop: CancellationToken) {
    let sweep = |platform: Platform| async move {
        platform.sandboxes.sweep();
        Ok(())
    };
    every(&platform, ("idle sandboxes", SWEEP_SANDBOXES_EVERY), stop, "idle processes of functions stay", sweep).await;
}

async fn sweep_upstreams(platform: Platform, stop: CancellationToken) {
    let sweep = |platform: Platform| async move {
        platform.upstreams.sweep(upstream::IDLE).await;
        Ok(())
    };
    every(&platform, ("idle upstreams", DROP_IDLE_EVERY), stop, "idle upstreams stay", sweep).await;
    // Whoever we have sessions with should not have to wait for them to run out.
    let goodbye = platform.upstreams.sweep(Duration::ZERO);
    let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
}

async fn refresh_sources(platform: Platform, stop: CancellationToken) {
    // Cut when told to stop: what was begun is rolled back, and another replica goes on when its lease has ended.
    let until = stop.clone();
    let refresh = |platform: Platform| {
        let until = until.clone();
        async move { until.run_until_cancelled(catalog::source::refresh_due(&platform)).await.unwrap_or(Ok(())) }
    };
    every(&platform, ("sources", SOURCES_EVERY), stop, "sources are not refreshed", refresh).await;
}

async fn verify_descriptions(platform: Platform, stop: CancellationToken) {
    // Cut when told to stop: what was begun is rolled back, and another replica goes on when its lease has ended.
    let until = stop.clone();
    let verify = |platform: Platform| {
        let until = until.clone();
        async move { until.run_until_cancelled(catalog::api::supply::read_due(&platform)).await.unwrap_or(Ok(())) }
    };
    every(&platform, ("descriptions", DESCRIPTIONS_EVERY), stop, "descriptions are not verified", verify).await;
}

async fn check_sums(platform: Platform, stop: CancellationToken) {
    // Cut when told to stop: it only reads, and another replica goes on when the lease has ended.
    let until = stop.clone();
    let check = |platform: Platform| {
        let until = until.clone();
        async move { until.run_until_cancelled(usage::check_due(&platform)).await.unwrap_or(Ok(())) }
    };
    every(&platform, ("sums of usage", SUMS_EVERY), stop, "sums of usage are not held against the record", check).await;
}

async fn probe_tools(platform: Platform, stop: CancellationToken) {
    // Cut when told to stop: another replica goes on when the lease has ended.
    let until = stop.clone();
    let probe = |platform: Platform| {
        let until = until.clone();
        async move { until.run_until_cancelled(publishing::probe_due(&platform)).await.unwrap_or(Ok(())) }
    };
    every(&platform, ("probes", PROBES_EVERY), stop, "probes are not made", probe).await;
}

/// Does it now and again after each pause, until told to stop. A failure is counted under that name, and told once, until it works again.
async fn every<F>(
    platform: &Platform,
    (work, pause): (&'static str, Duration),
    stop: CancellationToken,
    failure: &'static str,
    step: impl Fn(Platform) -> F,
) where
    F: Future<Output = Result<()>>,
{
    let mut failing = false;
    loop {
        let ended = step(platform.clone()).await;
        platform.metrics.note_round(work, ended.is_err());
        match ended {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(error = &error as &dyn std::error::Error, "{failure}"),
            Err(error) => {
                failing = true;
                tracing::warn!(error = &error as &dyn std::error::Error, "{failure}");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
