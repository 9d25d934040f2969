//! x
use trunkline_platform::{
    Error,
    mail::{Content, Letter},
};
use url::Url;
/// x
pub fn render(_: &Url, _: &Letter) -> Result<Content, Error> {
    Err(Error::internal("x"))
}
