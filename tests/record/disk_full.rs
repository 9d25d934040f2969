//! L-04: the disk of the spool is full. Calls are refused, everything else goes on, and it heals by itself.

use std::{path::PathBuf, process::Command, time::Duration};

use tokio_util::sync::CancellationToken;

use super::driver::{drive, not_once};
use crate::support::{SOON, SPOOL_DIR, TestApp, Visitor, eventually, figure, http, private::Folder, tools};

/// A disk of its own in memory, unmounted when dropped.
struct SmallDisk(Folder);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let folder = Folder::new("disk");
        let options = format!("size={mib}m,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder.0).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0.0).status();
    }
}

#[tokio::test]
async fn f_35_l_04_a_full_disk_refuses_calls_and_heals_by_itself() {
    let Some(disk) = SmallDisk::mount(24) else {
        return figure("F35", "not played: mounting a small disk needs root");
    };
    let mut app =
        TestApp::builder().unlimited().set(&SPOOL_DIR["TRUNKLINE_".len()..], disk.file("spool").display()).start().await;
    app.expect_error("the record cannot be written");
    // What the store itself says of it.
    app.expect_error("fjall");
    app.expect_error("lsm_tree");
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.echo("x").await.is_ok());
    let ready = async || http().get(format!("{}/readyz", app.url)).send().await.expect("an answer").status().as_u16();
    assert_eq!(ready().await, 200);

    let ballast = disk.file("ballast");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.expect("dd runs").status.success(), "the disk is full");
    let stop = CancellationToken::new();
    let ending = async {
        eventually("calls are refused", SOON, async || {
            let answer = agent.echo("x").await;
            (answer.status == 503 && answer.code() == 5030 && !answer.header("retry-after").is_empty()).then_some(())
        })
        .await;
        eventually("it is not ready", SOON, async || (ready().await == 503).then_some(())).await;
        stop.cancel();
    };
    let (journal, ()) = tokio::join!(drive(&agent, &["echo"], 4, Duration::ZERO, &stop), ending);
    assert!(journal.refused.iter().all(|(_, code)| *code == 5030), "{:?}", journal.refused);
    let text = http().get(format!("{}/readyz", app.url)).send().await.expect("an answer").text().await.expect("a body");
    assert!(text.contains("record"), "{text}");
    let numbers = http().get(format!("{}/metrics", app.ops_url)).send().await.expect("an answer").text().await.expect("numbers");
    assert!(numbers.contains(r#"trunkline_not_ready{reason="record"} 1"#), "{numbers}");
    let health = http().get(format!("{}/health", app.url)).send().await.expect("an answer").text().await.expect("a body");
    assert!(health.contains("\"record\""), "{health}");
    assert_eq!(Visitor::new(&app.url).get("/login").await.status, 200, "pages go on");
    assert!(!agent.list(crate::support::Era::Stateless).await.tool_names().is_empty(), "lists go on");

    std::fs::remove_file(&ballast).expect("there is room again");
    eventually("calls go on", SOON, async || agent.echo("x").await.is_ok().then_some(())).await;
    assert_eq!(ready().await, 200);
    let mut sql = app.sql().await;
    eventually("whoever had an answer is in the record", SOON, async || {
        // The first call and the one that found room again are not in the journal.
        let ok: i64 =
            sqlx::query_scalar("SELECT count(*) FROM app.calls WHERE outcome = 'ok'").fetch_one(&mut sql).await.expect("a count");
        let all = usize::try_from(ok).is_ok_and(|ok| ok >= journal.delivered.len() + 2);
        (all && not_once(&mut sql, &journal.delivered).await.is_empty()).then_some(())
    })
    .await;
    super::entries::reconcile(&mut sql).await;
}
