//! `trunkline tool test`: the same on a computer without an installation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{private::Folder, process};

fn test(code: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = Folder::new("tool-test");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("f.js");
    std::fs::write(&file, code).expect("a file");
    let file = file.display().to_string();
    let arguments = [&["tool", "test", &file], more].concat();
    let settings = BTreeMap::from([("XDG_CACHE_HOME".to_owned(), process::functions_cache())]);
    let output = process::run(&arguments, &settings, &folder.0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_result_a_failure_and_bad_usage_have_their_exit_codes() {
    let code = "export default ({ a }) => { console.warn('careful'); return { twice: a * 2 }; }";
    let (status, said, logged) = test(code, &["--input", "{\"a\": 4}"]);
    assert_eq!((status, said.trim()), (Some(0), "{\"twice\":8}"), "{logged}");
    assert!(logged.contains("careful"), "{logged}");
    let (status, said, _) = test(code, &["--input", "{\"a\": 4}", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((status, &said["structured"], &said["ok"]), (Some(0), &json!({ "twice": 8 }), &json!(true)), "{said}");
    let (status, _, complaint) = test("export default () => {\n  throw new Error('no');\n}", &[]);
    assert!(status == Some(1) && complaint.contains("tool_threw") && complaint.contains("line 2"), "{complaint}");
    let (status, _, complaint) = test("export default () => { for (;;); }", &["--timeout-ms", "300"]);
    assert!(status == Some(1) && complaint.contains("tool_timeout"), "{complaint}");
    for more in [&["--input", "[]"][..], &["--host", "a b"], &["--timeout-ms", "1"], &["--nonsense"]] {
        assert_eq!(test(code, more).0, Some(2), "{more:?}");
    }
    assert_eq!(test("", &[]).0, Some(2));
    let (status, _, complaint) = test("export default () => fetch('https://example.com/')", &[]);
    assert!(status == Some(1) && complaint.contains("not among the hosts"), "{complaint}");
}
