//! The engine's functions, as far as they are needed, and values that go in and out.
//!
//! A value of the engine is an address in its memory. What is given to it and not freed stays until the copy is thrown away, after the call.

use wasmtime::{AsContext, AsContextMut, Instance, Memory, Result, TypedFunc, bail, format_err};

/// Evaluates a module: gives a promise of its exports.
const MODULE: i32 = 1;

/// The address of a value. 0 is none.
pub(crate) type Value = u32;

macro_rules! exports {
    ($($name:ident: $from:ty => $to:ty),* $(,)?) => {
        /// One instance of the engine.
        #[derive(Clone)]
        pub(crate) struct Guest {
            pub(crate) memory: Memory,
            $(pub(crate) $name: TypedFunc<$from, $to>),*
        }

        impl Guest {
            /// Finds what an instance exports.
            pub(crate) fn of(mut store: impl AsContextMut, instance: &Instance) -> Result<Self> {
                let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| format_err!("the engine has no memory"))?;
                Ok(Self { memory, $($name: instance.get_typed_func(&mut store, stringify!($name))?),* })
            }
        }
    };
}

exports! {
    _initialize: () => (),
    qjs_init: () => i32,
    qjs_set_max_stack_size: u32 => (),
    qjs_eval: (u32, u32, u32, i32) => Value,
    qjs_call: (Value, Value, u32, u32) => Value,
    qjs_new_string: (u32, u32) => Value,
    qjs_new_host_function: (u32, u32, u32) => Value,
    qjs_new_error: () => Value,
    qjs_throw: Value => Value,
    qjs_get_global: () => Value,
    qjs_get_undefined: () => Value,
    qjs_get_prop_string: (Value, u32) => Value,
    qjs_set_prop_string: (Value, u32, Value) => i32,
    qjs_get_string_len: (Value, u32) => u32,
    qjs_free_cstring: u32 => (),
    qjs_free_value: Value => (),
    qjs_is_exception: Value => i32,
    qjs_get_exception: () => Value,
    qjs_is_job_pending: () => i32,
    qjs_execute_pending_job: () => i32,
    qjs_get_runtime_ptr: () => u32,
    qjs_get_context_ptr: () => u32,
    qjs_set_runtime_and_context: (u32, u32) => (),
    wasm_malloc: u32 => u32,
    wasm_free: u32 => (),
}

/// The engine has no memory left for something of ours.
#[derive(Debug, thiserror::Error)]
#[error("out of memory")]
pub(crate) struct NoMemory;

impl Guest {
    /// Puts bytes into the engine's memory, and a zero behind them.
    pub(crate) fn put(&self, mut store: impl AsContextMut, bytes: &[u8]) -> Result<u32> {
        let at = self.wasm_malloc.call(&mut store, u32::try_from(bytes.len())?.saturating_add(1))?;
        if at == 0 {
            return Err(NoMemory.into());
        }
        self.memory.write(&mut store, at as usize, bytes)?;
        self.memory.write(&mut store, at as usize + bytes.len(), &[0])?;
        Ok(at)
    }

    /// A string.
    pub(crate) fn string(&self, mut store: impl AsContextMut, text: &str) -> Result<Value> {
        let at = self.put(&mut store, text.as_bytes())?;
        let value = self.qjs_new_string.call(&mut store, (at, u32::try_from(text.len())?))?;
        self.wasm_free.call(&mut store, at)?;
        Ok(value)
    }

    /// Text in the engine's memory. Half a surrogate, which is no Unicode, is replaced.
    pub(crate) fn text_at(&self, store: impl AsContext, at: u32, length: u32) -> Result<String> {
        let (at, length) = (at as usize, length as usize);
        let bytes = self.memory.data(&store).get(at..at.saturating_add(length));
        let bytes = bytes.ok_or_else(|| format_err!("a text leaves the engine's memory"))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A value as text; empty for what cannot be one.
    pub(crate) fn text(&self, mut store: impl AsContextMut, value: Value) -> Result<String> {
        let length_at = self.put(&mut store, &[0; 4])?;
        let at = self.qjs_get_string_len.call(&mut store, (value, length_at))?;
        if at == 0 {
            return Ok(String::new());
        }
        let length = self.word(&store, length_at)?;
        let text = self.text_at(&store, at, length)?;
        self.qjs_free_cstring.call(&mut store, at)?;
        self.wasm_free.call(&mut store, length_at)?;
        Ok(text)
    }

    /// Four bytes of the engine's memory.
    pub(crate) fn word(&self, store: impl AsContext, at: u32) -> Result<u32> {
        let mut word = [0; 4];
        self.memory.read(&store, at as usize, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    pub(crate) fn property(&self, mut store: impl AsContextMut, of: Value, name: &str) -> Result<Value> {
        let at = self.put(&mut store, name.as_bytes())?;
        let value = self.qjs_get_prop_string.call(&mut store, (of, at))?;
        self.wasm_free.call(&mut store, at)?;
        Ok(value)
    }

    pub(crate) fn set_property(&self, mut store: impl AsContextMut, of: Value, name: &str, value: Value) -> Result<()> {
        let at = self.put(&mut store, name.as_bytes())?;
        self.qjs_set_prop_string.call(&mut store, (of, at, value))?;
        self.wasm_free.call(&mut store, at)
    }

    /// Evaluates a script: its value, or an exception.
    pub(crate) fn eval(&self, store: impl AsContextMut, code: &str, name: &str) -> Result<Value> {
        self.eval_as(store, code, name, 0)
    }

    /// Evaluates a module: a promise of its exports, or an exception.
    pub(crate) fn eval_module(&self, store: impl AsContextMut, code: &str, name: &str) -> Result<Value> {
        self.eval_as(store, code, name, MODULE)
    }

    fn eval_as(&self, mut store: impl AsContextMut, code: &str, name: &str, flags: i32) -> Result<Value> {
        let (code_at, name_at) = (self.put(&mut store, code.as_bytes())?, self.put(&mut store, name.as_bytes())?);
        let value = self.qjs_eval.call(&mut store, (code_at, u32::try_from(code.len())?, name_at, flags))?;
        self.wasm_free.call(&mut store, code_at)?;
        self.wasm_free.call(&mut store, name_at)?;
        Ok(value)
    }

    /// Calls a function with at most four values.
    pub(crate) fn call(&self, mut store: impl AsContextMut, function: Value, values: &[Value]) -> Result<Value> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let at = self.put(&mut store, &bytes)?;
        let this = self.qjs_get_undefined.call(&mut store, ())?;
        let value = self.qjs_call.call(&mut store, (function, this, u32::try_from(values.len())?, at))?;
        self.wasm_free.call(&mut store, at)?;
        Ok(value)
    }

    /// What was thrown, if that value is an exception: its text and where.
    pub(crate) fn thrown(&self, mut store: impl AsContextMut, value: Value) -> Result<Option<(String, String)>> {
        if self.qjs_is_exception.call(&mut store, value)? == 0 {
            return Ok(None);
        }
        let error = self.qjs_get_exception.call(&mut store, ())?;
        let text = self.text(&mut store, error)?;
        let stack = self.property(&mut store, error, "stack")?;
        Ok(Some((text, self.text(&mut store, stack)?)))
    }

    /// Throws an error with that message, for code to catch.
    pub(crate) fn throw(&self, mut store: impl AsContextMut, message: &str) -> Result<()> {
        let error = self.qjs_new_error.call(&mut store, ())?;
        if error == 0 {
            bail!(NoMemory);
        }
        let text = self.string(&mut store, message)?;
        self.set_property(&mut store, error, "message", text)?;
        self.qjs_throw.call(&mut store, error)?;
        Ok(())
    }
}
