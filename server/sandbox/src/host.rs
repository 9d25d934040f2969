//! What the engine may ask of us: every import it has. There is no file, no socket and no environment among them.

use std::{
    fmt::Write as _,
    time::{Duration, Instant, SystemTime},
};

use wasmtime::{Caller, Extern, Linker, Memory, ResourceLimiter, Result, format_err};

use crate::{
    confine,
    guest::{Guest, Value},
    limits,
    wire::{Class, Line, Order, Report, Request},
};

/// WASI's word for "there is no such file".
const BADF: i32 = 8;
/// WASI's word for an argument that makes no sense.
const INVAL: i32 = 28;
/// Most random bytes at a time.
const MOST_RANDOM: usize = 65_536;
/// Longest line of a log, in bytes.
const MAX_LINE_BYTES: usize = 4096;

/// A call that has computed for so long comes after everything else that this machine has to do.
const SHORT: Duration = Duration::from_millis(10);

/// Processor time that this thread has had.
fn computed() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Where a call's questions go.
pub(crate) trait Outside: Send {
    /// Tells it something.
    fn tell(&mut self, report: &Report) -> std::io::Result<()>;
    /// Waits for what it says, at most that long. `None`: it said nothing.
    fn hear(&mut self, within: Duration) -> Option<Order>;
}

/// What one call has used, and what it has said.
pub(crate) struct Host {
    /// The other end.
    pub(crate) outside: Box<dyn Outside>,
    /// The engine that runs it, once there is one.
    pub(crate) guest: Option<Guest>,
    /// When it began.
    pub(crate) began: Instant,
    /// When it has to be over.
    pub(crate) until: Instant,
    /// What its thread had computed before it.
    computed_before: Duration,
    /// It computes for long, and its thread comes last.
    pub(crate) is_behind: bool,
    /// It ran out of time.
    pub(crate) is_late: bool,
    /// It wanted more memory than there is.
    pub(crate) wants_memory: bool,
    /// What it gave: a word for the kind, the text, where it failed.
    pub(crate) done: Option<(String, String, String)>,
    /// What it logged.
    pub(crate) logs: Vec<Line>,
    /// Bytes of that.
    logged: usize,
    /// Lines that did not fit.
    pub(crate) lost_lines: u32,
    /// Requests it made.
    pub(crate) requests: u32,
    /// Requests that were not answered yet.
    pub(crate) unanswered: u32,
    /// Timers: when, and whose.
    pub(crate) timers: Vec<(Instant, u32)>,
}

impl Host {
    pub(crate) fn new(outside: Box<dyn Outside>, timeout: Duration) -> Self {
        let began = Instant::now();
        Self {
            outside,
            guest: None,
            began,
            until: began + timeout,
            computed_before: computed(),
            is_behind: false,
            is_late: false,
            wants_memory: false,
            done: None,
            logs: Vec::new(),
            logged: 0,
            lost_lines: 0,
            requests: 0,
            unanswered: 0,
            timers: Vec::new(),
        }
    }

    /// Processor time that its code has had.
    pub(crate) fn busy(&self) -> Duration {
        computed().saturating_sub(self.computed_before)
    }

    /// Who computes for long gives way to those that do not: other tenants' calls, and the platform itself.
    pub(crate) fn give_way(&mut self) {
        if !self.is_behind && self.busy() >= SHORT {
            self.is_behind = true;
            confine::fall_behind();
        }
    }

    /// Has it had its time?
    pub(crate) fn is_over(&mut self) -> bool {
        self.is_late |= Instant::now() >= self.until || self.busy() >= limits::BUSY;
        self.is_late
    }

    /// A function of ours is called. The failure is for the code, which may catch it.
    fn answer(&mut self, name: &str, [first, second, third]: [String; 3]) -> Result<String, String> {
        match name {
            "__log" => self.log(&first, &second),
            "__request" => self.request(&first, &second)?,
            "__timer" => self.timer(&first, &second)?,
            "__random" => return Ok(random(&first)),
            // What came first holds.
            "__done" => {
                self.done.get_or_insert((first, second, third));
            }
            _ => return Err("there is no such function".to_owned()),
        }
        Ok(String::new())
    }

    fn log(&mut self, level: &str, text: &str) {
        let mut end = text.len().min(MAX_LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if self.logs.len() >= limits::LOG_LINES || self.logged + end > limits::LOG_BYTES {
            self.lost_lines = self.lost_lines.saturating_add(1);
            return;
        }
        self.logged += end;
        let cut = if end < text.len() { "…" } else { "" };
        let at_ms = u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let level = if matches!(level, "info" | "warn" | "error" | "debug") { level } else { "log" };
        self.logs.push(Line { level: level.to_owned(), text: format!("{}{cut}", &text[..end]), at_ms });
    }

    fn request(&mut self, id: &str, told: &str) -> Result<(), String> {
        if self.requests >= limits::REQUESTS {
            return Err(format!("a call makes at most {} requests", limits::REQUESTS));
        }
        let id = id.parse().map_err(|_| "the request has no number".to_owned())?;
        let request: Request = serde_json::from_str(told).map_err(|_| "the request cannot be read".to_owned())?;
        if request.body.as_ref().is_some_and(|body| body.len() > limits::BODY_BYTES) {
            return Err(format!("the body of a request has at most {} bytes", limits::BODY_BYTES));
        }
        self.requests += 1;
        self.unanswered += 1;
        self.outside.tell(&Report::Request { id, request }).map_err(|_| "the request cannot be sent".to_owned())
    }

    fn timer(&mut self, id: &str, ms: &str) -> Result<(), String> {
        if self.timers.len() >= limits::TIMERS {
            return Err(format!("at most {} timers wait at the same time", limits::TIMERS));
        }
        let id = id.parse().map_err(|_| "the timer has no number".to_owned())?;
        // What waits for longer than the call lasts never ends, whatever its number.
        let ms: f64 = ms.parse().map_err(|_| "the timer has no time".to_owned())?;
        let wait = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX);
        self.timers.push((self.began.checked_add(self.began.elapsed().saturating_add(wait)).unwrap_or(self.until), id));
        Ok(())
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let fits = desired <= limits::MEMORY_BYTES;
        self.wants_memory |= !fits;
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= 100_000)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }
}

/// Names of the functions that the prelude finds.
pub(crate) const FUNCTIONS: [&str; 5] = ["__log", "__request", "__timer", "__random", "__done"];

/// All imports of the engine.
pub(crate) fn link(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap("env", "host_call", call)?;
    linker.func_wrap("env", "host_get_timezone_offset", |_: i32, _: i32| -> i32 { 0 })?;
    linker.func_wrap("env", "host_interrupt", || -> i32 { 0 })?;
    linker.func_wrap("env", "host_promise_rejection", |_: i32, _: i32, _: i32| {})?;
    // Never asked: there is no loader of modules.
    linker.func_wrap("env", "host_module_normalize", |_: i32, _: i32| -> i32 { 0 })?;
    linker.func_wrap("env", "host_module_load", |_: i32, _: i32| -> i32 { 0 })?;
    let wasi = "wasi_snapshot_preview1";
    linker.func_wrap(wasi, "clock_time_get", |mut caller: Caller<'_, Host>, _: i32, _: i64, to: u32| -> Result<i32> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        memory(&mut caller)?.write(&mut caller, to as usize, &now.to_le_bytes())?;
        Ok(0)
    })?;
    linker.func_wrap(wasi, "random_get", |mut caller: Caller<'_, Host>, to: u32, count: u32| -> Result<i32> {
        if count as usize > MOST_RANDOM {
            return Ok(INVAL);
        }
        let mut bytes = vec![0_u8; count as usize];
        rand::fill(&mut bytes[..]);
        memory(&mut caller)?.write(&mut caller, to as usize, &bytes)?;
        Ok(0)
    })?;
    linker.func_wrap(wasi, "fd_close", |_: i32| BADF)?;
    linker.func_wrap(wasi, "fd_fdstat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(wasi, "fd_seek", |_: i32, _: i64, _: i32, _: i32| BADF)?;
    linker.func_wrap(wasi, "fd_write", |_: i32, _: i32, _: i32, _: i32| BADF)?;
    Ok(())
}

/// A function of ours is called by code. 0: it threw.
fn call(mut caller: Caller<'_, Host>, name: u32, name_length: u32, _this: u32, count: u32, values: u32) -> Result<Value> {
    let guest = caller.data().guest.clone().ok_or_else(|| format_err!("called before there is an engine"))?;
    let name = guest.text_at(&caller, name, name_length)?;
    let mut arguments = [const { String::new() }; 3];
    for (i, argument) in arguments.iter_mut().enumerate().take(count as usize) {
        let at = values.saturating_add(u32::try_from(i * 4)?);
        let value = guest.word(&caller, at)?;
        *argument = guest.text(&mut caller, value)?;
    }
    let said = caller.data_mut().answer(&name, arguments);
    match said {
        Ok(text) => guest.string(&mut caller, &text),
        Err(message) => guest.throw(&mut caller, &message).map(|()| 0),
    }
}

/// Random bytes in hex.
fn random(count: &str) -> String {
    let mut bytes = vec![0_u8; count.parse::<usize>().unwrap_or(0).min(MOST_RANDOM)];
    rand::fill(&mut bytes[..]);
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn memory(caller: &mut Caller<'_, Host>) -> Result<Memory> {
    caller.get_export("memory").and_then(Extern::into_memory).ok_or_else(|| format_err!("the engine has no memory"))
}

/// The kinds of failure that the prelude tells.
pub(crate) fn class(kind: &str) -> Class {
    if kind == "output" { Class::Output } else { Class::Threw }
}
