//! Whoever may mend a tool is told when it begins to fail and when it is well again: once each, in the transaction that notes it.

use super::{
    probe::{Health, Probe, Subject},
    store,
};
use crate::{
    Platform,
    actor::{Permission, Role},
    audit::{self, Event},
    db::TenantTx,
    error::Result,
    jobs::{self, Job},
    mail::{EmailAddress, Letter, ProbeLetter},
};

/// Writes the event and the letters of a change of health.
pub(super) async fn tell(platform: &Platform, tx: &mut TenantTx, probe: &Probe) -> Result<()> {
    let is_failing = probe.health == Health::Failing;
    let event = match (probe.subject, is_failing) {
        (Subject::Tool(id), true) => Event::ToolFailing(id, probe.failed.clone()),
        (Subject::Tool(id), false) => Event::ToolWell(id),
        (Subject::Source(id), true) => Event::SourceFailing(id, probe.failed.clone()),
        (Subject::Source(id), false) => Event::SourceWell(id),
    };
    audit::append_all(tx, platform.clock.now(), None, &[event]).await?;
    let (organisation, slug, name) = store::about(tx, probe.id).await?;
    let (tool, source) = match probe.subject {
        Subject::Tool(id) => (Some(id), None),
        Subject::Source(id) => (None, Some(id)),
    };
    let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(Permission::ManageTools)).map(Role::as_str).collect();
    for address in store::addresses(tx, &roles).await? {
        let letter = ProbeLetter {
            is_failing,
            organisation: organisation.clone(),
            slug: slug.clone(),
            tool,
            source,
            name: name.clone(),
            check: probe.failed.clone(),
            problem: probe.problem.clone(),
            is_hidden: probe.terms.hides,
        };
        let job = Job::SendLetter { to: EmailAddress::parse(&address)?, letter: Letter::Probe(Box::new(letter)) };
        jobs::enqueue(platform, tx, &job).await?;
    }
    Ok(())
}
