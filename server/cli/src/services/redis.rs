//! A Redis server of our own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;
use nix::sys::signal::Signal;
use trunkline_platform::secret::Plaintext;

use super::{
    Keep,
    child::{self, Child, Farewell},
    find, free_port, kept_secret,
    owner::Owner,
};

const FAREWELL: Farewell = Farewell { polite: Signal::SIGTERM, firm: Signal::SIGKILL };
const READY_WITHIN: Duration = Duration::from_secs(30);
const ATTEMPTS: usize = 3;

/// A running server. Stopped when dropped.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    port: u16,
    password: Plaintext,
    log: PathBuf,
}

/// Ends the server that an earlier run left behind in that folder, if there is one.
pub(super) fn end_leftover(dir: &Path) {
    child::end_leftover(&dir.join("redis.pid"), &dir.join("redis"), FAREWELL);
}

impl PrivateRedis {
    /// Starts it under that folder.
    pub fn start(dir: &Path, keep: Keep) -> anyhow::Result<Self> {
        let program = find::redis()?;
        let owner = Owner::choose()?;
        let (home, pid_file, log) = (dir.join("redis"), dir.join("redis.pid"), dir.join("redis.log"));
        end_leftover(dir);
        owner.make_dir(&home)?;
        let password = kept_secret(&dir.join("redis.password"), || Plaintext::generate(""))?;
        let _ = fs::remove_file(&log);
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let settings = home.join("redis.conf");
            super::write_private(&settings, &configuration(&home, port, &password, keep))?;
            owner.give(&settings)?;
            let mut command = owner.command(&program, "TERM", &home);
            command.arg(&settings).current_dir("/");
            let child = Child::start(command, &log, &pid_file, FAREWELL)?;
            match child.wait_until(READY_WITHIN, || is_ready(port, &password)) {
                Ok(()) => return Ok(Self { child, port, password, log }),
                Err(how) => reason = how,
            }
        }
        bail!("the private Redis {reason}; see {}", log.display())
    }

    /// Where it listens.
    pub fn url(&self) -> Plaintext {
        Plaintext::new(format!("redis://:{}@127.0.0.1:{}/0", self.password.reveal(), self.port))
    }

    /// What it has to say.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> String {
        self.child.ended().await
    }

    /// Stops it and waits for its end.
    pub fn stop(self) {
        drop(self);
    }
}

/// `set-proc-title no` keeps the folder on the command line, by which a leftover is known.
fn configuration(home: &Path, port: u16, password: &Plaintext, keep: Keep) -> String {
    let keep = if keep == Keep::State { "yes" } else { "no" };
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {}\ndir \"{}\"\nappendonly {keep}\nsave \"\"\n\
         maxmemory-policy noeviction\nset-proc-title no\ndaemonize no\n",
        password.reveal(),
        home.display()
    )
}

/// Answers to us, and so is ours.
fn is_ready(port: u16, password: &Plaintext) -> bool {
    let answer = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(format!("AUTH {}\r\nPING\r\nQUIT\r\n", password.reveal()).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|text| text.contains("+PONG"))
}
