//! A small HTTP API to make tools from: weather to read, orders to write, and an answer that takes its time.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, rt, web};
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;

use super::state::StateDir;
use crate::services::{free_port, write_private};

/// Where the port is kept: tools point at it across starts.
pub(super) const PORT: &str = "upstream.port";
const SLOWEST_MS: u64 = 120_000;

/// It listens until this is dropped.
pub(super) struct Upstream {
    pub(super) addr: SocketAddr,
    handle: ServerHandle,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Nobody waits for its answers any more.
        drop(self.handle.stop(false));
    }
}

/// Starts it on the port it had last time, or on a free one.
pub(super) fn start(dir: &StateDir) -> anyhow::Result<Upstream> {
    let kept = std::fs::read_to_string(dir.file(PORT)).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let socket = match kept.map(bind) {
        Some(Ok(socket)) => socket,
        _ => bind(free_port()?).context("the sample upstream cannot listen")?,
    };
    let addr = socket.local_addr()?;
    write_private(&dir.file(PORT), &addr.port().to_string())?;
    let server = HttpServer::new(|| App::new().configure(routes)).workers(1).disable_signals().listen(socket)?.run();
    let handle = server.handle();
    std::thread::Builder::new().name("upstream".to_owned()).spawn(move || rt::System::new().block_on(server))?;
    Ok(Upstream { addr, handle })
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/weather/{city}", web::get().to(weather))
        .route("/orders", web::post().to(order))
        .route("/slow", web::get().to(slow));
}

#[derive(Deserialize)]
struct WeatherQuery {
    units: Option<String>,
}

/// The same city has the same weather every time, so that a call can be checked.
async fn weather(city: web::Path<String>, query: web::Query<WeatherQuery>) -> HttpResponse {
    let units = query.units.as_deref().unwrap_or("metric");
    let celsius = i64::try_from(city.bytes().map(u64::from).sum::<u64>() % 35).unwrap_or(0);
    let (temperature, unit) = match units {
        "metric" => (celsius, "°C"),
        "imperial" => (celsius * 9 / 5 + 32, "°F"),
        _ => return HttpResponse::BadRequest().json(json!({"error": "units must be metric or imperial"})),
    };
    let sky = ["clear", "cloudy", "rain"][usize::try_from(celsius % 3).unwrap_or(0)];
    HttpResponse::Ok().json(json!({"city": *city, "temperature": temperature, "unit": unit, "sky": sky}))
}

#[derive(Deserialize)]
struct Order {
    item: String,
    quantity: u32,
}

async fn order(order: web::Json<Order>) -> HttpResponse {
    if order.quantity == 0 {
        return HttpResponse::UnprocessableEntity().json(json!({"error": "quantity must be at least 1"}));
    }
    let id = trunkline_platform::random::base62(8);
    HttpResponse::Created().json(json!({"id": id, "item": order.item, "quantity": order.quantity, "state": "accepted"}))
}

#[derive(Deserialize)]
struct SlowQuery {
    ms: Option<u64>,
}

async fn slow(query: web::Query<SlowQuery>) -> HttpResponse {
    let ms = query.ms.unwrap_or(1000).min(SLOWEST_MS);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    HttpResponse::Ok().json(json!({"waited_ms": ms}))
}
