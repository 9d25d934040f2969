//! What a call has cost takes the place of what was reserved for it, once its entry is in Postgres. So a counter that has to begin with the record
//! misses nothing, and what a killed process had reserved is settled by whoever ships its entries.

use std::{collections::BTreeMap, sync::LazyLock};

use super::budget::{reservations_of, round_of};
use crate::{
    Platform,
    call::{Entry, Reserved},
    ids::TenantId,
    quota::Charge,
    redis::{Away, Script},
};

static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("settle.lua")));

/// Most counters of one script.
const BATCH: usize = 200;

/// What that charge reserves on that day. `None`: it touches no budget.
pub fn reserved(charge: &Charge, day: i64) -> Option<Reserved> {
    let micro = charge.budgets.first()?.amount_micro;
    Some(Reserved { micro, counters: charge.budgets.iter().map(|reservation| reservation.key(day)).collect() })
}

/// Settles calls whose entries are in Postgres. Twice is once.
pub async fn settle(platform: &Platform, entries: &[&Entry]) -> Result<(), Away> {
    let mut by_tenant: BTreeMap<TenantId, Vec<(&Entry, &Reserved, &str)>> = BTreeMap::new();
    for entry in entries {
        let Some(reserved) = &entry.reserved else { continue };
        let counters = reserved.counters.iter().map(|counter| (*entry, reserved, counter.as_str()));
        by_tenant.entry(entry.tenant).or_default().extend(counters);
    }
    for (tenant, all) in by_tenant {
        for some in all.chunks(BATCH) {
            let mut script = SETTLE.prepare_invoke();
            for (entry, reserved, counter) in some {
                let key = |name: &str| platform.redis.tenant_key(tenant, name);
                script.key(key(counter)).key(key(&reservations_of(counter))).key(key(&round_of(counter)));
                script.arg(format!("{}:{}", entry.id.uuid().simple(), reserved.micro));
                script.arg(entry.cost_micro.saturating_sub(reserved.micro)).arg(entry.cost_micro);
            }
            platform.redis.run::<i64>(&script).await?;
        }
    }
    Ok(())
}
