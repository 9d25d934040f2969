//! Verifies a chain link by link, in memory that does not grow: from the database, or from an export and a public key alone.

use std::fmt;

use super::{
    checkpoint::Checkpoint,
    link::{self, Hash, ROOT},
};

/// What is wrong with a chain, and where it begins to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first entry that is not as it was signed, or is not there.
    pub seq: u64,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What can be wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Its place in the chain is gone.
    NoLink,
    /// Its place is there, the entry is not: it was deleted, or its partition was dropped.
    NoEntry,
    /// It is not what was hashed: a byte was changed, or another entry stands in its place.
    Changed,
    /// A checkpoint says that there was more.
    Truncated {
        /// How long the chain was when that was signed.
        signed: u64,
    },
    /// A checkpoint has another hash for it: everything up to it was written anew.
    Rewritten,
    /// A checkpoint cannot be believed.
    Checkpoint(String),
    /// An entry that has no place in the chain.
    Unchained(String),
    /// The readable part of an export says something else than what is hashed.
    Differs(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq;
        match &self.wrong {
            Wrong::NoLink => write!(f, "entry {seq} is missing from the chain"),
            Wrong::NoEntry => {
                write!(f, "entry {seq} is gone: it was deleted, or its partition was dropped without a retention record")
            }
            Wrong::Changed => write!(f, "entry {seq} is not what was hashed: it was changed, or another one stands in its place"),
            Wrong::Truncated { signed } => write!(f, "entry {seq} is missing: a checkpoint was signed when there were {signed}"),
            Wrong::Rewritten => write!(f, "entry {seq} has another hash than the checkpoint that was signed for it"),
            Wrong::Checkpoint(why) => write!(f, "the checkpoint of entry {seq} {why}"),
            Wrong::Unchained(id) => {
                write!(f, "{id} has no place in the chain (its end is entry {seq}): it was put in afterwards")
            }
            Wrong::Differs(member) => write!(f, "entry {seq}: `{member}` says something else than what is hashed"),
        }
    }
}

/// Goes along a chain.
#[derive(Debug, Clone, Copy)]
pub struct Verifier {
    seq: u64,
    head: Hash,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { seq: 0, head: ROOT }
    }
}

impl Verifier {
    /// Begins after that link, whose hash has to be proven by a later checkpoint.
    pub fn after(seq: u64, head: Hash) -> Self {
        Self { seq, head }
    }

    /// How far it has come.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of that link.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// The next link, as it is there.
    pub fn link(&mut self, seq: u64, hash: &[u8], entry: Option<&str>) -> Result<(), Finding> {
        let next = self.seq + 1;
        let wrong = |wrong| Err(Finding { seq: next, wrong });
        if seq != next {
            return wrong(Wrong::NoLink);
        }
        let Some(entry) = entry else { return wrong(Wrong::NoEntry) };
        if link::hash(&self.head, entry) != hash {
            return wrong(Wrong::Changed);
        }
        self.follow(entry);
        Ok(())
    }

    /// The next link, whose entry was dropped on purpose: its hash is believed, and proven by what comes after.
    pub fn pass(&mut self, seq: u64, hash: &[u8]) -> Result<(), Finding> {
        let next = self.seq + 1;
        if seq != next {
            return Err(Finding { seq: next, wrong: Wrong::NoLink });
        }
        self.head = hash.try_into().map_err(|_| Finding { seq, wrong: Wrong::Changed })?;
        self.seq = next;
        Ok(())
    }

    /// The next link, of which only the entry is there: its hash is proven by what comes after.
    pub fn follow(&mut self, entry: &str) {
        self.seq += 1;
        self.head = link::hash(&self.head, entry);
    }

    /// A checkpoint of the link where this stands.
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        if checkpoint.hash == self.head { Ok(()) } else { Err(Finding { seq: checkpoint.seq, wrong: Wrong::Rewritten }) }
    }

    /// A checkpoint of a link that this has not come to, though there are no more.
    pub fn end(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        if checkpoint.seq <= self.seq {
            return Ok(());
        }
        Err(Finding { seq: self.seq + 1, wrong: Wrong::Truncated { signed: checkpoint.seq } })
    }
}
