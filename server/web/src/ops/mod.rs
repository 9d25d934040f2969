//! Is it alive, may it take traffic, what is it missing: for load balancers, containers and people on call.
//!
//! The public listener answers with names and states only. The operations listener has the same and what is nobody else's business.

mod health;
mod mail;
mod metrics;
mod vitals;

use actix_web::web;

use crate::routes::{Access, Route};

pub use vitals::Vitals;

/// What the public listener offers of this.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/healthz", Access::Public, health::healthz),
        Route::get("/readyz", Access::Public, health::readyz),
        Route::get("/health", Access::Public, health::health),
    ]
}

/// Everything the operations listener offers.
pub fn configure(config: &mut web::ServiceConfig) {
    for route in routes() {
        route.register(config);
    }
    config.route("/metrics", web::get().to(metrics::metrics));
    config.route("/mail", web::get().to(mail::mail)).route("/mail.json", web::get().to(mail::mail_json));
}
