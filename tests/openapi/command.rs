//! `trunkline source import --dry-run`: what it prints, and its exit codes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::petstore;
use crate::support::{private::Folder, process::run};

#[test]
fn a_dry_run_prints_what_would_be_imported_and_what_not() {
    let folder = Folder::new("import");
    std::fs::write(folder.0.join("api.json"), petstore("https://api.example.com").to_string()).expect("written");
    let output = run(&["source", "import", "api.json", "--dry-run", "--json"], &BTreeMap::new(), &folder.0);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["operations"], &report["imported"]), (&6.into(), &5.into()), "{report}");
    assert_eq!(report["refused"][0]["operation"], "TRACE /trace");
    let names: Vec<&str> = report["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["photo", "listPets", "createPet", "getPet", "deletePet"]);
}

#[test]
fn yaml_is_read_and_what_cannot_be_used_ends_with_2() {
    let folder = Folder::new("import");
    let write = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).expect("written");
    write(
        "api.yaml",
        "openapi: 3.1.0\ninfo: {title: T, version: 1}\npaths:\n  /a:\n    get:\n      responses:\n        200: {description: ok}\n",
    );
    write("old.yaml", "swagger: '2.0'\n");
    let import = |arguments: &[&str]| run(&[&["source", "import"], arguments].concat(), &BTreeMap::new(), &folder.0);
    let good = import(&["api.yaml", "--dry-run"]);
    assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("1 operations, 1 would be tools, 0 refused"));
    for (arguments, why) in [
        (&["old.yaml", "--dry-run", "--json"][..], "Swagger 2.0 is not OpenAPI 3"),
        (&["none.yaml", "--dry-run"], "none.yaml cannot be read"),
        (&["http://127.0.0.1:9/x", "--dry-run"], "public hosts only"),
        (&["api.yaml"], "only --dry-run"),
    ] {
        let bad = import(arguments);
        assert_eq!(bad.status.code(), Some(2), "{arguments:?}");
        assert!(
            bad.stdout.is_empty() && String::from_utf8_lossy(&bad.stderr).contains(why),
            "{}",
            String::from_utf8_lossy(&bad.stderr)
        );
    }
}
