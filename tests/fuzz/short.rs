//! The short run: every seed, then mutations of them, the same in each run.
//!
//! The mutations are our own, since they begin with seeds: proptest and arbtest make inputs from nothing, and from nothing a modern claim with
//! its four headers does not come about.
#![expect(clippy::expect_used, reason = "all of it is a test")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use trunkline_fuzz::{TARGETS, Target};

/// Mutated inputs of each target.
const ROUNDS: usize = 20_000;
/// Longest input.
const LONGEST: usize = 4 * 1024;
/// What mutations put in: what the readers look for.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-0",
    "1e400",
    "1.50",
    "9007199254740993",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\u{feff}",
    "ä",
    "\0",
    "\"jsonrpc\":\"2.0\",",
    "\"id\":1,",
    "\"id\":null,",
    "\"method\":\"initialize\",",
    "\"method\":\"tools/call\",",
    "\"params\":{",
    "\"_meta\":{",
    "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",",
    "\"io.modelcontextprotocol/protocolVersion\":\"2025-11-25\",",
    "\"io.modelcontextprotocol/clientCapabilities\":{},",
    "2026-07-28",
    "2025-11-25",
    "2025-03-26",
    "2031-01-01",
    "tools/call",
    "=?base64?",
    "?=",
    "=?base64?ZWNobw==?=",
    "data:",
    "event:",
    "id: 1\n",
    "retry: 5\n",
    ":",
    "\"x-mcp-header\":\"A\"",
    "\"type\":\"integer\"",
    "\"properties\":{",
];

/// The same numbers in each run (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).expect("below a size")
    }

    /// A place in an input, and another one behind it.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder("corpus").join(target)).unwrap_or_else(|error| panic!("corpus/{target}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "corpus/{target} has no seeds");
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}

fn mutate(seeds: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let mut input = seeds[draw.below(seeds.len())].clone();
    for _ in 0..=draw.below(6) {
        let range = draw.range(input.len());
        match draw.below(7) {
            0 if !input.is_empty() => {
                let at = draw.below(input.len());
                input[at] ^= 1 << draw.below(8);
            }
            1 => drop(input.drain(range)),
            2 => {
                let copied = input[range.clone()].to_vec();
                input.splice(range.start..range.start, copied);
            }
            3 => {
                let other = &seeds[draw.below(seeds.len())];
                let piece = other[draw.range(other.len())].to_vec();
                input.splice(range, piece);
            }
            4 => {
                let byte = u8::try_from(draw.below(256)).expect("a byte");
                input.insert(range.start, byte);
            }
            5 => {
                let deep = [b"[".as_slice(), b"{\"a\":"][draw.below(2)].repeat(draw.below(80));
                input.splice(range.start..range.start, deep);
            }
            _ => {
                let word = WORDS[draw.below(WORDS.len())].bytes();
                input.splice(range.start..range.start, word);
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn try_one(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        panic!("target {name} fails on {hex}\n{}", String::from_utf8_lossy(input));
    }
}

/// As many as the variable says, for a long run; else those of the suite.
#[expect(clippy::disallowed_methods, reason = "the suite has no settings of its own")]
fn rounds() -> usize {
    std::env::var("TRUNKLINE_FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"))
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|(known, _)| *known == name).expect("a target").1;
    let own = seeds(name);
    // Seeds of other targets are strange input to this one.
    for seed in TARGETS.iter().flat_map(|(any, _)| seeds(any)) {
        try_one(name, target, &seed);
    }
    let mut draw = Draw(name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
    for _ in 0..rounds() {
        try_one(name, target, &mutate(&own, &mut draw));
    }
}

#[test]
fn era_classifier_puts_no_message_into_the_wrong_era() {
    run("era");
}

#[test]
fn event_streams_are_read_whatever_the_pieces() {
    run("events");
}

#[test]
fn header_values_survive_their_coding() {
    run("headers");
}

#[test]
fn messages_survive_being_written_again() {
    run("message");
}

#[test]
fn mirrored_arguments_agree_with_themselves() {
    run("mirrored");
}

#[test]
fn objects_keep_what_they_do_not_know() {
    run("object");
}

/// E-24: requests of imported operations.
#[test]
fn e24_requests_never_leave_their_origin_or_their_template() {
    run("openapi_build");
}

#[test]
fn every_target_has_seeds_and_an_entry_for_libfuzzer() {
    let named = |path: PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(path).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    };
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named(folder("corpus")), targets);
    assert_eq!(named(folder("libfuzzer/fuzz_targets")), targets);
    let manifest = std::fs::read_to_string(folder("libfuzzer/Cargo.toml")).expect("a manifest");
    assert!(targets.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))), "{manifest}");
    let tests = include_str!("short.rs");
    assert!(targets.iter().all(|name| tests.contains(&format!("run(\"{name}\")"))), "a target is not run");
}
