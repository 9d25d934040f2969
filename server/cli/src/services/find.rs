//! Where programs are: on the path, in Debian's folders per version, or in Homebrew's.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The newest PostgreSQL server on this machine: its folder of programs.
pub(super) fn postgres() -> anyhow::Result<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(versions("/usr/lib/postgresql").map(|path| path.join("bin")));
    places.extend(path_folders());
    places.extend(versions("/usr/pgsql").map(|path| path.join("bin")));
    for brew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        places.extend(versions(brew).filter(|path| name_of(path).starts_with("postgresql")).map(|path| path.join("bin")));
    }
    let found = places.into_iter().find(|dir| is_program(&dir.join("initdb")) && is_program(&dir.join("postgres")));
    found.ok_or_else(|| missing("the PostgreSQL server (15 or newer)", "postgresql", "postgresql@17"))
}

/// Redis or Valkey.
pub(super) fn redis() -> anyhow::Result<PathBuf> {
    let found = program("redis-server").or_else(|| program("valkey-server"));
    found.ok_or_else(|| missing("redis-server or valkey-server", "redis-server", "valkey"))
}

/// A program on the path.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let brew = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    path_folders().chain(brew).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// The folders inside, newest version first: by the number at the end of the name.
fn versions(dir: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(version(&name_of(path))));
    paths.into_iter()
}

fn version(name: &str) -> u32 {
    name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_program(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
}

fn missing(what: &str, debian: &str, brew: &str) -> anyhow::Error {
    let command =
        if cfg!(target_os = "macos") { format!("brew install {brew}") } else { format!("sudo apt-get install {debian}") };
    anyhow::anyhow!("{what} is not installed on this machine; `make run` installs it, or run: {command}")
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn newest_version_is_by_number() {
        let mut names = ["9", "15", "postgresql@17", "postgresql"];
        names.sort_by_key(|name| std::cmp::Reverse(version(name)));
        assert_eq!(names, ["postgresql@17", "15", "9", "postgresql"]);
    }
}
