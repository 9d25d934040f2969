//! What is wrapped around every request, from outside: span and request id, what to do with an unread body, headers of the answer,
//! the check of the host's name, the page for a failure, the shield.

mod failure_page;
pub(crate) mod headers;
mod host;
mod shield;
mod trace;
mod unread;

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
};

pub(crate) use headers::with_rendering;
pub(crate) use trace::request_id;

/// Wraps an application. It must have its `WebState` as application data.
pub fn surround<T, B>(
    app: App<T>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<T, B>>,
        Error = Error,
        InitError = (),
    >,
>
where
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()> + 'static,
    B: MessageBody + 'static,
{
    app.wrap(from_fn(shield::run))
        .wrap(from_fn(failure_page::render))
        .wrap(from_fn(host::check))
        .wrap(from_fn(headers::add))
        .wrap(from_fn(unread::keep))
        .wrap(trace::layer())
}
