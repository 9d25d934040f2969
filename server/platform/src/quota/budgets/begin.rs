//! A budget's counter that is not in Redis, or has reservations that nobody settled: it begins with what the record has.

use std::sync::LazyLock;

use uuid::Uuid;

use super::{Reservation, budget::reservations_of, store};
use crate::{
    Platform,
    error::{Error, Result},
    ids::TenantId,
    redis::Script,
};

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));

/// Calls come to the record while it is read; each time there are fewer of them, as none is admitted meanwhile.
const ATTEMPTS: usize = 8;

/// Begins the counter. First what is reserved, then the record: a call that leaves the one for the other in between is noticed.
pub(in crate::quota) async fn begin(platform: &Platform, tenant: TenantId, reservation: &Reservation, day: i64) -> Result<()> {
    let counter = platform.redis.tenant_key(tenant, &reservation.key(day));
    let open = platform.redis.tenant_key(tenant, &reservations_of(&reservation.key(day)));
    let period = reservation.budget.period.around(day);
    for _ in 0..ATTEMPTS {
        let names = reserved(platform, &open).await?;
        let calls: Vec<Uuid> = names.iter().filter_map(|name| call_of(name)).collect();
        let mut tx = platform.db.tenant(tenant).await?;
        let (sum, of_calls) = store::spent(&mut tx, reservation.budget.scope, period, &calls).await?;
        tx.commit().await?;
        let mut script = BEGIN.prepare_invoke();
        script.key(&counter).key(&open).arg(sum).arg(reservation.lives_s(day));
        for name in &names {
            let cost = call_of(name).and_then(|call| of_calls.get(&call));
            script.arg(name).arg(cost.map(ToString::to_string).unwrap_or_default());
        }
        if platform.redis.run::<i64>(&script).await? == 1 {
            return Ok(());
        }
    }
    Err(Error::internal("a budget's counter cannot be begun: calls come to the record faster than it is read"))
}

/// Names of what is reserved. A key of another type is nothing of ours: it makes room.
async fn reserved(platform: &Platform, open: &str) -> Result<Vec<String>> {
    let mut range = redis::cmd("ZRANGE");
    range.arg(open).arg(0).arg(-1);
    match platform.redis.command(&range).await {
        Err(crate::redis::Away::Failed(error)) if error.code() == Some("WRONGTYPE") => {
            platform.redis.command::<i64>(redis::cmd("DEL").arg(open)).await?;
            Ok(Vec::new())
        }
        names => Ok(names?),
    }
}

/// The call in the name of a reservation: `{call}:{amount}`.
fn call_of(name: &str) -> Option<Uuid> {
    name.split_once(':').and_then(|(call, _)| Uuid::try_parse(call).ok())
}
