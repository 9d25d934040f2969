//! A child process that does not outlive us, and one that outlived an earlier us.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::watch;

use super::find;

/// How long a service may take to end before it is asked less politely.
const PATIENCE: Duration = Duration::from_secs(10);
/// Arguments: us, the child, the signal.
const WATCH: &str =
    "while kill -0 $0 2>/dev/null; do kill -0 $1 2>/dev/null || exit 0; sleep 0.5; done; kill -s $2 $1 2>/dev/null";
const GLANCE: Duration = Duration::from_millis(20);

/// Signals from polite to final; the first one loses nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    pub(super) polite: Signal,
    pub(super) firm: Signal,
}

/// A running child. Stopped when dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pid_file: PathBuf,
    farewell: Farewell,
    ended: watch::Receiver<Option<String>>,
}

impl Child {
    /// Starts it, with its output appended to `log` and its id in `pid_file`.
    ///
    /// A thread of its own starts it and stays until it ends: the kernel's signal to orphans is about the thread, not the process.
    pub(super) fn start(mut command: Command, log: &Path, pid_file: &Path, farewell: Farewell) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Not in the terminal's group: Ctrl-C is for us, and we stop it when nobody needs it any more.
        command.process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let (started, is_started) = mpsc::sync_channel(1);
        let (end, ended) = watch::channel(None);
        thread::Builder::new().name("service".to_owned()).spawn(move || {
            let child = command.spawn();
            let mut child = match child {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(child.id()));
            let how = child.wait().map_or_else(|error| format!("was lost sight of ({error})"), describe);
            end.send_replace(Some(how));
        })?;
        let id = is_started
            .recv()
            .context("the thread of a service ended early")?
            .with_context(|| format!("{program} cannot be started"))?;
        let pid = Pid::from_raw(i32::try_from(id)?);
        std::fs::write(pid_file, format!("{pid}\n")).with_context(|| format!("{} cannot be written", pid_file.display()))?;
        let child = Self { pid, pid_file: pid_file.to_owned(), farewell, ended };
        child.watch_over()?;
        Ok(child)
    }

    /// Where the kernel has no signal for orphans, a small shell waits for our end.
    fn watch_over(&self) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt as _;
        if find::program("setpriv").is_some() {
            return Ok(());
        }
        let signal = self.farewell.polite.as_str().trim_start_matches("SIG").to_owned();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCH, &std::process::id().to_string(), &self.pid.to_string(), &signal]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut watcher = command.spawn()?;
        thread::Builder::new().name("watcher".to_owned()).spawn(move || watcher.wait())?;
        Ok(())
    }

    /// How it ended, if it has.
    pub(super) fn how_it_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> String {
        match self.ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "ended".to_owned(),
        }
    }

    /// Waits until `is_ready` says so. Fails when the child ends first, or after the deadline.
    pub(super) fn wait_until(&self, deadline: Duration, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let started = Instant::now();
        while !is_ready() {
            if let Some(how) = self.how_it_ended() {
                return Err(how);
            }
            if started.elapsed() > deadline {
                return Err(format!("was not ready within {} s", deadline.as_secs()));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn stop(&self) {
        for signal in [self.farewell.polite, self.farewell.firm, Signal::SIGKILL] {
            if self.how_it_ended().is_some() || kill(self.pid, signal) == Err(Errno::ESRCH) {
                break;
            }
            let asked = Instant::now();
            while self.how_it_ended().is_none() && asked.elapsed() < PATIENCE {
                thread::sleep(GLANCE);
            }
        }
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

fn describe(status: ExitStatus) -> String {
    format!("ended by itself ({status})")
}

/// Ends what an earlier run left behind: the process in `pid_file`, if its command line still shows that it is ours.
pub(super) fn end_leftover(pid_file: &Path, mark: &Path, farewell: Farewell) {
    let Some(pid) = leftover(pid_file, mark, command_line) else { return };
    for signal in [farewell.polite, farewell.firm, Signal::SIGKILL] {
        if kill(pid, signal).is_err() {
            break;
        }
        let asked = Instant::now();
        while is_alive(pid) && asked.elapsed() < PATIENCE {
            thread::sleep(GLANCE);
        }
        if !is_alive(pid) {
            break;
        }
    }
    let _ = std::fs::remove_file(pid_file);
}

/// A number in a file proves nothing: ids are used again. The folder on the command line does.
fn leftover(pid_file: &Path, mark: &Path, command_line: impl Fn(Pid) -> Option<String>) -> Option<Pid> {
    let pid = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    let pid = Pid::from_raw(pid);
    command_line(pid)?.contains(mark.to_str()?).then_some(pid)
}

fn command_line(pid: Pid) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&words).replace('\0', " "));
    }
    let output = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_alive(pid: Pid) -> bool {
    // A zombie of a parent that does not look answers the signal but has no command line any more.
    kill(pid, None) != Err(Errno::ESRCH) && command_line(pid).is_some_and(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("trunkline-pid-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn leftover_is_ours_only_if_its_command_line_says_so() {
        let ours = |_| Some("/usr/lib/postgresql/15/bin/postgres -D /home/a/.trunkline/postgres".to_owned());
        let mark = Path::new("/home/a/.trunkline/postgres");
        let file = pid_file("ours", "4321\n");
        assert_eq!(leftover(&file, mark, ours), Some(Pid::from_raw(4321)));
        assert_eq!(leftover(&file, Path::new("/home/b/.trunkline/postgres"), ours), None);
        assert_eq!(leftover(&file, mark, |_| None), None, "no such process");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(leftover(&file, mark, ours), None, "no file");
    }

    #[test]
    fn broken_pid_files_name_nobody() {
        for text in ["", "x", "-1", "0", "1", "99999999999999"] {
            let file = pid_file(&format!("broken-{}", text.len()), text);
            assert_eq!(leftover(&file, Path::new("/a"), |_| Some("/a".to_owned())), None, "{text:?}");
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn leftover_process_is_ended_and_a_stranger_is_not() {
        let start = |mark: &str| {
            let child = Command::new("/bin/sh").args(["-c", "while :; do sleep 0.05; done", mark]).spawn().unwrap();
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            // Just after the start, the kernel does not have the command line yet.
            while !command_line(pid).is_some_and(|line| line.contains(mark)) {
                thread::sleep(GLANCE);
            }
            child
        };
        let farewell = Farewell { polite: Signal::SIGTERM, firm: Signal::SIGKILL };
        let (mut ours, mut stranger) = (start("/trunkline-mark-a"), start("/trunkline-mark-b"));
        let file = pid_file("process", &ours.id().to_string());
        // Somebody reaps it, as init does for orphans.
        let reaper = thread::spawn(move || ours.wait());
        end_leftover(&file, Path::new("/trunkline-mark-a"), farewell);
        assert!(!reaper.join().unwrap().unwrap().success() && !file.exists());
        let file = pid_file("process", &stranger.id().to_string());
        end_leftover(&file, Path::new("/trunkline-mark-a"), farewell);
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger with our old id lives on");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        std::fs::remove_file(file).unwrap();
    }
}
