//! The engine: compiled once, begun once, and copied for every call.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::{
    Cache, CacheConfig, Config, Engine, Instance, InstancePre, Linker, Module, OptLevel, Result, Store, UpdateDeadline, Val,
    bail, format_err,
};

use crate::{
    guest::{Guest, Value},
    host::{self, FUNCTIONS, Host, Outside},
    limits,
};

/// QuickJS-NG as WebAssembly, from npm's quickjs-wasi; `build.rs` has held its digest against the one that was reviewed.
const QUICKJS: &[u8] = include_bytes!("../vendor/quickjs.wasm");
const PRELUDE: &str = include_str!("prelude.js");
/// How late it may be noticed that a call computes for long, or is over.
const TICK: Duration = Duration::from_millis(2);
/// Stack of the engine's own code. QuickJS counts the code's calls and stops them before this ends.
const WASM_STACK_BYTES: usize = 1536 * 1024;
/// Longest time that beginning takes, on a machine that has other things to do.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

/// The engine, ready to be copied.
pub(crate) struct Prepared {
    engine: Engine,
    pre: InstancePre<Host>,
    image: Image,
    ticker: Arc<Ticker>,
}

/// What an engine is after it has begun: all of its state is in its memory and these few numbers.
struct Image {
    memory: Vec<u8>,
    stack_pointer: i32,
    runtime: u32,
    context: u32,
    /// Functions of the prelude.
    entry: Entry,
}

/// The prelude's ends for us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) begin: Value,
    pub(crate) start: Value,
    pub(crate) settle: Value,
}

/// A copy of the engine for one call.
pub(crate) struct Copy {
    pub(crate) store: Store<Host>,
    pub(crate) guest: Guest,
    pub(crate) entry: Entry,
    _running: Running,
}

impl Prepared {
    /// Compiles the engine, or takes it from the directory where an earlier process has left it, and begins it.
    pub(crate) fn new(cache: Option<&Path>) -> Result<Self> {
        let engine = Engine::new(&config(cache)?)?;
        let module = Module::new(&engine, QUICKJS)?;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker)?;
        let pre = linker.instantiate_pre(&module)?;
        let ticker = Ticker::start(&engine)?;
        let image = Image::take(&engine, &pre)?;
        Ok(Self { engine, pre, image, ticker })
    }

    /// A copy for one call.
    pub(crate) fn copy(&self, host: Host) -> Result<Copy> {
        let running = self.ticker.run();
        let mut store = store(&self.engine, host);
        let instance = self.pre.instantiate(&mut store)?;
        let guest = Guest::of(&mut store, &instance)?;
        let (image, has) = (&self.image, guest.memory.data_size(&store));
        let pages = image.memory.len().saturating_sub(has).div_ceil(65_536);
        guest.memory.grow(&mut store, pages as u64)?;
        guest.memory.write(&mut store, 0, &image.memory)?;
        stack_pointer(&mut store, &instance)?.set(&mut store, Val::I32(image.stack_pointer))?;
        guest.qjs_set_runtime_and_context.call(&mut store, (image.runtime, image.context))?;
        store.data_mut().guest = Some(guest.clone());
        Ok(Copy { store, guest, entry: image.entry, _running: running })
    }
}

impl Image {
    fn take(engine: &Engine, pre: &InstancePre<Host>) -> Result<Self> {
        let mut store = store(engine, Host::new(Box::new(Nobody), BEGIN_WITHIN));
        let instance = pre.instantiate(&mut store)?;
        let guest = Guest::of(&mut store, &instance)?;
        store.data_mut().guest = Some(guest.clone());
        guest._initialize.call(&mut store, ())?;
        if guest.qjs_init.call(&mut store, ())? != 0 {
            bail!("the engine does not begin");
        }
        guest.qjs_set_max_stack_size.call(&mut store, limits::STACK_BYTES)?;
        let global = guest.qjs_get_global.call(&mut store, ())?;
        for name in FUNCTIONS {
            let at = guest.put(&mut store, name.as_bytes())?;
            let function = guest.qjs_new_host_function.call(&mut store, (at, u32::try_from(name.len())?, 0))?;
            guest.set_property(&mut store, global, name, function)?;
        }
        let ends = guest.eval(&mut store, PRELUDE, "prelude.js")?;
        if let Some((why, stack)) = guest.thrown(&mut store, ends)? {
            bail!("the prelude fails: {why} {stack}");
        }
        let entry = Entry {
            begin: guest.property(&mut store, ends, "begin")?,
            start: guest.property(&mut store, ends, "start")?,
            settle: guest.property(&mut store, ends, "settle")?,
        };
        let Val::I32(stack_pointer) = stack_pointer(&mut store, &instance)?.get(&mut store) else {
            bail!("the engine's stack pointer is no number")
        };
        Ok(Self {
            stack_pointer,
            runtime: guest.qjs_get_runtime_ptr.call(&mut store, ())?,
            context: guest.qjs_get_context_ptr.call(&mut store, ())?,
            memory: guest.memory.data(&store).to_vec(),
            entry,
        })
    }
}

fn stack_pointer(store: &mut Store<Host>, instance: &Instance) -> Result<wasmtime::Global> {
    instance.get_global(&mut *store, "__stack_pointer").ok_or_else(|| format_err!("the engine has no stack pointer"))
}

/// Cranelift, which is looked at most; instances by themselves, not out of a pool that would have to be cleaned.
fn config(cache: Option<&Path>) -> Result<Config> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_BYTES)
        // A copy of the engine writes all of it anyway.
        .memory_init_cow(false)
        .wasm_backtrace_max_frames(None);
    if let Some(directory) = cache {
        let mut settings = CacheConfig::new();
        settings.with_directory(directory);
        config.cache(Some(Cache::new(settings)?));
    }
    Ok(config)
}

fn store(engine: &Engine, host: Host) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| host);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().give_way();
        if store.data_mut().is_over() { Ok(UpdateDeadline::Interrupt) } else { Ok(UpdateDeadline::Continue(1)) }
    });
    store
}

/// There is nobody to ask while the engine begins.
struct Nobody;

impl Outside for Nobody {
    fn tell(&mut self, _: &crate::wire::Report) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    fn hear(&mut self, _: Duration) -> Option<crate::wire::Order> {
        None
    }
}

/// Makes running code look at the clock, and sleeps while none runs.
struct Ticker {
    /// How many.
    runs: Mutex<usize>,
    changed: Condvar,
}

/// While it is there, the clock ticks.
struct Running(Arc<Ticker>);

impl Ticker {
    fn start(engine: &Engine) -> Result<Arc<Self>> {
        let ticker = Arc::new(Self { runs: Mutex::new(0), changed: Condvar::new() });
        let (own, engine) = (Arc::clone(&ticker), engine.clone());
        thread::Builder::new().name("ticker".to_owned()).spawn(move || {
            loop {
                let runs = own.runs.lock().unwrap_or_else(PoisonError::into_inner);
                drop(own.changed.wait_while(runs, |runs| *runs == 0).unwrap_or_else(PoisonError::into_inner));
                thread::sleep(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(ticker)
    }

    fn run(self: &Arc<Self>) -> Running {
        *self.runs.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.runs.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
