//! A budget's counter that is not in Redis, or has reservations that nobody settled: it begins with what the record has.

use std::sync::LazyLock;

use uuid::Uuid;

use super::{
    Reservation,
    budget::{reservations_of, round_of},
    store,
};
use crate::{
    Platform,
    error::{Error, Result},
    ids::TenantId,
    random,
    redis::Script,
};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));

/// Calls come to the record while it is read; each time there are fewer of them, as none is admitted meanwhile.
const ATTEMPTS: usize = 8;
/// How long a round lasts at most, in seconds: longer than any reading of the record.
const ROUND_S: u64 = 60;

/// Begins the counter. First what is reserved, then the record: a call that leaves the one for the other in between is noticed. So is one whose reservation
/// Redis has forgotten: it is settled in vain, which ends the round, and what was read in it is not taken.
pub(in crate::quota) async fn begin(platform: &Platform, tenant: TenantId, reservation: &Reservation, day: i64) -> Result<()> {
    let key = |name: &str| platform.redis.tenant_key(tenant, name);
    let counter = reservation.key(day);
    let keys = [key(&counter), key(&reservations_of(&counter)), key(&round_of(&counter))];
    let period = reservation.budget.period.around(day);
    for _ in 0..ATTEMPTS {
        let mut claim = CLAIM.prepare_invoke();
        claim.key(&keys).arg(random::base62(12)).arg(ROUND_S);
        let claimed: Vec<String> = platform.redis.run(&claim).await?;
        let Some((round, names)) = claimed.split_first() else { return Ok(()) };
        let calls: Vec<Uuid> = names.iter().filter_map(|name| call_of(name)).collect();
        let mut tx = platform.db.tenant(tenant).await?;
        let (sum, of_calls) = store::spent(&mut tx, reservation.budget.scope, period, &calls).await?;
        tx.commit().await?;
        let mut script = BEGIN.prepare_invoke();
        script.key(&keys).arg(round).arg(sum).arg(reservation.lives_s(day));
        for name in names {
            let cost = call_of(name).and_then(|call| of_calls.get(&call));
            script.arg(name).arg(cost.map(ToString::to_string).unwrap_or_default());
        }
        if platform.redis.run::<i64>(&script).await? == 1 {
            return Ok(());
        }
    }
    Err(Error::internal("a budget's counter cannot be begun: calls come to the record faster than it is read"))
}

/// The call in the name of a reservation: `{call}:{amount}`.
fn call_of(name: &str) -> Option<Uuid> {
    name.split_once(':').and_then(|(call, _)| Uuid::try_parse(call).ok())
}
