//! A description as a file: read as it comes, bounded, and only from a page of ours.

use reqwest::Method;

use super::{Importer, petstore};
use crate::support::{Page, TestApp, Upstream};

const PATH: &str = "/t/acme/sources/import";
const BOUNDARY: &str = "b0undary";

/// The form with a file, with that token.
async fn upload(importer: &Importer<'_>, name: &str, file: &[u8], csrf: &str) -> Page {
    let mut body = Vec::new();
    for (field, value) in [("csrf", csrf), ("name", name), ("link", "")] {
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n").into_bytes());
    }
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"api.json\"\r\nContent-Type: application/json";
    body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").into_bytes());
    body.extend_from_slice(file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    importer.visitor.request(Method::POST, PATH, |request| request.header("content-type", kind).body(body)).await
}

#[tokio::test]
async fn a_file_is_read_within_bounds_and_from_our_pages_only() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    importer.visitor.get(PATH).await.ok();
    let csrf = importer.visitor.csrf().await;
    let document = petstore(&upstream.url("")).to_string();

    assert_eq!(upload(&importer, "forged", document.as_bytes(), "another").await.status, 403);
    let large = [document.as_bytes(), &vec![b' '; 10 << 20]].concat();
    let page = upload(&importer, "large", &large, &csrf).await;
    assert!(page.status == 413 && page.body.contains("at most"), "{} {}", page.status, page.body);
    let page = upload(&importer, "empty", b"", &csrf).await;
    assert!(page.status == 422 && page.body.contains("link"), "{} {}", page.status, page.body);
    let page = upload(&importer, "nonsense", b"{\"openapi\": \"3.1.0\", ", &csrf).await;
    assert_eq!(page.status, 422, "{}", page.body);
    let none = importer.visitor.get("/t/acme/sources").await.ok();
    assert!(["forged", "large", "empty", "nonsense"].iter().all(|name| !none.body.contains(&format!(">{name}<"))));

    let page = upload(&importer, "pets", document.as_bytes(), &csrf).await;
    assert_eq!(page.status, 303, "{}", page.body);
    let shown = importer.visitor.get(page.location()).await.ok();
    assert!(
        shown.body.contains("Pet store") && shown.body.contains("listPets") && shown.body.contains("uploaded"),
        "{}",
        shown.body
    );
}
