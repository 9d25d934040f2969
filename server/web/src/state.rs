//! What every handler can reach.

use trunkline_platform::Platform;

/// Shared by all workers; cheap to clone.
#[derive(Clone)]
pub struct WebState {
    /// The product.
    pub platform: Platform,
}
