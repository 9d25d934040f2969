//! The JavaScript engine is not in the repository: it comes from npm by lock file. What is embedded is exactly what was reviewed.

use std::{fmt::Write as _, path::Path, process::ExitCode};

use sha2::Digest as _;

const ENGINE: &str = "vendor/quickjs.wasm";
/// Of `quickjs.wasm` in npm's quickjs-wasi 3.6.2.
const SHA256: &str = "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed={ENGINE}");
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(engine) = std::fs::read(Path::new(ENGINE)) else {
        println!(
            "cargo:error=server/sandbox/{ENGINE} is missing: the JavaScript engine comes from npm; run `make assets` and build again"
        );
        return ExitCode::FAILURE;
    };
    let digest = sha2::Sha256::digest(&engine).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    if digest == SHA256 {
        return ExitCode::SUCCESS;
    }
    println!("cargo:error=server/sandbox/{ENGINE} has the digest {digest}, expected {SHA256}");
    ExitCode::FAILURE
}
