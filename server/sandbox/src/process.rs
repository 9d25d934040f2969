//! The process: prepares the engine, closes itself off, and runs one function after the other for whoever holds its pipes.

use std::{
    io,
    process::ExitCode,
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::{
    Confinement, confine,
    engine::Prepared,
    host::Outside,
    limits, run,
    wire::{self, Order, Report, Setup},
};

/// Stack of a thread that runs functions: the engine's own, and ours around it.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Threads for calls. Each has one call at most that computes for long.
const THREADS: usize = 32;
/// Answers that wait to be read: never more than a call makes requests.
const MOST_WAITING: usize = limits::REQUESTS as usize + 1;

/// Serves standard input until it ends. With an environment it refuses; of descriptors it keeps three.
pub fn serve() -> ExitCode {
    let tell = |why: String| {
        let _ = wire::write(&mut io::stdout(), &Report::Broken(why));
        ExitCode::FAILURE
    };
    if let Some(what) = brought_along() {
        return tell(format!("a sandbox begins with nothing, and this one has {what}"));
    }
    let setup = match wire::read(&mut io::stdin()) {
        Ok(Some(Order::Prepare(setup))) => setup,
        Ok(_) => return ExitCode::SUCCESS,
        Err(error) => return tell(format!("the first order cannot be read: {error}")),
    };
    // From here on every thread has no more than this.
    let namespaces = confine::separate();
    let landlock = confine::only(Some(&setup.cache));
    let (orders, heard) = sync_channel(MOST_WAITING);
    let started = thread::Builder::new().name("ear".to_owned()).spawn(move || listen(&orders));
    let worker = thread::Builder::new().name("engine".to_owned()).stack_size(STACK_BYTES);
    let worker = started
        .and_then(|_| worker.spawn(move || work(&setup, Confinement { landlock, namespaces, ..Confinement::default() }, heard)));
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(error))) => tell(error.to_string()),
        Ok(Err(_)) => tell("the engine's thread panicked".to_owned()),
        Err(error) => tell(format!("a thread cannot be started: {error}")),
    }
}

/// What should not be there: part of an environment, or a descriptor beside the three. Descriptors that whoever started the server had left open
/// come this far, and end here.
fn brought_along() -> Option<String> {
    if std::env::vars_os().next().is_some() {
        return Some("an environment".to_owned());
    }
    for descriptor in descriptors() {
        // The one that the listing itself had is closed by now, which is no failure.
        let _ = nix::unistd::close(descriptor);
    }
    // Now it is the listing's own alone.
    let left = descriptors();
    (left.len() > 1).then(|| format!("descriptors {left:?}"))
}

/// Descriptors that are open beside the three, and the one of the listing itself. Empty where the system does not tell.
fn descriptors() -> Vec<i32> {
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2).collect()
}

/// Reads orders. Whoever held the other end is gone when they end: then so is this process, whatever runs.
fn listen(orders: &SyncSender<Order>) {
    while let Ok(Some(order)) = wire::read(&mut io::stdin()) {
        if orders.send(order).is_err() {
            break;
        }
    }
    std::process::exit(0)
}

/// Prepares the engine, and the threads that run calls one after the other, each until it has had one that computes for long: such a thread
/// stays behind everything else. Then the next takes its place, since no thread can begin here any more; after the last, the process ends.
fn work(setup: &Setup, so_far: Confinement, heard: Receiver<Order>) -> io::Result<()> {
    let prepared = Prepared::new(Some(&setup.cache))
        .map_err(|error| io::Error::other(format!("the engine cannot be prepared: {error:#}")))?;
    let landlock = confine::only(None) && so_far.landlock;
    let (prepared, heard) = (Arc::new(prepared), Arc::new(Mutex::new(heard)));
    let (turn, begun) = (Arc::new(Mutex::new(())), Arc::new(Barrier::new(THREADS + 1)));
    // Each is there before the walls stand, since it has a name and a stack to set up; none has a call before.
    let first = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = (0..THREADS).map(|_| {
        let (prepared, heard, turn, begun) = (Arc::clone(&prepared), Arc::clone(&heard), Arc::clone(&turn), Arc::clone(&begun));
        let thread = thread::Builder::new().name("function".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            begun.wait();
            serve_calls(&prepared, &heard, &turn)
        })
    });
    let threads = threads.collect::<io::Result<Vec<_>>>()?;
    begun.wait();
    let limits = confine::limit();
    let seccomp = confine::filter();
    wire::write(&mut io::stdout(), &Report::Ready(Confinement { landlock, seccomp, limits, ..so_far }))?;
    drop(first);
    threads
        .into_iter()
        .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a function's thread panicked"))))
}

/// When it is this thread's turn: calls, until one has computed for long.
fn serve_calls(prepared: &Prepared, heard: &Arc<Mutex<Receiver<Order>>>, turn: &Mutex<()>) -> io::Result<()> {
    let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let order = heard.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match order {
            Ok(Order::Run(job)) => {
                let run::Ran { done, is_behind } = run::run(prepared, Box::new(Pipe(Arc::clone(heard))), &job);
                if is_behind {
                    // Before it is said: the next call shall not wait for this thread to get on.
                    drop(turn);
                    return wire::write(&mut io::stdout(), &Report::Done(done));
                }
                wire::write(&mut io::stdout(), &Report::Done(done))?;
            }
            Ok(Order::Ping) => wire::write(&mut io::stdout(), &Report::Pong)?,
            // An answer that came too late for its call.
            Ok(Order::Answer { .. } | Order::Prepare(_)) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// The other end, as a call sees it.
struct Pipe(Arc<Mutex<Receiver<Order>>>);

impl Outside for Pipe {
    fn tell(&mut self, report: &Report) -> io::Result<()> {
        wire::write(&mut io::stdout(), report)
    }

    fn hear(&mut self, within: Duration) -> Option<Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(within).ok()
    }
}
