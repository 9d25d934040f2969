//! What a certificate is worth in a tenant, found out once per certificate and remembered as long as the tenant stays as it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{CertificatePolicy, ClientCertificate, name::names_of, store};
use crate::{db::TenantTx, error::Result, ids::AgentId};

/// Authorities of one tenant.
const MOST_AUTHORITIES: usize = 20;
/// Certificates that are remembered; beyond, all are forgotten.
const MOST_JUDGED: usize = 4_096;
/// For how long a verdict counts, in seconds: a certificate may end meanwhile.
const JUDGED_FOR_S: i64 = 60;

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The agent that its names stand for, if they stand for one.
    pub agent: Option<AgentId>,
    names: Vec<String>,
}

impl Identity {
    /// Does it have that name?
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name)
    }
}

/// Until when a verdict counts, and what it is.
type Verdict = (i64, Option<Arc<Identity>>);

/// Whom a tenant believes.
#[derive(Default)]
pub struct CertificateTrust {
    required: bool,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    names: HashMap<String, AgentId>,
    judged: Mutex<HashMap<[u8; 32], Verdict>>,
}

impl std::fmt::Debug for CertificateTrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateTrust")
            .field("required", &self.required)
            .field("names", &self.names.len())
            .finish_non_exhaustive()
    }
}

impl CertificateTrust {
    /// Of the tenant of that transaction.
    pub(crate) async fn load(tx: &mut TenantTx) -> Result<Self> {
        let policy = store::policy(tx).await?;
        let names = store::agents_by_name(tx).await?;
        Ok(Self::new(&policy, names))
    }

    fn new(policy: &CertificatePolicy, names: HashMap<String, AgentId>) -> Self {
        let verifier = (!policy.bundle.is_empty()).then(|| authorities(&policy.bundle)).transpose();
        let verifier = verifier.unwrap_or_else(|why| {
            tracing::error!(why, "the certification authorities of a tenant cannot be read: no certificate counts there");
            None
        });
        Self { required: policy.required, verifier, names, judged: Mutex::default() }
    }

    /// Is nobody served without a certificate?
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whose it is, if one of the tenant's authorities says so and it is valid at that time.
    pub fn verify(&self, certificate: &ClientCertificate, now: DateTime<Utc>) -> Option<Arc<Identity>> {
        let (digest, now_s) = (certificate.digest(), now.timestamp());
        let lock = || self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, identity)) = lock().get(&digest)
            && (*until - JUDGED_FOR_S..*until).contains(&now_s)
        {
            return identity.clone();
        }
        // Not under the lock: others need not wait for this one's signatures.
        let identity = self.judge(certificate, now).map(Arc::new);
        let mut judged = lock();
        if judged.len() >= MOST_JUDGED {
            judged.clear();
        }
        judged.insert(digest, (now_s + JUDGED_FOR_S, identity.clone()));
        identity
    }

    fn judge(&self, certificate: &ClientCertificate, now: DateTime<Utc>) -> Option<Identity> {
        let (own, between) = certificate.chain();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.timestamp()).ok()?));
        self.verifier.as_ref()?.verify_client_cert(own, between, now).ok()?;
        let names = names_of(own);
        let mut agents = names.iter().filter_map(|name| self.names.get(name).copied());
        let first = agents.next();
        // Names that stand for different agents stand for none.
        let agent = first.filter(|first| agents.all(|other| other == *first));
        Some(Identity { agent, names })
    }
}

/// Reads certification authorities; says what is wrong with them.
pub(super) fn authorities(bundle: &str) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect();
    let certificates = certificates.map_err(|_| "expected certificates as PEM".to_owned())?;
    if certificates.is_empty() || certificates.len() > MOST_AUTHORITIES {
        return Err(format!(
            "expected 1 to {MOST_AUTHORITIES} certificates as PEM, each between BEGIN CERTIFICATE and END CERTIFICATE"
        ));
    }
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| format!("certificate {} cannot be read as a certification authority", i + 1))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| -> Arc<dyn ClientCertVerifier> { verifier }).map_err(|error| error.to_string())
}
