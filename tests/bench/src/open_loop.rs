//! The load generator at a fixed rate: requests are due at moments that nothing delays, and each is timed from when it was due. So a request that
//! found every connection busy counts with its waiting (no coordinated omission). One thread per connection: timers of a runtime are too coarse.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;

use crate::load::{self, Load};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What came of it, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

impl Report {
    /// The repetition in the middle, by its 99th percentile.
    pub(crate) fn median(mut reports: Vec<Self>) -> Self {
        reports.sort_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
        reports[reports.len() / 2]
    }
}

/// Sends so many requests a second over the load's connections, for its length, and fails if any answer was wrong.
pub(crate) fn run(load: &Load, per_second: u32) -> anyhow::Result<Report> {
    let (begin, next) = (Instant::now() + Duration::from_millis(100), AtomicU64::new(0));
    let began = begin + load::WARM_UP;
    let until = began + load.length();
    let all = std::thread::scope(|scope| -> anyhow::Result<Histogram<u64>> {
        let connection = || connection(load, per_second, &next, (begin, began, until));
        let threads: Vec<_> = (0..load.connections()).map(|_| scope.spawn(connection)).collect();
        let mut all = Histogram::<u64>::new(3)?;
        for thread in threads {
            let one = thread.join().map_err(|_| anyhow::anyhow!("a connection panicked"))?;
            all.add(one?)?;
        }
        Ok(all)
    })?;
    let ms = |quantile| Duration::from_micros(all.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let per_second = all.len() as f64 / load.length().as_secs_f64();
    Ok(Report { per_second, p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999) })
}

/// Takes the next request that nobody has taken, until there are none.
fn connection(
    load: &Load,
    per_second: u32,
    next: &AtomicU64,
    (begin, began, until): (Instant, Instant, Instant),
) -> anyhow::Result<Histogram<u64>> {
    let mut socket = TcpStream::connect(load.address()).context("no connection")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let (mut latencies, mut answer) = (Histogram::<u64>::new(3)?, Vec::with_capacity(4096));
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = begin + Duration::from_nanos(number * 1_000_000_000 / u64::from(per_second));
        if due >= until {
            return Ok(latencies);
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let marker = format!("o-{number:014}-");
        socket.write_all(load.request(&marker).as_bytes())?;
        read(&mut socket, &mut answer)?;
        load::check(&answer, &marker)?;
        if due >= began {
            latencies.record(u64::try_from(due.elapsed().as_micros())?)?;
        }
    }
}

/// Reads one answer with a `Content-Length`.
fn read(socket: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    let (mut piece, mut whole) = ([0; 4096], None);
    while whole.is_none_or(|whole| answer.len() < whole) {
        let count = socket.read(&mut piece).context("no answer in time")?;
        ensure!(count > 0, "the connection was closed");
        answer.extend_from_slice(&piece[..count]);
        whole = whole.map_or_else(|| load::whole_length(answer), |whole| Ok(Some(whole)))?;
    }
    Ok(())
}
