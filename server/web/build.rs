//! The pages need third-party files that are not in the repository; without them this says what to run.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let vendor = Path::new("../../static/vendor");
    println!("cargo:rerun-if-changed=../../static/vendor");
    if vendor.is_dir() {
        return ExitCode::SUCCESS;
    }
    println!(
        "cargo:error=static/vendor is missing: third-party front-end files come from npm; run `make assets` and build again"
    );
    ExitCode::FAILURE
}
