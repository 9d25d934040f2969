//! The connection doctor, as the Connect page shows it: how far each client came, and what stopped it.

use chrono::DateTime;
use trunkline_platform::{
    Platform,
    actor::Member,
    handshake::{self, Attempt, Hop},
};

use super::components::Moment;

/// The hops that are shown, with their names. New tokens are told of where they fail.
const HOPS: [(Hop, &str); 8] = [
    (Hop::Challenge, "Told to log in"),
    (Hop::ResourceMetadata, "Read the endpoint’s metadata"),
    (Hop::ServerMetadata, "Read the server’s metadata"),
    (Hop::Registration, "Registered"),
    (Hop::Authorize, "Opened a browser"),
    (Hop::Consent, "Access granted"),
    (Hop::Token, "Fetched tokens"),
    (Hop::Call, "First call"),
];

/// One client's attempt to connect.
pub(super) struct AttemptView {
    pub(super) program: String,
    pub(super) client_id: Option<String>,
    pub(super) when: Option<Moment>,
    pub(super) state: &'static str,
    pub(super) finding: Option<FindingView>,
    pub(super) hops: Vec<HopView>,
}

/// What stopped it, and what to do.
pub(super) struct FindingView {
    pub(super) id: String,
    pub(super) title: &'static str,
    pub(super) remedy: &'static str,
    pub(super) detail: Option<String>,
}

/// One hop.
pub(super) struct HopView {
    pub(super) name: &'static str,
    /// `done`, `failed` or `missing`.
    pub(super) state: &'static str,
    pub(super) times: u32,
}

/// The latest attempts; `None` while they cannot be read.
pub(super) async fn latest(platform: &Platform, actor: &Member) -> Option<Vec<AttemptView>> {
    match handshake::list(platform, actor).await {
        Ok(attempts) => Some(attempts.into_iter().map(AttemptView::from).collect()),
        Err(error) => {
            tracing::warn!(%error, "handshakes cannot be read");
            None
        }
    }
}

impl AttemptView {
    pub(super) fn tone(&self) -> &'static str {
        match self.state {
            "connected" => "good",
            "stopped" => "bad",
            _ => "plain",
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let state = match (&attempt.finding, attempt.arrived()) {
            (Some(_), _) => "stopped",
            (None, true) => "connected",
            (None, false) => "connecting",
        };
        let hops = HOPS.iter().map(|(hop, name)| HopView::of(&attempt, *hop, name)).collect();
        let finding = attempt.finding.map(|finding| FindingView {
            id: finding.id(),
            title: finding.title(),
            remedy: finding.remedy(),
            detail: attempt.steps.last().and_then(|step| step.detail.clone()),
        });
        Self {
            when: DateTime::from_timestamp_millis(attempt.last_ms()).map(Moment::second),
            program: if attempt.program.is_empty() { "A client without a name".to_owned() } else { attempt.program },
            client_id: attempt.client_id,
            state,
            finding,
            hops,
        }
    }
}

impl HopView {
    fn of(attempt: &Attempt, hop: Hop, name: &'static str) -> Self {
        let step = attempt.at(hop);
        let state = match step {
            Some(step) if step.fault.is_some() => "failed",
            Some(_) => "done",
            // A key that is not good is no step on the way to tokens.
            None => "missing",
        };
        Self { name, state, times: step.map_or(0, |step| step.times) }
    }
}
