//! Forms: proven to come from a page of ours, bounded in size and time, then read into a type.

use std::{pin::Pin, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{StatusCode, header::CONTENT_TYPE},
    web,
};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use trunkline_platform::{Error, ErrorKind, error::FieldError};

use super::{csrf, state};
use crate::error::HtmlError;

const LARGEST: usize = 64 * 1024;
/// From the end of the head to the end of the body.
const DEADLINE: Duration = Duration::from_secs(10);

/// A form sent by one of our pages. For fields that may occur more than once: `Form<Vec<(String, String)>>`.
#[derive(Debug)]
pub struct Form<T>(pub T);

/// Forms that carry code: 256 KiB of it, and as much again for what a form makes of its characters.
const WITH_CODE: [&str; 2] = ["/t/{tenant}/tools/new", "/t/{tenant}/tools/{tool}/edit"];
const LARGEST_WITH_CODE: usize = 1024 * 1024;

fn largest(request: &HttpRequest) -> usize {
    let carries_code = request.match_pattern().is_some_and(|pattern| WITH_CODE.contains(&pattern.as_str()));
    if carries_code { LARGEST_WITH_CODE } else { LARGEST }
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = HtmlError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, HtmlError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = web::Payload::from_request(&request, payload);
        async move {
            let state = state(&request)?;
            if !csrf::is_same_origin(&state, &request) {
                return Err(HtmlError::Forged);
            }
            let bad = |status, text: &str| HtmlError::BadForm(status, text.to_owned());
            let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
                return Err(bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Forms are sent as application/x-www-form-urlencoded."));
            }
            let payload = payload.await.map_err(|_| bad(StatusCode::BAD_REQUEST, "The form's body cannot be read."))?;
            let largest = largest(&request);
            let body = actix_web::rt::time::timeout(DEADLINE, payload.to_bytes_limited(largest))
                .await
                .map_err(|_| bad(StatusCode::REQUEST_TIMEOUT, "The form took too long to arrive."))?
                .map_err(|_| bad(StatusCode::PAYLOAD_TOO_LARGE, &format!("This form has at most {} KiB.", largest / 1024)))?
                .map_err(|_| bad(StatusCode::BAD_REQUEST, "The form's body ended early."))?;
            let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(&body)
                .map_err(|_| bad(StatusCode::BAD_REQUEST, "The form's body is not a form."))?;
            // The one character that no text of ours can hold: Postgres refuses it.
            if pairs.iter().any(|(_, value)| value.contains('\0')) {
                return Err(bad(StatusCode::BAD_REQUEST, "A field of the form contains a NUL character."));
            }
            let token = pairs.iter().find(|(name, _)| name == "csrf").map_or("", |(_, value)| value.as_str());
            if !csrf::is_token_right(&state.platform, &request, token) {
                return Err(HtmlError::Forged);
            }
            // The reason names fields, not what was typed into them; unless a number or word does not parse, so it is not passed on.
            serde_urlencoded::from_bytes(&body)
                .map(Self)
                .map_err(|_| bad(StatusCode::UNPROCESSABLE_ENTITY, "A field of the form is missing or does not fit."))
        }
        .boxed_local()
    }
}

/// What is wrong with a form, for the page that shows it again.
#[derive(Debug, Default, Clone)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// The message for that field; empty if it is fine.
    pub fn of(&self, field: &str) -> &str {
        self.0.iter().find(|error| error.field == field).map_or("", |error| &error.message)
    }

    /// Is everything fine?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that do not fit, if that is why the verb failed; any other failure goes on.
    pub fn from_failure(error: Error) -> Result<Self, HtmlError> {
        match error.kind() {
            ErrorKind::Invalid(fields) => {
                let mut errors = Self::default();
                for error in fields {
                    errors.add(&error.field, &error.message);
                }
                Ok(errors)
            }
            _ => Err(error.into()),
        }
    }

    /// Adds what a verb or a parser says; any failure that is not about fields goes on. Gives the value, if there is one.
    pub fn take<T>(&mut self, outcome: Result<T, Error>) -> Result<Option<T>, HtmlError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.0.extend(Self::from_failure(error)?.0);
                Ok(None)
            }
        }
    }

    /// Adds a field that does not fit. Beside a field, the message stands as a sentence.
    pub fn add(&mut self, field: &str, message: impl AsRef<str>) {
        let mut characters = message.as_ref().chars();
        let message = characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
        self.0.push(FieldError { field: field.to_owned(), message });
    }

    /// One field that does not fit.
    pub fn one(field: &str, message: &str) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }
}
