//! Whose processes they are. PostgreSQL refuses to run as root, so root lends them an unprivileged user.

use std::{
    ffi::OsStr,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User, chown, geteuid};

use super::find;

/// Who a service runs as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    other: Option<(Uid, Gid)>,
}

impl Owner {
    /// Ourselves; or, if we are root, `postgres` or `nobody`.
    pub(super) fn choose() -> anyhow::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self { other: Some((user.uid, user.gid)) });
            }
        }
        anyhow::bail!("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")
    }

    /// Makes a folder that only this user enters.
    pub(super) fn make_dir(self, path: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("{} belongs to somebody else; remove it, or start as its owner", path.display()))?;
        self.give(path)
    }

    /// Hands a file or folder over to this user.
    pub(super) fn give(self, path: &Path) -> anyhow::Result<()> {
        if let Some((uid, gid)) = self.other {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("{} cannot be handed over", path.display()))?;
        }
        Ok(())
    }

    /// A command as this user, that gets `signal` from the kernel when the thread that started it ends, where the system has that.
    pub(super) fn command(self, program: &Path, signal: &str, state: &Path) -> Command {
        let Some(setpriv) = find::program("setpriv") else {
            let mut command = Command::new(program);
            if let Some((uid, gid)) = self.other {
                command.uid(uid.as_raw()).gid(gid.as_raw());
            }
            return command;
        };
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", signal]);
        if let Some((uid, gid)) = self.other {
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
            // A clone below /root cannot be entered by anybody else. The capability opens the way; the data still belong to the user.
            if !self.can_reach(state) {
                command.args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]);
            }
        }
        command.args([OsStr::new("--"), program.as_os_str()]);
        command
    }

    /// May this user walk down to that folder?
    fn can_reach(self, path: &Path) -> bool {
        let Some((uid, gid)) = self.other else { return true };
        path.ancestors().skip(1).filter_map(|dir| dir.metadata().ok()).all(|dir| {
            let bit = if dir.uid() == uid.as_raw() {
                0o100
            } else if dir.gid() == gid.as_raw() {
                0o010
            } else {
                0o001
            };
            dir.mode() & bit != 0
        })
    }
}
