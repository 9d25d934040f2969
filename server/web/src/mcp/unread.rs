//! An answer to a request whose body is not read to its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    web::{Bytes, Payload},
};

/// A body that keeps what was not read until it has been sent itself.
struct Holding {
    body: BoxBody,
    _unread: Payload,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// The same answer; the connection is closed a second after it.
///
/// Actix reads a body in chunks to its end once nobody holds it any more, however long that is. It looks twice, when the head and when
/// the last of the answer is written: only the answer's own body lives that long.
pub(super) fn closing(answer: HttpResponse, unread: Payload) -> HttpResponse {
    answer.map_body(|_, body| BoxBody::new(Holding { body, _unread: unread }))
}
