//! Transactions that prove somebody decided about the tenant. Store functions take one; verbs begin and commit it.

use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::{Db, is_gone, unit};
use crate::{
    error::Result,
    ids::{TenantId, UserId},
};

type Inner = Transaction<'static, Postgres>;

/// A transaction that sees one tenant's rows and the global tables.
#[derive(Debug)]
pub struct TenantTx {
    inner: Inner,
    tenant: TenantId,
}

/// A transaction without a tenant: global tables only, plus a user's own memberships if it was begun for one.
#[derive(Debug)]
pub struct SystemTx {
    inner: Inner,
}

/// The record writer's transaction: may add calls, audit entries and sums for any tenant, and nothing else.
#[derive(Debug)]
pub struct RecordTx {
    inner: Inner,
}

/// The chainer's transaction: reads entries and calls of all tenants, and may add places in chains and checkpoints.
#[derive(Debug)]
pub struct ChainTx {
    inner: Inner,
}

impl Db {
    /// Begins a transaction in that tenant.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantTx> {
        let begin = format!("BEGIN; SELECT set_config('app.tenant', '{}', true)", tenant.uuid());
        Ok(TenantTx { inner: self.begin(begin).await?, tenant })
    }

    /// Begins a transaction in that tenant that only reads, and reads everything as it was at one moment.
    pub(crate) async fn tenant_snapshot(&self, tenant: TenantId) -> Result<TenantTx> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT set_config('app.tenant', ";
        Ok(TenantTx { inner: self.begin(format!("{begin}'{}', true)", tenant.uuid())).await?, tenant })
    }

    /// Begins a transaction without a tenant.
    pub async fn system(&self) -> Result<SystemTx> {
        Ok(SystemTx { inner: self.begin("BEGIN".to_owned()).await? })
    }

    /// Begins a transaction without a tenant that sees this user's memberships.
    pub async fn user(&self, user: UserId) -> Result<SystemTx> {
        let begin = format!("BEGIN; SELECT set_config('app.user', '{}', true)", user.uuid());
        Ok(SystemTx { inner: self.begin(begin).await? })
    }

    /// Begins a transaction of the record writer.
    pub(crate) async fn record(&self) -> Result<RecordTx> {
        Ok(RecordTx { inner: self.begin("BEGIN; SET LOCAL ROLE trunkline_audit".to_owned()).await? })
    }

    /// Begins a transaction of the chainer.
    pub(crate) async fn chain(&self) -> Result<ChainTx> {
        Ok(ChainTx { inner: self.begin("BEGIN; SET LOCAL ROLE trunkline_chain".to_owned()).await? })
    }

    /// One round trip, and never cut: see the module's head. Ids are the only thing spliced in, and they are hexadecimal. A connection that has died in the
    /// pool is noticed here, where nothing has been done on it yet, and the next one is taken. A question before would be a round trip more for each
    /// transaction.
    async fn begin(&self, statement: String) -> Result<Inner> {
        let (pool, within) = (self.pool().clone(), self.begin_within);
        unit(async move {
            let begun = async {
                for _ in 0..pool.size() {
                    match pool.begin_with(AssertSqlSafe(statement.clone())).await {
                        Err(error) if is_gone(&error) => {}
                        outcome => return outcome,
                    }
                }
                pool.begin_with(AssertSqlSafe(statement)).await
            };
            // One that is given up here is rolled back or closed on its way into the pool.
            tokio::time::timeout(within, begun).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
        })
        .await
    }
}

impl TenantTx {
    /// Whose rows this transaction sees.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Where statements run.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes the changes durable.
    pub async fn commit(self) -> Result<()> {
        unit(self.inner.commit()).await
    }
}

impl TenantTx {
    /// Goes on without a tenant: for changes of a person, which every tenant they belong to is told of.
    pub async fn leave(mut self) -> Result<SystemTx> {
        sqlx::query("SELECT set_config('app.tenant', '', true)").execute(&mut *self.inner).await?;
        Ok(SystemTx { inner: self.inner })
    }
}

impl SystemTx {
    /// Where statements run.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Goes on seeing this user's memberships.
    pub async fn act_for(mut self, user: UserId) -> Result<Self> {
        sqlx::query("SELECT set_config('app.user', $1, true)").bind(user.uuid().to_string()).execute(&mut *self.inner).await?;
        Ok(self)
    }

    /// Goes on in a tenant that has been found or made in this transaction.
    pub async fn enter(mut self, tenant: TenantId) -> Result<TenantTx> {
        sqlx::query("SELECT set_config('app.tenant', $1, true)")
            .bind(tenant.uuid().to_string())
            .execute(&mut *self.inner)
            .await?;
        Ok(TenantTx { inner: self.inner, tenant })
    }

    /// Makes the changes durable.
    pub async fn commit(self) -> Result<()> {
        unit(self.inner.commit()).await
    }
}

impl RecordTx {
    /// Where statements run.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes the records durable.
    pub(crate) async fn commit(self) -> Result<()> {
        unit(self.inner.commit()).await
    }
}

impl ChainTx {
    /// Where statements run.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes the places durable.
    pub(crate) async fn commit(self) -> Result<()> {
        unit(self.inner.commit()).await
    }
}
