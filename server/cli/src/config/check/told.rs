//! What is told of this process: telemetry and the log.

use trunkline_platform::telemetry;
use url::Url;

use super::{
    listeners::header_name,
    reader::{Given, Reader},
};
use crate::config::{Log, LogFormat};

pub(super) fn telemetry(reader: &mut Reader) -> Option<Given<telemetry::Settings>> {
    let endpoint = reader.optional("telemetry.otlp_endpoint", |text| match text.parse::<Url>() {
        Ok(url) if !matches!(url.scheme(), "https" | "http") || url.host().is_none() => {
            Err("expected an address that begins with https:// or http://, such as http://localhost:4318".to_owned())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() => {
            Err("expected scheme, host, port and path only; what the collector must not be asked without goes into telemetry.headers".to_owned())
        }
        Ok(url) if url.path().trim_end_matches('/').ends_with("/v1/traces") => {
            Err("expected the address without /v1/traces, which is added, as are /v1/metrics and /v1/logs".to_owned())
        }
        Ok(url) => Ok(url),
        Err(error) => Err(format!("expected an address such as http://localhost:4318 ({error})")),
    });
    let ratio = reader.required("telemetry.sample_ratio", |text| {
        let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| "expected a number from 0 to 1, such as 0.01 for one trace in a hundred".to_owned())
    });
    let headers = reader.optional("telemetry.headers", header_values);
    let every = reader.number("telemetry.metrics_s", 1..=3_600);
    let (endpoint, sample_ratio, headers) = (endpoint?.value(), ratio?, headers?.value());
    let metrics_every = std::time::Duration::from_secs(every?);
    match (endpoint, headers) {
        (Some(endpoint), headers) => {
            let headers = headers.unwrap_or_default();
            Some(Given::Value(telemetry::Settings { endpoint, metrics_every, sample_ratio, headers }))
        }
        (None, None) => Some(Given::Nothing),
        (None, Some(_)) => {
            reader.refuse("telemetry.headers", "is set, but telemetry.otlp_endpoint is not: nobody would get them")
        }
    }
}

/// `name=value`, several with commas between them. Says which one is wrong by its place: the rest is secret.
fn header_values(text: &str) -> Result<telemetry::Headers, String> {
    let pairs = text.split(',').enumerate().map(|(at, pair)| {
        let wrong = || format!("header {} is not name=value, such as api-key=…", at + 1);
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        Ok((header_name(name.trim()).map_err(|_| wrong())?, value.trim()))
    });
    let pairs: Vec<_> = pairs.collect::<Result<_, String>>()?;
    telemetry::Headers::new(&pairs)
}

pub(super) fn log(reader: &mut Reader) -> Option<Log> {
    let format = reader.required("log.format", |text| match text {
        "json" => Ok(LogFormat::Json),
        "human" => Ok(LogFormat::Human),
        _ => Err("expected json or human".to_owned()),
    });
    let level = reader.required("log.level", |text| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected error, warn, info, debug, trace or directives such as info,trunkline_web=debug".to_owned()),
    });
    Some(Log { format: format?, level: level? })
}
