//! Signed receipts of what retention has dropped: which places of a chain have lost their entries on purpose.

use aws_lc_rs::signature::Ed25519KeyPair;
use chrono::{DateTime, Utc};

use super::{
    checkpoint::{PublicKey, Unreadable, sign, signed_body},
    link::time,
};
use crate::ids::TenantId;

/// What retention has dropped of a chain with one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Whose chain.
    pub tenant: TenantId,
    /// The month, as `YYYYMM`.
    pub month: String,
    /// First and last place of each run without a gap, in order.
    pub runs: Vec<(u64, u64)>,
}

impl Receipt {
    /// The signed note: who, the month, the runs, when.
    pub fn sign(&self, at: DateTime<Utc>, key: &Ed25519KeyPair, public: &PublicKey) -> String {
        let runs: Vec<String> = self.runs.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let body = format!("trunkline/{}/retention\n{}\n{}\ntime {}\n", self.tenant, self.month, runs.join(" "), time(at));
        sign(&body, key, public)
    }

    /// Is that note a receipt, signed or not?
    pub fn is_one(note: &str) -> bool {
        note.lines().next().is_some_and(|line| line.ends_with("/retention"))
    }

    /// Reads a note and checks that the key has signed it.
    pub fn verify(note: &str, key: &PublicKey) -> Result<Self, Unreadable> {
        let body = signed_body(note, key)?;
        let mut lines = body.lines();
        let tenant = lines.next().and_then(|line| line.strip_prefix("trunkline/")?.strip_suffix("/retention")?.parse().ok());
        let month = lines.next().map(str::to_owned);
        let run = |text: &str| {
            let (first, last) = text.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let runs = lines.next().and_then(|line| line.split_whitespace().map(run).collect());
        match (tenant, month, runs) {
            (Some(tenant), Some(month), Some(runs)) => Ok(Self { tenant, month, runs }),
            _ => Err(Unreadable::Form),
        }
    }
}

/// All that retention has dropped of one chain.
#[derive(Debug, Clone, Default)]
pub(super) struct Dropped {
    runs: Vec<(u64, u64)>,
}

impl Dropped {
    /// What these receipts of one chain say together.
    pub(super) fn new<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Self {
        let mut runs: Vec<_> = receipts.flat_map(|receipt| receipt.runs.iter().copied()).collect();
        runs.sort_unstable();
        Self { runs }
    }

    /// The run which that place lies in.
    pub(super) fn run(&self, seq: u64) -> Option<(u64, u64)> {
        let after = self.runs.partition_point(|(first, _)| *first <= seq);
        self.runs.get(after.checked_sub(1)?).copied().filter(|(_, last)| seq <= *last)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{rand::SystemRandom, signature::KeyPair as _};

    use super::*;

    #[test]
    fn a_receipt_says_which_places_are_empty_on_purpose() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = PublicKey::new(pair.public_key().as_ref().try_into().unwrap());
        let tenant = TenantId::new(DateTime::UNIX_EPOCH);
        let receipt = Receipt { tenant, month: "202601".to_owned(), runs: vec![(1, 40), (43, 43)] };
        let note = receipt.sign(DateTime::UNIX_EPOCH, &pair, &public);
        assert!(Receipt::is_one(&note));
        assert_eq!(Receipt::verify(&note, &public), Ok(receipt.clone()));
        assert_eq!(Receipt::verify(&note.replace("43-43", "41-43"), &public), Err(Unreadable::Signature));
        let dropped = Dropped::new([&receipt].into_iter());
        let run = |seq| dropped.run(seq);
        assert_eq!(
            [run(0), run(1), run(40), run(41), run(43), run(44)],
            [None, Some((1, 40)), Some((1, 40)), None, Some((43, 43)), None]
        );
    }
}
