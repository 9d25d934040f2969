//! The stream of a session, on which the endpoint says what no request asked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{bridge::Bridge, failure::Failure, headers, session::Session};
use crate::terminal;

/// First pause before a stream is opened again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A stream that lasted this long was a good one.
const LASTING: Duration = Duration::from_secs(20);

/// How a stream ended.
enum End {
    /// The endpoint has no such stream.
    Never,
    /// It has lost the session.
    Lost,
    /// To be opened again; it may have said when.
    Cut(Option<Duration>),
}

/// Keeps the stream of the current session open until the program ends.
pub(super) async fn listen(bridge: Arc<Bridge>) {
    let mut sessions = bridge.sessions.to_listen();
    loop {
        let session = sessions.borrow_and_update().clone();
        let keeping = async {
            if let Some(session) = session {
                keep_open(&bridge, &session).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = bridge.cut.cancelled() => return,
            // Whatever it is now, it is not the one whose stream is open.
            changed = sessions.changed() => if changed.is_err() { return },
            () = keeping => {}
        }
    }
}

async fn keep_open(bridge: &Bridge, session: &Arc<Session>) {
    let (mut pause, mut last_event) = (FIRST_PAUSE, None);
    loop {
        let began = Instant::now();
        let wait = match stream(bridge, session, &mut last_event).await {
            Ok(End::Never) => return,
            Ok(End::Lost) => {
                tokio::time::sleep(FIRST_PAUSE).await;
                // With success there is another session, and this ends.
                match bridge.sessions.renew(session).await {
                    Ok(_) => return,
                    Err(failure) => complain(&failure),
                }
                None
            }
            Ok(End::Cut(retry)) => retry,
            Err(failure) => {
                complain(&failure);
                None
            }
        };
        if began.elapsed() > LASTING {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(wait.unwrap_or(pause).min(LONGEST_PAUSE)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn stream(bridge: &Bridge, session: &Session, last_event: &mut Option<String>) -> Result<End, Failure> {
    let headers = headers::of_stream(Some(session), last_event.as_deref());
    let mut incoming = match bridge.endpoint.get(headers).await? {
        Ok(incoming) => incoming,
        Err(refused) if refused.status == 405 => return Ok(End::Never),
        Err(refused) if refused.status == 404 && session.can_be_lost() => return Ok(End::Lost),
        Err(refused) if refused.status == 404 => return Ok(End::Never),
        // What it last said is not kept any more.
        Err(refused) if refused.status == 400 && last_event.take().is_some() => return Ok(End::Cut(None)),
        Err(refused) => return Err(Failure::Refused(refused)),
    };
    loop {
        let read = incoming.next().await;
        last_event.clone_from(&incoming.last_event);
        match read {
            Ok(Some(text)) => bridge.output.message(&text).await,
            Ok(None) | Err(Failure::Cut | Failure::Late) => return Ok(End::Cut(incoming.retry)),
            Err(failure) => return Err(failure),
        }
    }
}

fn complain(failure: &Failure) {
    terminal::complain(format!("connect: the stream of the session is not open: {}", failure.line()));
}
