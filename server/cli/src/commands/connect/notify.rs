//! What the client tells without wanting an answer.

use std::time::Duration;

use super::{
    bridge::Bridge,
    failure::Failure,
    headers,
    message::{Kind, Message},
};
use crate::terminal;

/// How long the end of a request waits for the request itself to be there: on the way they may overtake each other.
const REACHED_WITHIN: Duration = Duration::from_mins(1);

impl Bridge {
    /// Passes on a notification or an answer. Nobody waits for what becomes of it, but it is said.
    pub(super) async fn tell(&self, message: &Message) {
        if let Kind::Notification { cancels: Some(key), .. } = &message.kind {
            match self.running(key) {
                // In this era a request ends with its stream, and nothing is sent.
                Some(running) if running.is_stateless => return running.dropped.cancel(),
                Some(running) => {
                    running.taken_back.cancel();
                    let _ = tokio::time::timeout(REACHED_WITHIN, running.reached.cancelled()).await;
                }
                None if message.is_stateless() => return,
                None => {}
            }
        }
        if let Err(failure) = self.post_told(message).await {
            terminal::complain(format!("connect: {} was not passed on: {}", name(&message.kind), failure.line()));
        }
    }

    async fn post_told(&self, message: &Message) -> Result<(), Failure> {
        let session = if message.is_stateless() { None } else { self.sessions.current().await };
        let send = async |headers| self.endpoint.post(headers, message.body.clone()).await;
        let mut outcome = send(headers::of(message, session.as_deref(), &self.schemas)).await?;
        match (&outcome, &session, &message.kind) {
            // What a lost session asked, nobody wants to know any more.
            (Err(refused), Some(lost), Kind::Notification { .. }) if refused.status == 404 && lost.can_be_lost() => {
                let renewed = self.sessions.renew(lost).await?;
                outcome = send(headers::of(message, Some(&renewed), &self.schemas)).await?;
            }
            (Ok(_), _, Kind::Notification { method, .. }) if method == "notifications/initialized" => {
                self.sessions.is_ready(session.clone());
            }
            _ => {}
        }
        outcome.map(|_| ()).map_err(Failure::Refused)
    }
}

fn name(kind: &Kind) -> &str {
    match kind {
        Kind::Notification { method, .. } => method,
        _ => "an answer",
    }
}
