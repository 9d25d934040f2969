//! A copy of the log to take away, with what it takes to verify it elsewhere. Written while it is read: memory does not grow.

use actix_web::{
    HttpResponse,
    http::header::{self, ContentDisposition, DispositionParam, DispositionType},
    rt, web,
};
use futures_util::stream;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use trunkline_platform::{
    Error,
    chain::{Export, Format, Range},
};

use super::{Auditing, day};
use crate::{
    WebState,
    dashboard::Page,
    extract::{FieldErrors, Query},
};

/// Parts that wait for a slow reader.
const WAITING: usize = 2;

/// `what` is `calls` or `all`, `format` is `jsonl`, `csv` or `parquet`, `since` and `until` are days.
pub(super) async fn download(state: web::Data<WebState>, member: Auditing, query: Query) -> Page {
    let (format, kind) = match query.get("format") {
        "" | "jsonl" => (Format::Jsonl, "application/jsonl"),
        "csv" => (Format::Csv, "text/csv; charset=utf-8"),
        "parquet" => (Format::Parquet, "application/vnd.apache.parquet"),
        _ => return Err(Error::invalid("format", "expected jsonl, csv or parquet").into()),
    };
    let calls_only = match query.get("what") {
        "" | "all" => false,
        "calls" => true,
        _ => return Err(Error::invalid("what", "expected calls or all").into()),
    };
    let mut errors = FieldErrors::default();
    let (since, until) = (day("since", query.get("since"), &mut errors), day("until", query.get("until"), &mut errors));
    if !errors.is_empty() {
        return Err(Error::invalid("since", "expected days such as 2026-11-21").into());
    }
    let until = until.and_then(|until| until.checked_add_days(chrono::Days::new(1)));
    let mut export = Export::begin_own(&state.platform, &member.actor, Range { calls_only, since, until }, format).await?;
    let (sender, receiver) = mpsc::channel::<Result<web::Bytes, Error>>(WAITING);
    let platform = state.platform.clone();
    // In a task of its own: who stops reading must not cut a transaction in half.
    let work = async move {
        while let Some(lines) = export.next(&platform).await.transpose() {
            let failed = lines.is_err();
            if sender.send(lines.map(Into::into)).await.is_err() || failed {
                return;
            }
        }
    };
    rt::spawn(work.in_current_span());
    let extension = match format {
        Format::Jsonl => "jsonl",
        Format::Csv => "csv",
        Format::Parquet => "parquet",
    };
    let what = if calls_only { "calls" } else { "audit" };
    let name = format!("{}-{what}.{extension}", member.slug());
    let disposition =
        ContentDisposition { disposition: DispositionType::Attachment, parameters: vec![DispositionParam::Filename(name)] };
    let lines = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|lines| (lines, receiver)) });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header(disposition)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(lines))
}
