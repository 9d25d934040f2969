//! What was kept outside of the database: signed heads, and receipts of what was dropped.

use super::{
    checkpoint::{self, Checkpoint, PublicKey},
    receipt::Receipt,
    verify::{Finding, Wrong},
};

/// Signed notes, read and believed.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Heads of chains.
    pub checkpoints: Vec<Checkpoint>,
    /// What retention has dropped.
    pub receipts: Vec<Receipt>,
}

impl Outside {
    /// All notes of a file to which they were appended; the first that the key has not signed is a finding.
    pub fn read(file: &str, key: &PublicKey) -> Result<Self, Finding> {
        let mut outside = Self::default();
        for note in checkpoint::notes(file) {
            let read = if Receipt::is_one(&note) {
                Receipt::verify(&note, key).map(|receipt| outside.receipts.push(receipt))
            } else {
                Checkpoint::verify(&note, key).map(|checkpoint| outside.checkpoints.push(checkpoint))
            };
            read.map_err(|error| {
                let seq = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_default();
                Finding { seq, wrong: Wrong::Checkpoint(error.to_string()) }
            })?;
        }
        Ok(outside)
    }
}
