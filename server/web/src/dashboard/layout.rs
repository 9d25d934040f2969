//! The frame around every page: what `templates/layout` needs.

use actix_web::HttpRequest;

use crate::{assets, middleware::with_rendering};

/// The frame of a page.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The page's title.
    pub title: String,
    /// What scripts and styles of this answer carry.
    pub nonce: String,
    /// What forms of this page carry.
    pub csrf: String,
    /// A message from the page before.
    pub flash: Option<Flash>,
    /// Navigation, in a tenant.
    pub nav: Option<Nav>,
    /// Who is signed in.
    pub user_email: Option<String>,
}

/// A message about what has just happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// `success`, `error` or `info`.
    pub kind: &'static str,
    /// In a sentence.
    pub text: String,
}

/// Where the page stands.
#[derive(Debug, Clone)]
pub struct Nav {
    /// The tenant's name.
    pub tenant_name: String,
    /// Its name in URLs.
    pub tenant_slug: String,
    /// `home`, `agents`, `keys`, `clients`, `tools`, `sources`, `toolsets`, `status`, `alerts`, `logs`, `limits`, `connect`, `audit`, `members` or `settings`.
    pub section: &'static str,
    /// The member's role.
    pub role: String,
    /// May they see who changed what?
    pub may_audit: bool,
    /// Alerts that fire.
    pub firing: i32,
    /// What is not as it should be.
    pub notices: Vec<Notice>,
    /// Their other tenants.
    pub others: Vec<TenantLink>,
}

/// Something that whoever looks at numbers has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Is only what is shown behind? Else something does not work.
    pub is_stale: bool,
    /// In a few words.
    pub title: &'static str,
    /// What it means, and what helps.
    pub text: String,
}

/// A tenant to switch to.
#[derive(Debug, Clone)]
pub struct TenantLink {
    /// Its name.
    pub name: String,
    /// Its name in URLs.
    pub slug: String,
}

impl Layout {
    /// A frame without forms and navigation.
    pub fn bare(request: &HttpRequest, title: impl Into<String>) -> Self {
        let nonce = with_rendering(request, |rendering| rendering.nonce().to_owned());
        Self { title: title.into(), nonce, csrf: String::new(), flash: None, nav: None, user_email: None }
    }

    /// URL of a static file, such as `css/app.css`, with the hash of its content. A method: templates can call what they are given only.
    pub fn asset(&self, path: &str) -> String {
        assets::url(path)
    }
}
