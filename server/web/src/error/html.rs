//! Failures as people see them.

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{LOCATION, REFERRER_POLICY, RETRY_AFTER},
    },
};
use askama::Template;
use trunkline_platform::{Error, ErrorKind, Step};

use crate::{dashboard::layout::Layout, middleware, urls};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    /// The verb failed.
    #[error(transparent)]
    Platform(#[from] Error),
    /// Nobody is signed in; the text is the path to come back to.
    #[error("sign in first")]
    SignIn(Option<String>),
    /// The person has to do something first, at that path.
    #[error("something else comes first")]
    First(String),
    /// The form does not come from a page of ours, or from one that has run out.
    #[error("the form does not come from here")]
    Forged,
    /// The form's body is not a form, is too large or did not come in time.
    #[error("{1}")]
    BadForm(StatusCode, String),
    /// The path exists, not with this method; the text lists those it has.
    #[error("wrong method")]
    WrongMethod(String),
    /// A client's request that cannot be answered to the client; the text says why.
    #[error("{0}")]
    Client(String),
    /// A template failed.
    #[error("a template failed")]
    Template(#[from] askama::Error),
}

/// What the page about a failure says. Travels with the response to the place where it is rendered.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its status.
    pub status: StatusCode,
    /// In a few words.
    pub title: &'static str,
    /// In a sentence, and what to do.
    pub text: String,
}

impl HtmlError {
    /// No such thing, or not for this visitor.
    pub fn not_found(what: &'static str) -> Self {
        Self::Platform(Error::not_found(what))
    }

    /// A verb's failure on the way to that page; what has to be done first leads back to it.
    pub fn first(error: Error, next: Option<&str>) -> Self {
        let ErrorKind::First(step) = error.kind() else { return error.into() };
        let next = next.unwrap_or(match step {
            Step::Prove => urls::account_security(),
            _ => urls::start(),
        });
        Self::First(match step {
            Step::Prove => urls::prove_then(next),
            Step::SignIn => urls::login_then(next),
            Step::SignOn(slug) => urls::sso_then(slug, next),
            Step::SecondFactor(slug) => urls::second_factor_for(slug),
        })
    }

    fn failure(&self) -> Failure {
        let (status, title, text) = match self {
            Self::Platform(error) => return of_platform(error),
            Self::First(_) => (StatusCode::SEE_OTHER, "Something else comes first", String::new()),
            Self::SignIn(_) => (StatusCode::SEE_OTHER, "Log in first", String::new()),
            Self::Forged => (
                StatusCode::FORBIDDEN,
                "This form has expired",
                "Nothing was changed. Go back, load the page again and send the form once more.".to_owned(),
            ),
            Self::BadForm(status, text) => (*status, "This cannot be read", text.clone()),
            Self::WrongMethod(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Not this way",
                "This address exists, but it cannot be used like this.".to_owned(),
            ),
            Self::Client(why) => {
                let text = format!(
                    "What the application sent here cannot be used: {why}. Nothing was allowed and nothing was sent back."
                );
                (StatusCode::BAD_REQUEST, "This application cannot be connected", text)
            }
            Self::Template(_) => return of_platform(&Error::new(ErrorKind::Internal)),
        };
        Failure { status, title, text }
    }
}

fn of_platform(error: &Error) -> Failure {
    let (status, title) = match error.kind() {
        ErrorKind::NotFound("link" | "invitation" | "sign-in") => {
            let text = "It has expired, was used already, or was never sent. Ask for a new one.".to_owned();
            return Failure { status: StatusCode::NOT_FOUND, title: "This link does not work", text };
        }
        // One page for all that is not there, whatever it was: what is another's must look like what is nobody's.
        ErrorKind::NotFound(_) => {
            let text = "There is nothing at this address, or nothing for you.".to_owned();
            return Failure { status: StatusCode::NOT_FOUND, title: "Page not found", text };
        }
        ErrorKind::Conflict(_) => (StatusCode::CONFLICT, "That does not work"),
        ErrorKind::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Something does not fit"),
        ErrorKind::Denied(_) => (StatusCode::FORBIDDEN, "Not with your role"),
        ErrorKind::First(_) => (StatusCode::SEE_OTHER, "Something else comes first"),
        ErrorKind::Exhausted { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many attempts"),
        ErrorKind::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Back in a moment"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
    };
    let text = match error.kind() {
        ErrorKind::Internal => "It is our fault. If it stays, tell us the request's id.".to_owned(),
        _ => error.to_string(),
    };
    Failure { status, title, text }
}

impl ResponseError for HtmlError {
    fn status_code(&self) -> StatusCode {
        self.failure().status
    }

    fn error_response(&self) -> HttpResponse {
        log(self);
        if let Self::Platform(error) = self
            && let ErrorKind::First(_) = error.kind()
        {
            // A form: the page it stands on can be come back to, the form cannot.
            let first = Self::first(Error::new(error.kind().clone()), None);
            return first.error_response();
        }
        let failure = self.failure();
        let mut response = HttpResponse::build(failure.status);
        match self {
            Self::SignIn(next) => {
                let url = next.as_deref().map_or_else(|| urls::login().to_owned(), urls::login_then);
                return response.insert_header((LOCATION, url)).finish();
            }
            // The address of this page is the application's.
            Self::Client(_) => {
                response.insert_header((REFERRER_POLICY, "no-referrer"));
            }
            Self::First(url) => return response.insert_header((LOCATION, url.as_str())).finish(),
            Self::WrongMethod(allowed) => {
                response.insert_header(("allow", allowed.as_str()));
            }
            Self::Platform(error) => match error.kind() {
                ErrorKind::Exhausted { retry_after_ms } => {
                    response.insert_header((RETRY_AFTER, retry_after_ms.div_ceil(1000).to_string()));
                }
                ErrorKind::Unavailable(_) => {
                    response.insert_header((RETRY_AFTER, "5"));
                }
                _ => {}
            },
            _ => {}
        }
        let mut response = response.finish();
        response.extensions_mut().insert(failure);
        response
    }
}

/// One line per fault of ours, here and nowhere else; the span adds the request's id.
fn log(error: &HtmlError) {
    match error {
        HtmlError::Platform(error) => match error.kind() {
            ErrorKind::Internal => tracing::error!(error = error as &dyn std::error::Error, "a page failed"),
            ErrorKind::Unavailable(what) => {
                tracing::warn!(dependency = what, error = error as &dyn std::error::Error, "a page could not be served");
            }
            _ => {}
        },
        HtmlError::Template(error) => tracing::error!(error = error as &dyn std::error::Error, "a page failed"),
        _ => {}
    }
}

/// The page about a failure.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    layout: Layout,
    status: u16,
    heading: &'static str,
    text: String,
    back_url: &'static str,
    back_label: &'static str,
    request_id: String,
}

impl ErrorPage {
    /// The page about that failure of that request.
    pub fn new(request: &HttpRequest, failure: &Failure) -> Self {
        Self {
            layout: Layout::bare(request, failure.title),
            status: failure.status.as_u16(),
            heading: failure.title,
            text: failure.text.clone(),
            back_url: urls::start(),
            back_label: "Go to the start page",
            request_id: middleware::request_id(request),
        }
    }
}
