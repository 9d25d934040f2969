//! Static files inside the binary. A link carries the file's hash and may be kept for ever; without it (scripts that import each other,
//! fonts in style sheets) browsers ask each time and mostly hear "unchanged".

use std::borrow::Cow;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, ETag, EntityTag, IfNoneMatch, TryIntoHeaderValue as _},
    },
    web,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::{Access, Route, error::HtmlError};

#[derive(RustEmbed)]
#[folder = "../../static/"]
struct Files;

/// Routes of this surface.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/static/{path:.+}", Access::Public, serve),
        Route::new(Method::HEAD, "/static/{path:.+}", Access::Public, serve),
    ]
}

/// URL of a file under `static/`, such as `css/app.css`. A file that does not exist gets a URL that answers 404.
pub fn url(path: &str) -> String {
    match (Files::get(path), path.rsplit_once('.')) {
        (Some(file), Some((stem, extension))) => format!("/static/{stem}.{}.{extension}", hash(&file)),
        _ => format!("/static/{path}"),
    }
}

/// 64 bits of the content's SHA-256.
fn hash(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// `css/app.0123456789abcdef.css` → `css/app.css` and the hash.
fn split_hash(path: &str) -> Option<(String, &str)> {
    let (rest, extension) = path.rsplit_once('.')?;
    let (stem, hash) = rest.rsplit_once('.')?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hash.then(|| (format!("{stem}.{extension}"), hash))
}

async fn serve(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, HtmlError> {
    let not_found = || HtmlError::not_found("page");
    let (file, caching) = match split_hash(&path) {
        Some((plain, wanted)) => {
            let file = Files::get(&plain).filter(|file| hash(file) == wanted).ok_or_else(not_found)?;
            (file, "public, max-age=31536000, immutable")
        }
        None => (Files::get(&path).ok_or_else(not_found)?, "no-cache"),
    };
    let tag = EntityTag::new_strong(hash(&file));
    let known = request.headers().get(header::IF_NONE_MATCH).is_some()
        && match <IfNoneMatch as header::Header>::parse(&request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|other| other.weak_eq(&tag)),
            Err(_) => false,
        };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, caching)).insert_header(ETag(tag));
    if known {
        return Ok(response.finish());
    }
    let kind = content_type(&file);
    if let Ok(value) = kind.try_into_value() {
        response.insert_header((header::CONTENT_TYPE, value));
    }
    Ok(match file.data {
        Cow::Borrowed(bytes) => response.body(bytes),
        Cow::Owned(bytes) => response.body(bytes),
    })
}

fn content_type(file: &EmbeddedFile) -> String {
    match file.metadata.mimetype() {
        kind if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_carries_the_hash_and_leads_back_to_the_file() {
        let url = url("css/app.css");
        let path = url.strip_prefix("/static/").unwrap();
        assert_eq!(split_hash(path).unwrap().0, "css/app.css");
        assert_eq!(split_hash("css/app.css"), None);
        assert_eq!(super::url("css/none.css"), "/static/css/none.css");
    }
}
