//! What came of each case, put together by requirement.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    panic::AssertUnwindSafe,
    time::Instant,
};

use futures_util::FutureExt as _;

use crate::support::{Answer, Page, say};

/// Fewer cases than these are not the matrix.
const LEAST: usize = 150;
/// Every requirement that has to occur.
const REQUIRED: &[&str] = &[
    "A-01", "A-02", "A-03", "A-04", "A-05", "A-06", "A-07", "A-08", "A-09", "A-10", "C-01", "C-02", "C-03", "C-04", "C-05",
    "C-10", "O-01", "O-02", "O-03", "O-04", "O-05", "O-06", "O-07", "O-08", "O-10", "O-11", "O-12", "O-13", "O-14", "O-15",
    "O-16", "O-17", "O-18", "O-20", "O-21", "O-22", "O-23", "O-24", "O-25", "O-26", "O-30", "O-31", "O-34", "O-40", "O-41",
    "O-42", "O-50", "O-51", "O-60",
];

/// Nothing, or what was seen instead of what had to be.
pub(super) type Seen = Result<(), String>;

/// The cases of one revision.
pub(super) struct Report {
    revision: &'static str,
    began: Instant,
    cases: BTreeSet<(&'static str, String)>,
    failures: Vec<String>,
    failed: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Without cases.
    pub(super) fn new(revision: &'static str) -> Self {
        Self { revision, began: Instant::now(), cases: BTreeSet::new(), failures: Vec::new(), failed: BTreeMap::new() }
    }

    /// Runs one case. What it panics with is what it saw.
    pub(super) async fn case(&mut self, id: &'static str, name: impl Into<String>, run: impl Future<Output = Seen>) {
        let name = name.into();
        let seen = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| Err(words(&*panic)));
        assert!(self.cases.insert((id, name.clone())), "two cases are called {id} {name}");
        if let Err(seen) = seen {
            *self.failed.entry(id).or_default() += 1;
            self.failures.push(format!("{} {id} {name}: {seen:.600}", self.revision));
        }
    }

    /// One line for each requirement and one for all; fails if anything failed or is missing.
    pub(super) fn finish(self) {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (id, _) in &self.cases {
            *counts.entry(id).or_default() += 1;
        }
        for (id, count) in &counts {
            let failed = self.failed.get(id).copied().unwrap_or_default();
            say(&format!("matrix {} {id}: {}/{count}", self.revision, count - failed));
        }
        let all = self.cases.len();
        let seconds = self.began.elapsed().as_secs();
        say(&format!("matrix {}: {}/{all} in {seconds} s", self.revision, all - self.failures.len()));
        assert!(self.failures.is_empty(), "{} of {all} failed:\n{}", self.failures.len(), self.failures.join("\n"));
        let missing: Vec<_> = REQUIRED.iter().filter(|id| !counts.contains_key(*id)).collect();
        assert!(missing.is_empty(), "without a case: {missing:?}");
        assert!(all >= LEAST, "{all} cases");
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without words"))
}

/// Are they the same?
#[expect(clippy::needless_pass_by_value, reason = "what was seen is mostly put together for the comparison")]
pub(super) fn same<T: PartialEq + Debug>(what: &str, seen: T, wanted: T) -> Seen {
    if seen == wanted { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {wanted:?}")) }
}

/// Does it hold?
pub(super) fn holds(what: &str, is_so: bool, seen: impl Debug) -> Seen {
    if is_so { Ok(()) } else { Err(format!("not so: {what}. Seen: {seen:?}")) }
}

/// Is it that refusal, as RFC 6749 §5.2 writes it, which nobody may keep?
pub(super) fn refused(answer: &Answer, status: u16, error: &str) -> Seen {
    let seen = (answer.status, answer.json["error"].as_str().unwrap_or(&answer.text), answer.header("cache-control"));
    same("refusal", seen, (status, error, "no-store"))?;
    let description = answer.json["error_description"].as_str().unwrap_or_default();
    let is_allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    holds("it says why, in characters of RFC 6749", !description.is_empty() && description.chars().all(is_allowed), description)?;
    let challenge = answer.header("www-authenticate");
    holds("a challenge with 401 and only then", challenge.starts_with("Basic ") == (status == 401), challenge)
}

/// Is it a page for the person, which leads nowhere?
pub(super) fn goes_nowhere(page: &Page) -> Seen {
    let seen = (page.status, page.location(), page.header("referrer-policy"));
    same("page", seen, (400, "", "no-referrer"))?;
    holds("HTML", page.header("content-type").starts_with("text/html"), page.header("content-type"))?;
    same(
        "cookies",
        page.headers.get_all("set-cookie").iter().filter(|cookie| cookie.as_bytes().starts_with(b"__Host-t")).count(),
        0,
    )
}

/// Was the browser led there with that error, and with everything once?
pub(super) fn told(page: &Page, redirect_uri: &str, state: &str, issuer: &str, error: &str) -> Seen {
    let wanted = (303, format!("{redirect_uri}?"), "no-referrer");
    let location = page.location();
    let begins = location.get(..wanted.1.len()).unwrap_or(location).to_owned();
    same("redirect", (page.status, begins, page.header("referrer-policy")), wanted)?;
    let fields = fields(location);
    let all = |name: &str| fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    same("error", all("error"), vec![error])?;
    same("state", all("state"), vec![state])?;
    same("iss", all("iss"), vec![issuer])?;
    same("code", all("code"), vec![])
}

/// The fields of an answer, also those that occur twice.
pub(super) fn fields(location: &str) -> Vec<(String, String)> {
    let query = location.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
