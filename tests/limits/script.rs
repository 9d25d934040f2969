//! The script against a model of it: thousands of draws, the same in every run.

use std::collections::{HashMap, HashSet};

use trunkline_platform::{
    Platform,
    ids::{AgentId, TenantId},
    quota::{self, Bucket, Charge, Counted, Counter, Decision, Of, Question, Rate, Scope, Seats, WithoutRedis},
};

use super::day::redis;
use crate::support::{Draw, OwnRedis, TestApp};

/// What the script must know, in a few lines: so much is left of each.
#[derive(Default)]
struct Model {
    used: HashMap<String, u64>,
    seated: HashMap<String, HashSet<String>>,
    decided: HashMap<String, bool>,
}

impl Model {
    fn admit(&mut self, call: &str, charge: &Charge) -> bool {
        if let Some(before) = self.decided.get(call) {
            return *before;
        }
        let used = |name: &str| self.used.get(name).copied().unwrap_or(0);
        let fits = charge.buckets.iter().all(|bucket| used(&bucket.key) < u64::from(bucket.rate.burst))
            && charge.counters.iter().all(|counter| used(&counter.name) + counter.amount <= counter.most)
            && charge.seats.iter().all(|seats| self.seated.get(&seats.key).map_or(0, HashSet::len) < seats.most as usize);
        if fits {
            for bucket in &charge.buckets {
                *self.used.entry(bucket.key.clone()).or_default() += 1;
            }
            for counter in &charge.counters {
                *self.used.entry(counter.name.clone()).or_default() += counter.amount;
            }
            for seats in &charge.seats {
                self.seated.entry(seats.key.clone()).or_default().insert(call.to_owned());
            }
        }
        self.decided.insert(call.to_owned(), fits);
        fits
    }
}

/// A charge of some of ten limits of each kind; nothing comes back while this runs.
fn draw(draw: &mut Draw, agent: AgentId) -> Charge {
    let mut charge = Charge::default();
    for _ in 0..=draw.below(3) {
        let number = draw.below(10);
        let key = format!("q:b{number}");
        if charge.buckets.iter().all(|bucket| bucket.key != key) {
            let rate = Rate { per_minute: 1, burst: u32::try_from(5 + 7 * number).expect("small") };
            charge.buckets.push(Bucket { scope: Scope::Agent, key, rate });
        }
    }
    for _ in 0..draw.below(3) {
        let number = draw.below(10);
        let name = format!("n:c{number}");
        if charge.counters.iter().all(|counter| counter.name != name) {
            let (scope, of, amount) = (Scope::Day(Of::Agent), Counted::Agent(agent), 1 + draw.below(5));
            charge.counters.push(Counter { scope, of, name, amount, most: 20 + 30 * number });
        }
    }
    for _ in 0..draw.below(2) {
        let number = draw.below(10);
        let (scope, key, most) =
            (Scope::Concurrency(Of::Tool), format!("r:s{number}"), u32::try_from(3 + 9 * number).expect("small"));
        charge.seats.push(Seats { scope, key, most });
    }
    charge
}

async fn decide(platform: &Platform, tenant: TenantId, epoch: &str, call: &str, charge: &Charge) -> Decision {
    let question = Question {
        tenant,
        epoch,
        session: None,
        call: Some(call),
        life_ms: 600_000,
        once: None,
        strikes: None,
        charge,
        without_redis: WithoutRedis::Refuse,
    };
    quota::admit(platform, &question).await
}

#[tokio::test]
async fn the_script_decides_as_its_model_does() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tenant = acme.id;
    acme.tool("echo", crate::support::tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    // So that there is an epoch to be held against.
    assert!(agent.echo("x").await.is_ok());
    app.act(move |platform| async move {
        let epoch = platform.snapshots.get(&platform, "acme").await.expect("loaded").expect("there").epoch.clone();
        let (mut random, mut model) = (Draw::new(20_261_121), Model::default());
        let (mut charges, mut admitted): (Vec<Charge>, u32) = (Vec::new(), 0);
        for step in 0..1_500 {
            // One in five was asked before: its caller did not hear the answer.
            let again = step > 0 && random.below(5) == 0;
            let number = if again { usize::try_from(random.below(charges.len() as u64)).expect("small") } else { charges.len() };
            if !again {
                charges.push(draw(&mut random, agent.id));
            }
            let (call, charge) = (format!("call-{number}"), &charges[number]);
            let expected = model.admit(&call, charge);
            // A refusal is remembered for two seconds only: asked again later it is decided anew, and may not be admitted either.
            match decide(&platform, tenant, &epoch, &call, charge).await {
                Decision::Admitted { degraded: false, .. } => assert!(expected, "step {step}: {charge:?}"),
                Decision::Limited { degraded: false, .. } => assert!(!expected, "step {step}: {charge:?}"),
                other => panic!("step {step}: {other:?}"),
            }
            admitted += u32::from(expected && !again);
        }
        assert!((100..1_400).contains(&admitted), "{admitted}: the draw says nothing");
    })
    .await;
}

#[tokio::test]
async fn a_set_of_what_runs_outlives_each_of_its_members() {
    let redis_of_its_own = OwnRedis::start().await;
    let app = TestApp::builder().set("REDIS_URL", redis_of_its_own.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", crate::support::tools::echo()).await;
    assert!(acme.agent("agent", "tools:read").await.echo("x").await.is_ok());
    let (tenant, url) = (acme.id, redis_of_its_own.url());
    app.act(move |platform| async move {
        let epoch = platform.snapshots.get(&platform, "acme").await.expect("loaded").expect("there").epoch.clone();
        let seats = Seats { scope: Scope::Concurrency(Of::Tool), key: "r:set".to_owned(), most: 9 };
        let charge = Charge { seats: vec![seats], ..Charge::default() };
        let admit = async |call: &str| {
            let decision = decide(&platform, tenant, &epoch, call, &charge).await;
            assert!(matches!(decision, Decision::Admitted { degraded: false, .. }), "{call}: {decision:?}");
        };
        let key = redis::<Vec<String>>(&url, &["KEYS", "*:r:set"]).await;
        assert!(key.is_empty(), "{key:?}");
        admit("first").await;
        let key = redis::<Vec<String>>(&url, &["KEYS", "*:r:set"]).await.pop().expect("a set");
        let left_ms = async || redis::<i64>(&url, &["PTTL", &key]).await;
        assert!(left_ms().await > 3_500_000, "{}", left_ms().await);
        // Less than the ten minutes that each of these calls has.
        redis::<i64>(&url, &["PEXPIRE", &key, "500000"]).await;
        admit("second").await;
        assert!(left_ms().await > 3_500_000, "{}", left_ms().await);
        // Long enough: nothing is written.
        redis::<i64>(&url, &["PEXPIRE", &key, "700000"]).await;
        admit("third").await;
        assert!(left_ms().await <= 700_000, "{}", left_ms().await);
        assert_eq!(redis::<i64>(&url, &["ZCARD", &key]).await, 3);
    })
    .await;
}
