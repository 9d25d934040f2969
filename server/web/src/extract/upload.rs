//! Forms with a file: read as they come, bounded in size and time, and proven to come from a page of ours before anything is read.

use std::{pin::Pin, time::Duration};

use actix_multipart::Multipart;
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{StatusCode, header::CONTENT_TYPE},
    web,
};
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Fields, Form, csrf, state};
use crate::error::HtmlError;

/// All fields but the file together, in bytes.
const LARGEST_FIELDS: usize = 64 * 1024;
/// Fields of a form.
const MOST_FIELDS: usize = 64;
/// From the end of the head to the end of the body.
const DEADLINE: Duration = Duration::from_mins(1);

/// A form of one of our pages with a file of at most `MOST` bytes. A form without one may come as usual.
pub struct Upload<const MOST: usize> {
    /// Its fields.
    pub fields: Fields,
    /// The file; `None`: none was chosen.
    pub file: Option<Vec<u8>>,
}

impl<const MOST: usize> FromRequest for Upload<MOST> {
    type Error = HtmlError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, HtmlError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("multipart/form-data") {
            let form = Form::<Fields>::from_request(&request, payload);
            return async move { Ok(Self { fields: form.await?.0, file: None }) }.boxed_local();
        }
        let payload = web::Payload::from_request(&request, payload);
        async move {
            let state = state(&request)?;
            if !csrf::is_same_origin(&state, &request) {
                return Err(HtmlError::Forged);
            }
            let payload = payload.await.map_err(|_| broken())?;
            let form = Multipart::new(request.headers(), payload.into_inner());
            let late = |_| bad(StatusCode::REQUEST_TIMEOUT, "The file took too long to arrive: at most a minute.".to_owned());
            let (fields, file) = actix_web::rt::time::timeout(DEADLINE, read(form, MOST)).await.map_err(late)??;
            if !csrf::is_token_right(&state.platform, &request, fields.get("csrf")) {
                return Err(HtmlError::Forged);
            }
            Ok(Self { fields, file })
        }
        .boxed_local()
    }
}

fn bad(status: StatusCode, text: String) -> HtmlError {
    HtmlError::BadForm(status, text)
}

fn broken() -> HtmlError {
    bad(StatusCode::BAD_REQUEST, "The form's body cannot be read.".to_owned())
}

async fn read(mut form: Multipart, most: usize) -> Result<(Fields, Option<Vec<u8>>), HtmlError> {
    let (mut fields, mut file, mut room) = (Vec::new(), None, LARGEST_FIELDS);
    while let Some(part) = form.next().await {
        let mut part = part.map_err(|_| broken())?;
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.content_disposition().is_some_and(|disposition| disposition.get_filename().is_some());
        let bound = if is_file { most } else { room };
        let mut bytes = Vec::new();
        while let Some(chunk) = part.next().await {
            bytes.extend_from_slice(&chunk.map_err(|_| broken())?);
            if bytes.len() > bound {
                let text =
                    if is_file { format!("A file has at most {most} bytes.") } else { "A form has at most 64 KiB.".to_owned() };
                return Err(bad(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
        }
        if is_file {
            // A browser sends an empty one when none was chosen.
            file = Some(bytes).filter(|bytes| !bytes.is_empty()).or(file);
            continue;
        }
        room -= bytes.len();
        let text = String::from_utf8(bytes).map_err(|_| broken())?;
        if text.contains('\0') || fields.len() >= MOST_FIELDS {
            return Err(bad(
                StatusCode::BAD_REQUEST,
                "A field of the form contains a NUL character, or there are too many.".to_owned(),
            ));
        }
        fields.push((name, text));
    }
    Ok((Fields::new(fields), file))
}
