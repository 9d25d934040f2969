//! Is the log what was recorded? Asked by a button; long chains are verified at the command line.

use std::time::Duration;

use trunkline_platform::{Error, Platform, actor::Member, chain};

use crate::dashboard::format;

/// Longest wait of a page.
const WITHIN: Duration = Duration::from_secs(20);

/// What was found.
pub(super) struct Proof {
    /// `success`, `warning` or `error`.
    pub(super) kind: &'static str,
    pub(super) title: &'static str,
    pub(super) text: String,
}

pub(super) async fn find(platform: &Platform, actor: &Member) -> Result<Proof, Error> {
    let Ok(verified) = tokio::time::timeout(WITHIN, chain::verify_own(platform, actor)).await else {
        return Ok(Proof {
            kind: "warning",
            title: "Too long for a page.",
            text: "The log has more entries than can be verified while you wait. The command below takes as long as it needs."
                .to_owned(),
        });
    };
    Ok(match verified? {
        Ok(verified) if verified.seq == 0 => Proof {
            kind: "success",
            title: "Nothing is recorded yet.",
            text: "Every entry gets its place within seconds.".to_owned(),
        },
        Ok(verified) => Proof {
            kind: "success",
            title: "The log is as it was recorded.",
            text: format!(
                "{} entries, calls included, each with its place and its hash. Signed checkpoints vouch up to number {}.",
                count(verified.seq - verified.dropped),
                count(verified.signed)
            ),
        },
        Err(finding) => Proof { kind: "error", title: "The log is not what was recorded.", text: format!("{finding}.") },
    })
}

fn count(number: u64) -> String {
    format::count(i64::try_from(number).unwrap_or(i64::MAX))
}
