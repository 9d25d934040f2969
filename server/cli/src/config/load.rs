//! Defaults, file, environment and options become one written value per setting. Nothing is interpreted here.

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use config::{Source as _, Value, ValueKind};

use super::{
    keys::{self, KEYS, Kind},
    source::{Environment, Source, Written},
};

/// Variables that configure nothing: they say where settings are, or how the command line reaches an installation.
const NOT_SETTINGS: &[&str] = &["TRUNKLINE_CONFIG", "TRUNKLINE_URL", "TRUNKLINE_TOKEN", "TRUNKLINE_KEY", "TRUNKLINE_PROFILE"];

/// What is wrong with one setting, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name, or what stands in its place.
    pub key: String,
    /// The rest of the sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Everything that is wrong, at once.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// Options of the command line: name of the option, setting, value.
    pub options: Vec<(&'static str, &'static str, String)>,
}

/// A setting as written, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) written: Written,
    pub(super) source: Source,
}

/// One written value per setting, and what could not be read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) settings: BTreeMap<&'static str, Setting>,
    pub(super) problems: Vec<Problem>,
    /// `_file` twins, by the setting they hold.
    files: BTreeMap<&'static str, Setting>,
}

/// Reads all sources, weakest first.
pub(super) fn gather(sources: &Sources) -> Gathered {
    let mut gathered = Gathered::default();
    for key in KEYS {
        if let Some(default) = key.default {
            let written = if key.kind == Kind::List { Written::Many(Vec::new()) } else { Written::One(default.to_owned()) };
            gathered.settings.insert(key.name, Setting { written, source: Source::Default });
        }
    }
    if let Some(path) = &sources.file {
        gathered.read_file(path);
    }
    gathered.read_environment(&sources.environment);
    for (option, name, value) in &sources.options {
        gathered.put(name, Written::One(value.clone()), &Source::Option(option));
    }
    gathered.open_secret_files();
    gathered
}

impl Gathered {
    fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), message: message.into() });
    }

    fn read_file(&mut self, path: &Path) {
        let named = format!("file {}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problem(named, format!("cannot be read: {error}")),
        };
        match config::File::from_str(&text, config::FileFormat::Toml).collect() {
            Ok(table) => self.read_table("", table.into_iter(), &Source::File(path.to_owned())),
            // The quoted source line may hold a secret; the place and the reason are enough.
            Err(error) => {
                let reason = error.to_string();
                let reason: Vec<_> = reason.lines().filter(|line| !line.contains('|')).map(str::trim).collect();
                self.problem(named, format!("is not TOML: {}", reason.join(" ").trim()));
            }
        }
    }

    fn read_table(&mut self, prefix: &str, table: impl Iterator<Item = (String, Value)>, source: &Source) {
        for (name, value) in table {
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value.kind {
                ValueKind::Table(table) => self.read_table(&name, table.into_iter(), source),
                ValueKind::Array(items) => {
                    let items = items.iter().map(ToString::to_string).collect();
                    self.put(&name, Written::Many(items), source);
                }
                _ => self.put(&name, Written::One(value.to_string()), source),
            }
        }
    }

    fn read_environment(&mut self, environment: &Environment) {
        for (variable, value) in environment.iter() {
            if !variable.starts_with("TRUNKLINE_") || NOT_SETTINGS.contains(&variable) || is_foreign(variable) {
                continue;
            }
            let source = Source::Variable(variable.to_owned());
            let plain = variable.strip_suffix("_FILE").unwrap_or(variable);
            let key = KEYS.iter().find(|key| key.variable() == variable || (key.is_secret() && key.variable() == plain));
            match key {
                _ if variable == "TRUNKLINE_LOG" => self.put("log.level", Written::One(value.to_owned()), &source),
                Some(key) if key.variable() == variable => self.put(key.name, Written::One(value.to_owned()), &source),
                Some(key) => self.put(&format!("{}_file", key.name), Written::One(value.to_owned()), &source),
                None => self.problem(variable, "there is no such setting; `trunkline config example` lists all"),
            }
        }
    }

    fn put(&mut self, name: &str, written: Written, source: &Source) {
        let setting = Setting { written, source: source.clone() };
        if let Some(key) = keys::find(name) {
            self.settings.insert(key.name, setting);
        } else if let Some(key) = name.strip_suffix("_file").and_then(keys::find).filter(|key| key.is_secret()) {
            self.files.insert(key.name, setting);
        } else {
            self.problem(name, format!("there is no such setting ({source}){}", suggestion(name)));
        }
    }

    /// A secret's file counts where it is named by a stronger source than the secret itself.
    fn open_secret_files(&mut self) {
        for (name, file) in std::mem::take(&mut self.files) {
            if let Some(direct) = self.settings.get(name) {
                if direct.source.same_rank(&file.source) {
                    self.problem(name, format!("is given twice, itself and as {name}_file; one of them has to go"));
                    continue;
                }
                if direct.source > file.source {
                    continue;
                }
            }
            let Written::One(path) = &file.written else {
                self.problem(format!("{name}_file"), "expected the path of a file");
                continue;
            };
            match read_secret(Path::new(path)) {
                Ok(secret) => {
                    self.settings.insert(name, Setting { written: Written::One(secret), source: file.source });
                }
                Err(message) => self.problem(format!("{name}_file"), format!("{path:?} ({}): {message}", file.source)),
            }
        }
    }
}

/// A secret from its file: without the line break at its end, and only if no stranger can read it.
fn read_secret(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.permissions().mode() & 0o004 != 0 {
        return Err(format!("every user of this machine can read it; run: chmod o-rwx {}", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Kubernetes puts `TRUNKLINE_PORT=tcp://…` and its like into every pod beside a service of that name; the suite has variables of its own.
fn is_foreign(variable: &str) -> bool {
    let rest = variable.trim_start_matches("TRUNKLINE_");
    rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest == "PORT"
        || rest.starts_with("PORT_")
        || rest.starts_with("TEST_")
}

/// The setting that was probably meant.
fn suggestion(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let near = KEYS.iter().find(|key| key.name.rsplit('.').next() == Some(last)).map(|key| key.name);
    near.map_or_else(|| "; `trunkline config example` lists all".to_owned(), |near| format!("; `{near}` was probably meant"))
}
