//! Drops months of the record whose time has come. A month goes only when its chain was found as it was, a checkpoint beyond its entries is outside,
//! and so is a signed receipt of what goes. Verifying goes on from there.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};

use super::{
    deliver,
    outside::Outside,
    receipt::Receipt,
    signer::{self, Signer},
    store, verify,
};
use crate::{
    Platform,
    audit::Event,
    error::{Error, Result},
    ids::TenantId,
};

/// Who drops months.
const KEEPER: &str = "trunkline retention";

/// Drops what is older than the installation keeps, month by month, oldest first. Called by a background tick; does nothing where nothing says
/// how long. Fails, and drops nothing, where something is not proven yet or is not as it was.
pub async fn retain(platform: &Platform) -> Result<()> {
    let Some(months) = platform.settings.checkpoints.retention_months else { return Ok(()) };
    let first_kept = month_of(platform.clock.now()).checked_sub_months(Months::new(months)).unwrap_or_default();
    let mut tx = platform.db.chain().await?;
    let there = store::months(&mut tx).await?;
    tx.commit().await?;
    for month in there {
        let Some(first) = NaiveDate::parse_from_str(&format!("{month}01"), "%Y%m%d").ok().filter(|first| *first < first_kept)
        else {
            continue;
        };
        Month { name: month, first }.drop(platform).await?;
    }
    Ok(())
}

fn month_of(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive().with_day(1).unwrap_or_default()
}

/// A month of the record.
struct Month {
    /// As `YYYYMM`.
    name: String,
    first: NaiveDate,
}

impl Month {
    fn begins(&self) -> DateTime<Utc> {
        self.first.and_time(chrono::NaiveTime::MIN).and_utc()
    }

    fn ends(&self) -> DateTime<Utc> {
        self.begins().checked_add_months(Months::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    async fn drop(&self, platform: &Platform) -> Result<()> {
        let receipts = self.receipts(platform).await?;
        let key = signer::public_key(platform).await?;
        for receipt in &receipts {
            // What is not as it was is evidence: it stays.
            if let Err(finding) = verify(platform, receipt.tenant, &key, &Outside::default()).await? {
                return Err(Error::conflict(format!("{} stays: in the record of {}, {finding}.", self.name, receipt.tenant)));
            }
        }
        let (signer, now) = (signer::signer(platform).await?, platform.clock.now());
        let notes = sign(&receipts, &signer, now);
        for (receipt, note) in receipts.iter().zip(&notes) {
            deliver::deliver(platform, receipt.tenant, note).await?;
        }
        self.commit(platform, &receipts, &notes, now).await
    }

    /// What would go, for each tenant; fails while a checkpoint that vouches for it is not outside.
    async fn receipts(&self, platform: &Platform) -> Result<Vec<Receipt>> {
        let mut tx = platform.db.chain().await?;
        store::take_time(&mut tx).await?;
        let waiting = store::count_unchained(&mut tx, self.begins(), self.ends()).await?;
        let runs = store::runs(&mut tx, self.begins(), self.ends()).await?;
        let delivered: BTreeMap<TenantId, i64> = store::delivered_heads(&mut tx).await?.into_iter().collect();
        tx.commit().await?;
        let mut receipts = BTreeMap::<TenantId, Vec<(u64, u64)>>::new();
        for (tenant, first, last) in runs {
            if waiting > 0 || delivered.get(&tenant).is_none_or(|seq| *seq < last) {
                return Err(Error::conflict(format!(
                    "{} stays until all of it is signed, and the checkpoints are outside.",
                    self.name
                )));
            }
            let run = (u64::try_from(first).map_err(Error::internal)?, u64::try_from(last).map_err(Error::internal)?);
            receipts.entry(tenant).or_default().push(run);
        }
        let month = || self.name.clone();
        Ok(receipts.into_iter().map(|(tenant, runs)| Receipt { tenant, month: month(), runs }).collect())
    }

    /// All at once: the receipts, an entry for each tenant, and the month is gone.
    async fn commit(&self, platform: &Platform, receipts: &[Receipt], notes: &[String], now: DateTime<Utc>) -> Result<()> {
        let mut tx = platform.db.chain().await?;
        store::take_time(&mut tx).await?;
        if !store::lead(&mut tx, KEEPER).await? || !store::months(&mut tx).await?.contains(&self.name) {
            return Ok(());
        }
        let mut entries = 0;
        for (receipt, note) in receipts.iter().zip(notes) {
            let count = receipt.runs.iter().map(|(first, last)| last - first + 1).sum::<u64>();
            store::insert_receipt(&mut tx, receipt, note, now).await?;
            let event = Event::MonthDropped(receipt.tenant, self.name.clone(), count);
            store::insert_event(&mut tx, receipt.tenant, now, &event).await?;
            entries += count;
        }
        store::drop_month(&mut tx, &self.name).await?;
        // Nobody adds to the month any more: what was added since the receipts were written must not go with it.
        let waiting = store::count_unchained(&mut tx, self.begins(), self.ends()).await?;
        let links = store::count_links(&mut tx, self.begins(), self.ends()).await?;
        if waiting > 0 || u64::try_from(links).is_ok_and(|links| links != entries) {
            return Err(Error::conflict(format!("{} stays: entries came late. The next round looks again.", self.name)));
        }
        tx.commit().await?;
        tracing::info!(month = self.name, entries, "a month of the record was dropped");
        Ok(())
    }
}

fn sign(receipts: &[Receipt], signer: &Signer, now: DateTime<Utc>) -> Vec<String> {
    receipts.iter().map(|receipt| receipt.sign(now, &signer.pair, &signer.public)).collect()
}
