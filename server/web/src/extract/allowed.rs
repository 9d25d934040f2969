//! A member of the tenant in the path whose role allows what the handler does.

use std::{marker::PhantomData, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::Method};
use futures_util::FutureExt as _;
use trunkline_platform::{
    accounts::{self, Membership, Session},
    actor::{Member, Permission},
};

use super::{SignedIn, Visitor, state};
use crate::{
    dashboard::{
        layout::{Layout, Nav, TenantLink},
        standing::notices,
    },
    error::HtmlError,
};

/// A permission as a type, so that a handler's parameters show it.
pub trait Needs: 'static {
    /// The permission.
    const PERMISSION: Permission;
}

macro_rules! needs {
    ($($name:ident)*) => {$(
        #[doc = concat!("Needs `Permission::", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Needs for $name {
            const PERMISSION: Permission = Permission::$name;
        }
    )*};
}

needs! { View ViewAudit ManageAgents ManageKeys ManageTools ManageMembers ManageOwners ManageTenant ManageSignIn }

/// Any member of the tenant in the path.
pub type InTenant = Allowed<View>;

/// A member of the tenant in the path (`/t/{tenant}/…`) with the permission. For who is not signed in: the log-in page. For who is no
/// member: the same 404 whether or not there is such a tenant. For who may not: 403.
pub struct Allowed<P> {
    /// Who acts, for verbs.
    pub actor: Member,
    /// The tenant, and the actor's role in it.
    pub tenant: Membership,
    /// Who looks.
    pub visitor: Visitor,
    /// Their session.
    pub session: Session,
    others: Vec<Membership>,
    permission: PhantomData<P>,
}

impl<P> Allowed<P> {
    /// The frame of a page in this tenant; the section is that of the navigation which is marked.
    pub fn layout(&self, title: impl Into<String>, section: &'static str) -> Layout {
        let link = |m: &Membership| TenantLink { name: m.name.clone(), slug: m.slug.to_string() };
        let nav = Nav {
            tenant_name: self.tenant.name.clone(),
            tenant_slug: self.tenant.slug.to_string(),
            section,
            role: self.tenant.role.to_string(),
            may_audit: self.may(Permission::ViewAudit),
            firing: self.tenant.firing,
            notices: notices(self.visitor.standing(), section, &self.tenant),
            others: self.others.iter().map(link).collect(),
        };
        Layout { nav: Some(nav), ..self.visitor.layout(title) }
    }

    /// The tenant's name in URLs.
    pub fn slug(&self) -> &str {
        self.tenant.slug.as_str()
    }

    /// May the actor do that too? For parts of a page that not everybody sees.
    pub fn may(&self, permission: Permission) -> bool {
        self.actor.role.may(permission)
    }
}

impl<P: Needs> FromRequest for Allowed<P> {
    type Error = HtmlError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, HtmlError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signed_in = SignedIn::from_request(request, payload);
        let request = request.clone();
        let next = (request.method() == Method::GET).then(|| request.uri().to_string());
        async move {
            let SignedIn { visitor, session } = signed_in.await?;
            let slug = request.match_info().get("tenant").and_then(|text| text.parse().ok());
            let slug = slug.ok_or_else(|| HtmlError::not_found("page"))?;
            let found = accounts::member(&state(&request)?.platform, &session, &slug).await;
            let (tenant, others) = found.map_err(|error| HtmlError::first(error, next.as_deref()))?;
            let actor = tenant.actor(session.user);
            actor.require(P::PERMISSION)?;
            Ok(Self { actor, tenant, session, visitor, others, permission: PhantomData })
        }
        .boxed_local()
    }
}
