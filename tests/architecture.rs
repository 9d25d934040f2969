//! The floor plan, held against the sources: who may know whom, where SQL lives, and that every text of SQL fits the schema.
//!
//! Each check is a function from texts to complaints, and is shown a fault first: a check that cannot see is worse than none.

mod crates;
mod modules;
mod sql;
mod templates;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path from that folder, and text, of every file below it with that extension.
fn sources(folder: &str, extension: &str) -> Vec<(String, String)> {
    let top = root().join(folder);
    let (mut folders, mut sources) = (vec![top.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(&top).expect("below it").to_string_lossy().into_owned();
                sources.push((name, std::fs::read_to_string(&path).expect("a text")));
            }
        }
    }
    sources.sort();
    sources
}

/// Those of the platform but `lib.rs`.
fn platform_sources() -> Vec<(String, String)> {
    sources("server/platform/src", "rs").into_iter().filter(|(path, _)| path != "lib.rs").collect()
}

fn without_comments(source: &str) -> String {
    source.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |text, line| text + line + "\n")
}

/// The name at the beginning of a text.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}
