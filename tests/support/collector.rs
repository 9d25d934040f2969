//! A collector, well behaved and badly behaved. Reads what it gets by the messages that the authors of OTLP have published.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::world;

/// What it does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Takes it.
    Takes,
    /// Takes it, and says that it refused so many of its spans.
    Refuses(i64),
    /// Answers with that status.
    Status(u16),
    /// Says yes with something that is no answer.
    Lies,
    /// Never answers.
    Hangs,
    /// Hangs up.
    Leaves,
}

#[derive(Debug, Default)]
struct Got {
    heads: Vec<String>,
    requests: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    raw: Vec<u8>,
}

/// It. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    addr: SocketAddr,
    got: Arc<Mutex<Got>>,
    manner: Arc<Mutex<Manner>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port.
    pub(crate) async fn start(manner: Manner) -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (got, manner) = (Arc::<Mutex<Got>>::default(), Arc::new(Mutex::new(manner)));
        let (its_got, its_manner) = (Arc::clone(&got), Arc::clone(&manner));
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&its_got), Arc::clone(&its_manner)));
            }
        });
        Self { addr, got, manner, task }
    }

    /// Its OTLP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on.
    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    fn got<T>(&self, read: impl FnOnce(&Got) -> T) -> T {
        read(&self.got.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Heads of all requests with traces, lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.got(|got| got.heads.clone())
    }

    /// All that was sent, as it was.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.got(|got| got.raw.clone())
    }

    /// All spans.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let of = |request: &ExportTraceServiceRequest| {
            let scopes = request.resource_spans.iter().flat_map(|one| &one.scope_spans);
            scopes.flat_map(|scope| scope.spans.clone()).collect::<Vec<_>>()
        };
        self.got(|got| got.requests.iter().flat_map(of).collect())
    }

    /// The metrics of the last message that has any.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let of = |request: &ExportMetricsServiceRequest| {
            let scopes = request.resource_metrics.iter().flat_map(|one| &one.scope_metrics);
            scopes.flat_map(|scope| scope.metrics.clone()).collect()
        };
        self.got(|got| got.metrics.last().map(of).unwrap_or_default())
    }

    /// All lines of the log.
    pub(crate) fn lines(&self) -> Vec<LogRecord> {
        let of = |request: &ExportLogsServiceRequest| {
            let scopes = request.resource_logs.iter().flat_map(|one| &one.scope_logs);
            scopes.flat_map(|scope| scope.log_records.clone()).collect::<Vec<_>>()
        };
        self.got(|got| got.logs.iter().flat_map(of).collect())
    }

    /// What the first request says of who sends it.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let resource = self.got(|got| got.requests[0].resource_spans[0].resource.clone());
        attributes(&resource.expect("a resource").attributes)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Connections that are open go with it.
        self.behave(Manner::Leaves);
        self.task.abort();
    }
}

/// Attributes as text.
pub(crate) fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", attribute.key),
    };
    all.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

async fn serve(mut stream: TcpStream, got: Arc<Mutex<Got>>, manner: Arc<Mutex<Manner>>) {
    while let Some((head, body)) = read(&mut stream).await {
        let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
            got.raw.extend_from_slice(head.as_bytes());
            let body = unpacked(&head, body);
            got.raw.extend_from_slice(&body);
            let takes = matches!(manner, Manner::Takes | Manner::Refuses(_));
            let read = "a request of OTLP";
            match head.split(' ').nth(1) {
                Some("/v1/metrics") if takes => got.metrics.push(ExportMetricsServiceRequest::decode(&*body).expect(read)),
                Some("/v1/logs") if takes => got.logs.push(ExportLogsServiceRequest::decode(&*body).expect(read)),
                Some("/v1/metrics" | "/v1/logs") => {}
                _ => {
                    got.heads.push(head.to_lowercase());
                    if takes {
                        got.requests.push(ExportTraceServiceRequest::decode(&*body).expect(read));
                    }
                }
            }
        }
        let partial = |rejected_spans| ExportTracePartialSuccess { rejected_spans, error_message: "too many".to_owned() };
        let (status, answer) = match manner {
            Manner::Takes => (200, ExportTraceServiceResponse::default().encode_to_vec()),
            Manner::Refuses(spans) => (200, ExportTraceServiceResponse { partial_success: Some(partial(spans)) }.encode_to_vec()),
            Manner::Status(status) => (status, b"no".to_vec()),
            Manner::Lies => (200, b"\xff\xffyes".to_vec()),
            Manner::Leaves => return,
            Manner::Hangs => return tokio::time::sleep(Duration::from_hours(1)).await,
        };
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.write_all(&[head.as_bytes(), &answer].concat()).await.is_err() {
            return;
        }
    }
}

fn unpacked(head: &str, body: Vec<u8>) -> Vec<u8> {
    if !head.to_lowercase().contains("content-encoding: gzip\r\n") {
        return body;
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).expect("packed as it says");
    plain
}

async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut more = async |bytes: &mut Vec<u8>| stream.read_buf(bytes).await.ok().filter(|length| *length > 0);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        more(&mut bytes).await?;
    }
    Some((head, bytes.split_off(end)))
}
