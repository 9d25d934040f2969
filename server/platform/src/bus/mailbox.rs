//! Mailboxes and their addresses.

use std::{fmt, str::FromStr, sync::PoisonError};

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::MOST_LETTERS;
use crate::Platform;

/// Where a mailbox is: `<replica>.<random>`. Unguessable; whoever has it may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) replica: String,
    pub(super) mailbox: String,
}

/// Not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address")]
pub struct InvalidAddress;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.replica, self.mailbox)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (replica, mailbox) = text.split_once('.').ok_or(InvalidAddress)?;
        let fits = replica.len() == 32
            && replica.bytes().all(|b| b.is_ascii_hexdigit())
            && mailbox.len() == 24
            && mailbox.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self { replica: replica.to_owned(), mailbox: mailbox.to_owned() }) } else { Err(InvalidAddress) }
    }
}

/// An open mailbox. Closed when dropped; letters to it are refused then.
pub struct Mailbox {
    platform: Platform,
    address: Address,
    letters: mpsc::Receiver<Box<RawValue>>,
}

impl Mailbox {
    /// Opens one on this replica.
    pub fn open(platform: &Platform) -> Self {
        let (sender, letters) = mpsc::channel(MOST_LETTERS);
        let address = Address { replica: platform.bus.replica.clone(), mailbox: crate::random::base62(24) };
        platform.bus.mailboxes.write().unwrap_or_else(PoisonError::into_inner).insert(address.mailbox.clone(), sender);
        Self { platform: platform.clone(), address, letters }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next letter. Waits for ever if none comes: bring a deadline.
    pub async fn next(&mut self) -> Option<Box<RawValue>> {
        self.letters.recv().await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.platform.bus.mailboxes.write().unwrap_or_else(PoisonError::into_inner).remove(&self.address.mailbox);
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("address", &self.address).finish_non_exhaustive()
    }
}
