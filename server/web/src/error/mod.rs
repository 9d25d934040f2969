//! One rendering of failures per audience. Only these log server faults.

mod html;

pub use html::{ErrorPage, Failure, HtmlError};
