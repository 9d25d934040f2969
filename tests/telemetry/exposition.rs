//! What a replica exports, read from its answer, and what README.md says of it.

use std::collections::{BTreeMap, BTreeSet};

/// One metric, as both describe it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metric {
    /// counter, gauge or histogram.
    pub(super) kind: String,
    /// The names of its labels.
    pub(super) labels: BTreeSet<String>,
}

/// What is exported.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// By the name under which people know it: of counters, that of their samples.
    pub(super) metrics: BTreeMap<String, Metric>,
    /// The names of all samples, to which expressions refer.
    pub(super) samples: BTreeSet<String>,
}

/// Reads an answer of `/metrics`. Panics where something in it is not announced by its help and its type.
pub(super) fn read(text: &str) -> Exported {
    let mut exported = Exported::default();
    let (mut helped, mut family, mut known_as) = ("", "", String::new());
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            assert!(!help.is_empty(), "{line}");
            helped = name;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(helped, name, "a type without a help");
            family = name;
            known_as = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            exported.metrics.insert(known_as.clone(), Metric { kind: kind.to_owned(), labels: BTreeSet::new() });
        } else if line != "# EOF" {
            let (series, _) = line.rsplit_once(' ').expect("a sample");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            assert!(!family.is_empty() && name.starts_with(family), "{line} is not of {family}");
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            exported.metrics.get_mut(&known_as).expect("a family").labels.extend(names);
            exported.samples.insert(name.to_owned());
        }
    }
    exported
}

/// The rows of the table of metrics: name, type, labels, meaning.
pub(super) fn documented(readme: &str) -> BTreeMap<String, Metric> {
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| {
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let [kind, labels, meaning, ""] = cells[..] else { panic!("{name}: {rest}") };
        assert!(!meaning.is_empty(), "{name} means nothing");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (name.to_owned(), Metric { kind: kind.to_owned(), labels })
    })
    .collect()
}

#[test]
fn answers_and_tables_are_read() {
    let answer = "# HELP calls Calls.\n# TYPE calls counter\ncalls_total{status=\"ok\"} 1\n\
                  # HELP took Time.\n# TYPE took histogram\ntook_sum 0.1\ntook_bucket{le=\"1.0\"} 1\n# EOF\n";
    let exported = read(answer);
    assert_eq!(Vec::from_iter(&exported.samples), ["calls_total", "took_bucket", "took_sum"]);
    let table = "| metric | type | labels | meaning |\n|---|---|---|---|\n| `calls_total` | counter | `status` | calls |\n\
                 | `took` | histogram | `le` | time |\n";
    assert_eq!(documented(table), exported.metrics);
    assert_ne!(documented(&table.replace("counter", "gauge")), exported.metrics);
    assert_ne!(documented(&table.replace("`status`", "")), exported.metrics);
}
