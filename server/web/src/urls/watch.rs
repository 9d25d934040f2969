//! Pages that show what happens: usage, logs, alerts.

use trunkline_platform::ids::{AlertId, EntryId};

/// What a tenant's agents have called.
pub fn usage(slug: &str) -> String {
    format!("/t/{slug}/usage")
}

/// What that has cost.
pub fn cost(slug: &str) -> String {
    format!("/t/{slug}/usage/cost")
}

/// A tenant's calls.
pub fn logs(slug: &str) -> String {
    format!("/t/{slug}/logs")
}

/// A call.
pub fn call(slug: &str, call: EntryId) -> String {
    format!("/t/{slug}/logs/{call}")
}

/// Alerts.
pub fn alerts(slug: &str) -> String {
    format!("/t/{slug}/alerts")
}

/// Says whom alerts are told.
pub fn alert_targets(slug: &str) -> String {
    format!("/t/{slug}/alerts/targets")
}

/// Sends a test to them.
pub fn alert_test(slug: &str) -> String {
    format!("/t/{slug}/alerts/test")
}

/// Says that somebody looks after an alert.
pub fn alert_acknowledge(slug: &str, alert: AlertId) -> String {
    format!("/t/{slug}/alerts/{alert}/acknowledge")
}

/// Has nobody told of it for a while.
pub fn alert_silence(slug: &str, alert: AlertId) -> String {
    format!("/t/{slug}/alerts/{alert}/silence")
}
