//! Functions: code of tenants, called by agents and tried by members; what it may not do, and what happens to those who try.

mod calls;
mod command;
mod limits;
mod logs;
mod page;
mod reach;
mod walls;

use std::path::PathBuf;

use serde_json::{Value, json};
use trunkline_platform::catalog::{Executor, FunctionTool, NewVersion, Origin};

use crate::support::{TestApp, process, tools};

/// An installation whose binary is there: it runs the functions.
async fn start() -> TestApp {
    process::binary();
    TestApp::start().await
}

/// A tool that is that code.
fn function(code: &str, hosts: &[&str]) -> NewVersion {
    let function = FunctionTool {
        code: code.to_owned(),
        input_schema: json!({ "type": "object" }),
        hosts: hosts.iter().map(|host| Origin::parse(host).expect("a host")).collect(),
        secret_header: None,
        timeout_ms: 5000,
        keep_logs: false,
    };
    NewVersion { executor: Executor::Function(function), ..tools::echo() }
}

/// The same with another timeout.
fn within_ms(timeout_ms: u32, mut new: NewVersion) -> NewVersion {
    if let Executor::Function(function) = &mut new.executor {
        function.timeout_ms = timeout_ms;
    }
    new
}

/// The same with a schema.
fn taking(schema: Value, mut new: NewVersion) -> NewVersion {
    if let Executor::Function(function) = &mut new.executor {
        function.input_schema = schema;
    }
    new
}

/// What `/proc` says of a process.
fn proc_file(process: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/{name}"))
}

/// Processes that run functions for this installation and are idle.
fn idle(app: &TestApp) -> Vec<u32> {
    app.platform.sandboxes.idle_processes()
}
