//! Requests whose body is not read to its end: the connection is closed a second after the answer.
//!
//! Actix reads a body in chunks to its end once nobody holds it any more, however long that is. It looks twice, when the head and when
//! the last of the answer is written: only the answer's own body lives that long, so the unread one is kept there.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    middleware::Next,
    web::Bytes,
};
use futures_util::Stream;

/// The body of a request, for who reads it and for who waits whether they do.
struct Incoming {
    payload: RefCell<Payload>,
    is_read: Cell<bool>,
}

struct Reading(Rc<Incoming>);

impl Stream for Reading {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut *self.0.payload.borrow_mut()).poll_next(context);
        if matches!(polled, Poll::Ready(None)) {
            self.0.is_read.set(true);
        }
        polled
    }
}

/// The body of an answer, and what was not read of its request.
struct Holding {
    body: BoxBody,
    _unread: Rc<Incoming>,
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

pub(super) async fn keep(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let incoming = Rc::new(Incoming { payload: RefCell::new(payload), is_read: Cell::new(false) });
    request.set_payload(Payload::Stream { payload: Box::pin(Reading(Rc::clone(&incoming))) });
    let response = next.call(request).await?;
    if incoming.is_read.get() {
        return Ok(response.map_into_left_body());
    }
    let holding = |body: BoxBody| EitherBody::right(BoxBody::new(Holding { body, _unread: incoming }));
    Ok(response.map_into_boxed_body().map_body(|_, body| holding(body)))
}
