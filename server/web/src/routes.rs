//! The router's own list: what is not in it is not served, and what is in it is tried by the isolation test with every role.

use actix_web::{
    FromRequest, Handler, Responder,
    guard::{Guard, GuardContext},
    http::Method,
    web,
};
use trunkline_platform::actor::Permission;

use crate::{assets, dashboard, fallback, mcp, oauth, ops};

/// Who may use a route. The handler's extractors enforce it; the tests hold both against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A signed-in person, in no tenant.
    Session,
    /// A member of the tenant in the path whose role has the permission.
    Member(Permission),
    /// An agent of the tenant in the path.
    Agent,
    /// An OAuth client, which proves itself by what it sends, on behalf of nobody or of the person that is asked.
    Client,
}

/// The pattern of the route that took a request, in its extensions: looking for it again would try every pattern of the application.
pub(crate) struct Pattern(pub(crate) &'static str);

/// Lets requests with the method through, and notes which route that was.
struct Matching {
    method: Method,
    pattern: &'static str,
}

impl Guard for Matching {
    fn check(&self, request: &GuardContext<'_>) -> bool {
        let is_mine = request.head().method == self.method;
        if is_mine {
            request.req_data_mut().insert(Pattern(self.pattern));
        }
        is_mine
    }
}

/// One method on one path.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}` for its variable parts.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    register: Box<dyn Fn(&mut web::ServiceConfig)>,
}

impl Route {
    /// A route served by `handler`.
    pub fn new<F, Args>(method: Method, path: &'static str, access: Access, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let register_method = method.clone();
        let register = Box::new(move |config: &mut web::ServiceConfig| {
            let route = web::route().guard(Matching { method: register_method.clone(), pattern: path });
            config.route(path, route.to(handler.clone()));
        });
        Self { method, path, access, register }
    }

    /// `GET`.
    pub fn get<F, Args>(path: &'static str, access: Access, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self::new(Method::GET, path, access, handler)
    }

    /// `POST`.
    pub fn post<F, Args>(path: &'static str, access: Access, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self::new(Method::POST, path, access, handler)
    }

    /// Adds it to an application.
    pub fn register(&self, config: &mut web::ServiceConfig) {
        (self.register)(config);
    }
}

/// Every route of the public listener. Each surface adds its own. They are tried in this order: what agents call first, pages last.
pub fn routes() -> Vec<Route> {
    [mcp::routes(), oauth::routes(), ops::routes(), assets::routes(), dashboard::routes()].into_iter().flatten().collect()
}

/// Adds all routes, and the answer to what none of them takes, to an application.
pub fn configure(config: &mut web::ServiceConfig) {
    for route in routes() {
        route.register(config);
    }
    config.default_service(web::to(fallback::answer));
}
