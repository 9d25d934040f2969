//! Whoever looks at a page, signed in or not.

use std::{pin::Pin, rc::Rc};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, http::Method, web};
use futures_util::FutureExt as _;
use trunkline_platform::{
    accounts::{self, Browser, Session},
    health::Standing,
    secret::Plaintext,
};

use super::{ClientIp, cookies, csrf, state};
use crate::{
    WebState,
    dashboard::layout::{Flash, Layout},
    error::HtmlError,
    middleware::with_rendering,
};

/// Anybody.
#[derive(Clone)]
pub struct Visitor {
    request: HttpRequest,
    state: web::Data<WebState>,
    session: Option<Rc<(Plaintext, Session)>>,
}

impl Visitor {
    /// The session, if somebody is signed in.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref().map(|(_, session)| session)
    }

    /// What this process knows of itself.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(&self.state.platform)
    }

    /// Lets forms of this page lead to that place outside.
    pub(crate) fn let_forms_lead_to(&self, source: String) {
        with_rendering(&self.request, |rendering| rendering.let_forms_lead_to(source));
    }

    /// The frame of a page for this visitor. The message for the next page is used up by it.
    pub fn layout(&self, title: impl Into<String>) -> Layout {
        let flash = cookies::read_flash(&self.state.platform, &self.request);
        if self.request.cookie(cookies::FLASH).is_some() {
            self.set_cookie(cookies::forget(cookies::FLASH));
        }
        Layout {
            csrf: self.csrf(),
            flash,
            user_email: self.session().map(|session| session.email.as_str().to_owned()),
            ..Layout::bare(&self.request, title)
        }
    }

    /// Leaves a message for the next page.
    pub fn leave_flash(&self, kind: &'static str, text: impl Into<String>) {
        self.set_cookie(cookies::flash(&self.state.platform, &Flash { kind, text: text.into() }));
    }

    /// The cookie by which this browser is signed in from now on.
    pub(crate) fn sign_in(&self, secret: &Plaintext) {
        self.set_cookie(cookies::session(secret, self.state.platform.settings.accounts.session_days));
        self.set_cookie(cookies::forget(cookies::VISITOR));
    }

    /// Makes the browser forget its session.
    pub(crate) fn sign_out(&self) {
        self.set_cookie(cookies::forget(cookies::SESSION));
    }

    /// The secret of the session's cookie, whether or not it is still good for anything.
    pub(crate) fn session_secret(&self) -> Option<Plaintext> {
        cookies::read(&self.request, cookies::SESSION)
    }

    /// The secret that ties challenges to this browser; a fresh one if it has none.
    pub(crate) fn attempt_secret(&self) -> Plaintext {
        cookies::read(&self.request, cookies::ATTEMPT).unwrap_or_else(|| {
            let secret = Plaintext::generate("");
            self.set_cookie(cookies::attempt(&secret));
            secret
        })
    }

    /// The browser, for the list of sessions.
    pub(crate) fn browser(&self, ip: ClientIp) -> Browser {
        Browser { user_agent: self.user_agent(), from: ip.0 }
    }

    /// Goes on with another secret, and so ends whatever had the old one.
    pub(crate) async fn replace_session(&self, secret: &Plaintext) -> Result<(), HtmlError> {
        if let Some(old) = self.session_secret() {
            accounts::log_out(&self.state.platform, &old).await?;
        }
        self.sign_in(secret);
        Ok(())
    }

    /// What the browser says it is.
    pub(crate) fn user_agent(&self) -> String {
        let header = self.request.headers().get(actix_web::http::header::USER_AGENT);
        header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    fn csrf(&self) -> String {
        if let Some(session) = &self.session {
            return csrf::token(&self.state.platform, &session.0);
        }
        let cookie = cookies::read(&self.request, cookies::VISITOR).unwrap_or_else(|| {
            let cookie = Plaintext::generate("");
            self.set_cookie(cookies::visitor(&cookie));
            cookie
        });
        csrf::token(&self.state.platform, &cookie)
    }

    fn set_cookie(&self, cookie: actix_web::cookie::Cookie<'static>) {
        with_rendering(&self.request, |rendering| rendering.set_cookie(cookie));
    }

    async fn load(request: HttpRequest) -> Result<Self, HtmlError> {
        // Several parameters of one handler ask; the database is asked once.
        if let Some(known) = request.extensions().get::<Known>() {
            return Ok(Self { request: request.clone(), state: state(&request)?, session: known.0.clone() });
        }
        let state = state(&request)?;
        let session = match cookies::read(&request, cookies::SESSION) {
            Some(secret) => {
                let session = accounts::find_session(&state.platform, &secret).await?;
                session.map(|session| Rc::new((secret, session)))
            }
            None => None,
        };
        request.extensions_mut().insert(Known(session.clone()));
        Ok(Self { request, state, session })
    }
}

/// What the cookie has turned out to be.
struct Known(Option<Rc<(Plaintext, Session)>>);

impl FromRequest for Visitor {
    type Error = HtmlError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, HtmlError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Self::load(request.clone()).boxed_local()
    }
}

/// Somebody who is signed in. Others are led to the log-in page, and from there back.
#[derive(Clone)]
pub struct SignedIn {
    /// As a visitor.
    pub visitor: Visitor,
    /// Their session.
    pub session: Session,
}

impl FromRequest for SignedIn {
    type Error = HtmlError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, HtmlError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // A page can be come back to; a form that was sent cannot.
        let next = (request.method() == Method::GET).then(|| request.uri().to_string());
        let visitor = Visitor::from_request(request, payload);
        async move {
            let visitor = visitor.await?;
            let session = visitor.session().cloned().ok_or(HtmlError::SignIn(next))?;
            Ok(Self { visitor, session })
        }
        .boxed_local()
    }
}
