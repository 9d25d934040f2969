//! The table that `make faults` ends with: what the tests of each row came to, with their figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::matrix::{ROWS, Row};

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotPlayed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotPlayed => "not played",
        }
    }
}

/// Results by test, as the harness says them.
fn results(log: &str) -> BTreeMap<&str, bool> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines.filter(|(_, result)| matches!(*result, "ok" | "FAILED")).map(|(name, result)| (name, result == "ok")).collect()
}

/// Figures by row.
fn figures(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut figures: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, figure) in text.lines().filter_map(|line| line.split_once(' ')) {
        figures.entry(row).or_default().push(figure);
    }
    figures
}

fn outcome(row: &Row, results: &BTreeMap<&str, bool>, figures: &[&str]) -> Outcome {
    let of_row: Vec<_> = row.tests.iter().map(|test| results.get(test)).collect();
    if row.tests.is_empty() || figures.iter().any(|figure| figure.starts_with("not played")) {
        Outcome::NotPlayed
    } else if of_row.iter().all(|result| *result == Some(&true)) {
        Outcome::Passed
    } else {
        // One that did not run has proved nothing.
        Outcome::Failed
    }
}

/// The table, and whether no row failed.
fn table(log: &str, text: &str) -> (String, bool) {
    let (results, figures) = (results(log), figures(text));
    let (mut table, mut outcomes) = (String::new(), Vec::new());
    for row in ROWS {
        let said = figures.get(row.number).map(Vec::as_slice).unwrap_or_default();
        let outcome = outcome(row, &results, said);
        outcomes.push(outcome);
        let _ = writeln!(table, "{}  {:<10}  {}", row.number, outcome.word(), row.fault);
        for test in row.tests.iter().filter(|test| results.get(*test) != Some(&true)) {
            let _ = writeln!(
                table,
                "                 ! {test}: {}",
                if results.contains_key(test) { "failed" } else { "did not run" }
            );
        }
        for figure in said {
            let _ = writeln!(table, "                 {figure}");
        }
        if !row.open.is_empty() {
            let _ = writeln!(table, "                 open: {}", row.open);
        }
    }
    let of = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (passed, failed, not_played) = (of(Outcome::Passed), of(Outcome::Failed), of(Outcome::NotPlayed));
    let _ = writeln!(table, "rows passing: {passed} of {}; failed: {failed}; not played here: {not_played}", ROWS.len());
    (table, failed == 0)
}

/// Not a test of the suite: `make faults` runs it when the others have ended.
#[test]
#[ignore = "prints the table of a run that has ended; `make faults` does it"]
fn print_the_table_of_a_run() {
    let read = |name| std::fs::read_to_string(std::env::var(name).expect(name)).unwrap_or_default();
    let (table, is_well) = table(&read("TRUNKLINE_FAULTS_LOG"), &read("TRUNKLINE_FIGURES"));
    crate::support::say(&table);
    assert!(is_well, "some rows failed");
}

#[test]
fn each_row_passes_fails_or_was_not_played() {
    let all: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.tests.iter().copied()).collect();
    let log = all.iter().fold(String::new(), |log, test| format!("{log}test {test} ... ok\n"));
    let (well, is_well) = table(&log, "F10 cut after 1 s\nF39 not played: nobody may\n");
    assert!(is_well && well.contains("F10  passed") && well.contains("  cut after 1 s\n"), "{well}");
    assert!(well.contains("F39  not played") && well.contains("failed: 0;"), "{well}");
    let first = ROWS[0].tests[0];
    for broken in [
        log.replace(&format!("{first} ... ok"), &format!("{first} ... FAILED")),
        log.replace(&format!("test {first} ... ok\n"), ""),
    ] {
        let (table, is_well) = table(&broken, "");
        assert!(!is_well && table.contains("F01  FAILED") && table.contains(first), "{table}");
    }
}
