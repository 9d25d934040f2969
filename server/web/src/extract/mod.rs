//! Who asks, and what with: the parameters of handlers. One sees from them who may call a handler and what it is given.

mod allowed;
mod certificate;
mod client_ip;
pub(crate) mod cookies;
mod csrf;
mod fields;
mod form;
mod path;
mod upload;
mod visitor;

pub use allowed::{
    Allowed, InTenant, ManageAgents, ManageKeys, ManageMembers, ManageOwners, ManageSignIn, ManageTenant, ManageTools, Needs,
    View, ViewAudit,
};
pub(crate) use certificate::{PeerCertificate, client_certificate};
pub use client_ip::ClientIp;
pub(crate) use client_ip::client_address;
pub use fields::{Fields, Query};
pub use form::{FieldErrors, Form};
pub use path::{Path, PathPart, Token};
pub use upload::Upload;
pub use visitor::{SignedIn, Visitor};

use actix_web::{HttpRequest, web};
use trunkline_platform::Error;

use crate::{WebState, error::HtmlError};

fn state(request: &HttpRequest) -> Result<web::Data<WebState>, HtmlError> {
    let state = request.app_data::<web::Data<WebState>>().cloned();
    state.ok_or_else(|| Error::internal("the application has no state").into())
}
