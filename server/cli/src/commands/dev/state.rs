//! The folder `.trunkline`: who has it, what is in it, what leaves with us.

use std::{
    fmt::Write as _,
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use trunkline_platform::{random, secret::Plaintext};

use super::announce::Announcement;
use crate::{
    config::{Config, Environment, Sources},
    services::{self, Services, kept_secret, write_private},
    wiring::Ports,
};

/// Where it is unless told otherwise.
pub(super) const DEFAULT: &str = ".trunkline";
/// The settings of the running server.
pub(super) const SETTINGS: &str = "config.toml";
const LOCK: &str = "lock";
/// What it says to scripts.
pub(super) const ANNOUNCEMENT: &str = "dev.json";
const MASTER_KEY: &str = "master.key";
/// Entries on their way to the database; further replicas have `spool-2` and so on.
const SPOOL: &str = "spool";
/// The compiled engine of functions; kept when starting over, since it depends on the binary only.
const FUNCTIONS: &str = "functions";
/// Everything of ours that `--fresh` removes, beside what the services keep.
const OURS: &[&str] = &[
    SETTINGS,
    ANNOUNCEMENT,
    MASTER_KEY,
    super::seed::FILE,
    super::seed::PASSWORD,
    super::upstream::PORT,
    super::conformance::FILE,
];
const OPS_PORT: u16 = 9464;

/// The folder, ours until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes the folder, making it the first time.
    pub(super) fn take(path: &Path) -> anyhow::Result<Self> {
        let unusable = || format!("the state folder {} cannot be used", path.display());
        fs::create_dir_all(path).with_context(unusable)?;
        let path = path.canonicalize().with_context(unusable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).with_context(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another `trunkline dev` runs with the state in {}{}; stop it first, or use --state-dir and --port for a second one",
                path.display(),
                whereabouts(&path)
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(unusable),
        }
        let dir = Self { path, _lock: lock };
        // There are passwords in it, so it never goes into a repository.
        fs::write(dir.file(".gitignore"), "*\n").with_context(unusable)?;
        dir.withdraw();
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Starts over. Only what we made is removed: the folder may have been named by mistake.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        // What refers to the database goes before the database: cut short in between, nothing points at what is gone.
        OURS.iter().try_for_each(|name| services::remove(&self.file(name)))?;
        let further = (2..=u8::MAX).map(|number| format!("{SPOOL}-{number}")).map(|name| self.file(&name));
        for spool in std::iter::once(self.file(SPOOL)).chain(further.take_while(|path| path.exists())) {
            services::remove(&spool)?;
        }
        services::forget(&self.path)
    }

    /// The settings as far as they are known before the services run: enough to open the ports.
    pub(super) fn draft(&self, port: u16) -> anyhow::Result<Config> {
        let public = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, OPS_PORT)).is_ok();
        let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, if port != 0 && is_free { OPS_PORT } else { 0 }));
        let unknown = Plaintext::new("postgres://unknown@127.0.0.1/unknown".to_owned());
        let text = self.settings(public, ops, &unknown, &unknown, &Plaintext::new("redis://127.0.0.1".to_owned()))?;
        self.load(&text)
    }

    /// Writes the settings that the server, and the other commands in this folder, go by.
    pub(super) fn write_settings(&self, ports: &Ports, services: &Services) -> anyhow::Result<PathBuf> {
        let (app, admin) = (services.postgres.app_url(), services.postgres.admin_url());
        let text = self.settings(ports.public(), ports.ops(), &app, &admin, &services.redis.url())?;
        write_private(&self.file(SETTINGS), &text)?;
        Ok(self.file(SETTINGS))
    }

    fn load(&self, text: &str) -> anyhow::Result<Config> {
        let file = self.file("draft.toml");
        write_private(&file, text)?;
        let config =
            Config::load(&Sources { file: Some(file.clone()), environment: Environment::default(), options: Vec::new() });
        fs::remove_file(file)?;
        Ok(config?)
    }

    fn settings(
        &self,
        public: SocketAddr,
        ops: SocketAddr,
        app: &Plaintext,
        admin: &Plaintext,
        redis: &Plaintext,
    ) -> anyhow::Result<String> {
        let key = self.file(MASTER_KEY);
        kept_secret(&key, || Plaintext::new(BASE64_STANDARD.encode(random::bytes::<32>())))?;
        let mut text = String::from("# Written by `trunkline dev` at each start; changes are lost.\n");
        write!(
            text,
            "[http]\nlisten = \"{public}\"\n[ops]\nlisten = \"{ops}\"\n[database]\nurl = \"{}\"\nadmin_url = \"{}\"\n\
             [redis]\nurl = \"{}\"\n[secrets]\nkey_file = {:?}\n[egress]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\nallow_http = true\n\
             [audit]\nspool_dir = {:?}\n[functions]\ncache_dir = {:?}\n[log]\nformat = \"human\"\n[shutdown]\ngrace_s = 10\n",
            app.reveal(),
            admin.reveal(),
            redis.reveal(),
            key.display().to_string(),
            self.file(SPOOL).display().to_string(),
            self.file(FUNCTIONS).display().to_string(),
        )?;
        Ok(text)
    }

    /// Tells scripts that everything is ready.
    pub(super) fn announce(&self, announcement: &Announcement) -> anyhow::Result<()> {
        let text = format!("{}\n", serde_json::to_string_pretty(announcement)?);
        write_private(&self.file(ANNOUNCEMENT), &text).context("dev.json cannot be written")
    }

    /// Takes that back.
    pub(super) fn withdraw(&self) {
        let _ = fs::remove_file(self.file(ANNOUNCEMENT));
    }
}

/// Does a running `trunkline dev` have that folder?
pub(super) fn is_taken(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Who has the folder, as far as they said.
fn whereabouts(path: &Path) -> String {
    let text = fs::read_to_string(path.join(ANNOUNCEMENT)).unwrap_or_default();
    let Ok(announcement) = serde_json::from_str::<serde_json::Value>(&text) else { return String::new() };
    format!(" (process {}, {})", announcement["pid"], announcement["base_url"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("trunkline-state-{}-{name}", std::process::id()))
    }

    #[test]
    fn folder_has_one_user_at_a_time() {
        let path = folder("lock");
        let dir = StateDir::take(&path).unwrap();
        assert!(is_taken(&path));
        let refused = StateDir::take(&path).unwrap_err().to_string();
        assert!(refused.contains("another `trunkline dev` runs") && refused.contains("--state-dir"), "{refused}");
        drop(dir);
        assert!(!is_taken(&path));
        StateDir::take(&path).unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn forgetting_spares_what_is_not_ours() {
        let path = folder("forget");
        let dir = StateDir::take(&path).unwrap();
        dir.draft(0).unwrap();
        fs::write(dir.file("thesis.txt"), "x").unwrap();
        fs::create_dir(dir.file("postgres")).unwrap();
        dir.forget().unwrap();
        assert!(dir.file("thesis.txt").exists() && !dir.file(MASTER_KEY).exists() && !dir.file("postgres").exists());
        fs::remove_dir_all(path).unwrap();
    }
}
