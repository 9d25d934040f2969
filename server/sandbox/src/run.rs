//! One call: a copy of the engine, the code, its promises, and what comes of it.

use std::time::{Duration, Instant};

use wasmtime::{Result, Trap, bail};

use crate::{
    engine::{Copy, Prepared},
    guest::NoMemory,
    host::{self, Host, Outside},
    limits,
    wire::{Class, Done, Failure, Job, Order, Outcome},
};

/// As errors name the code.
const NAME: &str = "function.js";

/// What came of a call, and what became of its thread.
pub(crate) struct Ran {
    pub(crate) done: Done,
    /// The thread comes after everything else from now on: it is for no other call.
    pub(crate) is_behind: bool,
}

/// Runs a function.
pub(crate) fn run(prepared: &Prepared, outside: Box<dyn Outside>, job: &Job) -> Ran {
    let host = Host::new(outside, Duration::from_millis(job.timeout_ms.into()));
    let mut copy = match prepared.copy(host) {
        Ok(copy) => copy,
        Err(error) => {
            let outcome = failed(Class::Crashed, format!("the engine does not begin: {error}"), "");
            let done = Done { outcome, logs: Vec::new(), lost_lines: 0, requests: 0, busy_us: 0 };
            return Ran { done, is_behind: false };
        }
    };
    let outcome = go(&mut copy, job);
    let outcome = judge(copy.store.data(), outcome);
    let busy = copy.store.data().busy();
    let host = copy.store.data_mut();
    let done = Done {
        outcome,
        logs: std::mem::take(&mut host.logs),
        lost_lines: host.lost_lines,
        requests: host.requests,
        busy_us: u64::try_from(busy.as_micros()).unwrap_or(u64::MAX),
    };
    Ran { done, is_behind: host.is_behind }
}

/// Until the function has said what it gives, or has nothing left to do.
fn go(copy: &mut Copy, job: &Job) -> Result<Outcome> {
    let Copy { store, guest, entry, .. } = copy;
    let begun = guest.call(&mut *store, entry.begin, &[])?;
    if let Some((message, stack)) = guest.thrown(&mut *store, begun)? {
        bail!("the prelude fails: {message} {stack}");
    }
    let loading = guest.eval_module(&mut *store, &job.code, NAME)?;
    if let Some((message, stack)) = guest.thrown(&mut *store, loading)? {
        return Ok(failed(Class::Threw, message, &stack));
    }
    let input = guest.string(&mut *store, &job.input)?;
    let timeout = guest.string(&mut *store, &job.timeout_ms.to_string())?;
    let started = guest.call(&mut *store, entry.start, &[loading, input, timeout])?;
    if let Some((message, stack)) = guest.thrown(&mut *store, started)? {
        return Ok(failed(Class::Threw, message, &stack));
    }
    loop {
        while guest.qjs_is_job_pending.call(&mut *store, ())? != 0 {
            // What a job throws is the reason of a promise; somebody waits for it or nobody does.
            if guest.qjs_execute_pending_job.call(&mut *store, ())? < 0 {
                guest.qjs_get_exception.call(&mut *store, ())?;
            }
            if store.data().done.is_some() {
                break;
            }
        }
        if let Some((kind, text, stack)) = store.data_mut().done.take() {
            return Ok(given(&kind, text, &stack));
        }
        let Some((id, text)) = wait(store.data_mut()) else {
            let never = "it waits for a promise that nothing resolves";
            return Ok(failed(Class::Threw, never.to_owned(), ""));
        };
        let (id, text) = (guest.string(&mut *store, &id)?, guest.string(&mut *store, &text)?);
        let settled = guest.call(&mut *store, entry.settle, &[id, text])?;
        for value in [id, text] {
            guest.qjs_free_value.call(&mut *store, value)?;
        }
        if let Some((message, stack)) = guest.thrown(&mut *store, settled)? {
            // A timer's function threw: nobody else would hear of it.
            return Ok(failed(Class::Threw, message, &stack));
        }
    }
}

/// Waits for the next answer or timer. `None`: there is nothing to wait for, or the time is over.
fn wait(host: &mut Host) -> Option<(String, String)> {
    if host.is_over() {
        return None;
    }
    let due = host.timers.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(i, (at, _))| (i, *at));
    if due.is_none() && host.unanswered == 0 {
        return None;
    }
    let now = Instant::now();
    let until = due.map_or(host.until, |(_, at)| at.min(host.until));
    if host.unanswered == 0 || until <= now {
        std::thread::sleep(until.saturating_duration_since(now));
    } else if let Some(Order::Answer { id, result }) = host.outside.hear(until - now) {
        host.unanswered -= 1;
        return Some((id.to_string(), serde_json::to_string(&result).unwrap_or_default()));
    }
    match due {
        Some((i, at)) if at <= Instant::now() => Some((host.timers.swap_remove(i).1.to_string(), String::new())),
        _ => {
            host.is_late = true;
            None
        }
    }
}

/// What the code said that it gives.
fn given(kind: &str, text: String, stack: &str) -> Outcome {
    if matches!(kind, "text" | "object") && text.len() > limits::OUTPUT_BYTES {
        let message = format!("it gave {} bytes; at most {} are passed on", text.len(), limits::OUTPUT_BYTES);
        return failed(Class::Output, message, "");
    }
    match kind {
        "text" => Outcome::Text(text),
        // The other end relies on it.
        "object" if serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok() => Outcome::Object(text),
        "object" => failed(Class::Output, "what the function gave is no JSON object".to_owned(), ""),
        _ => failed(host::class(kind), text, stack),
    }
}

/// Limits come first: who ran out of something fails because of that, whatever the engine made of it.
fn judge(host: &Host, outcome: Result<Outcome>) -> Outcome {
    let failure = match &outcome {
        Ok(Outcome::Failed(_)) | Err(_) => true,
        Ok(_) => false,
    };
    if failure && host.is_late {
        let busy = host.busy() >= limits::BUSY;
        let message = if busy {
            format!("it ran for more than {} s", limits::BUSY.as_secs())
        } else {
            format!("it took more than {} ms", (host.until - host.began).as_millis())
        };
        return failed(Class::Timeout, message, "");
    }
    if failure && host.wants_memory {
        return failed(Class::Memory, format!("it needs more than {} MiB", limits::MEMORY_BYTES >> 20), "");
    }
    match outcome {
        Ok(outcome) => outcome,
        Err(error) if error.is::<NoMemory>() => failed(Class::Memory, "it has no memory left".to_owned(), ""),
        Err(error) if error.downcast_ref() == Some(&Trap::StackOverflow) => {
            failed(Class::Threw, "RangeError: too much recursion".to_owned(), "")
        }
        Err(_) => failed(Class::Crashed, "the engine failed".to_owned(), ""),
    }
}

fn failed(class: Class, message: String, stack: &str) -> Outcome {
    let mut message = message;
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    Outcome::Failed(Failure { class, message, line: line_in(stack) })
}

/// Longest message of a failure that is told, in bytes.
const MAX_MESSAGE_BYTES: usize = 2000;

/// The innermost line of the code in a stack such as `    at f (function.js:3:5)`.
fn line_in(stack: &str) -> Option<u32> {
    let (_, after) = stack.split_once("function.js:")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).map_or(after, |end| &after[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests;
