//! The binary as a process, for what only a process shows: exit codes, memory, signals.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The debug binary of this workspace, built if it is not.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--locked", "--package", "trunkline"]).output();
        let built = built.expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        path_of_binary()
    })
}

/// Where it is, built or not.
pub(crate) fn path_of_binary() -> PathBuf {
    profile().join("trunkline")
}

/// The compiled engine of functions, the same for all tests: compiling it takes seconds.
pub(crate) fn functions_cache() -> String {
    profile().join("functions-cache").display().to_string()
}

fn profile() -> PathBuf {
    let suite = std::env::current_exe().expect("this binary");
    suite.parent().and_then(Path::parent).expect("target/debug/deps").to_owned()
}

/// A command of the binary, with nothing of this process's environment but the path.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], settings: &BTreeMap<String, String>, dir: &Path) -> Output {
    command(arguments).envs(settings).current_dir(dir).output().expect("the binary runs")
}

/// A running process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(std::process::Child);

impl Process {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the binary starts"))
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.0.id(), signal);
    }

    /// Has it ended by itself?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }

    /// Waits for its end; the exit code, or `None` for a signal.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<i32> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            assert!(asked.elapsed() < within, "process {} did not end within {} s", self.0.id(), within.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.of_status("VmRSS:").expect("a running process")
    }

    /// The most it ever was, in bytes; `None` of one that has ended.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process that the test has started.
pub(crate) fn send(id: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("the process is there");
}

/// Is there such a process, and not only its remains?
pub(crate) fn is_alive(id: u32) -> bool {
    std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|words| !words.is_empty())
}

/// Processes that somebody started with this text on their command line.
pub(crate) fn with_command_line(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(text)
    })
    .collect()
}
