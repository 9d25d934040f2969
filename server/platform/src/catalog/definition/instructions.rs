//! Texts that speak to the model behind the person's back. Words in order with few between them, held against sentences, so that a rule
//! costs a walk over the text and nothing can make it cost more. What was said before, word for word, does not count.

use std::collections::HashSet;

use super::{Finding, FindingKind};

/// Words that follow each other with at most this many between two of them.
const GAP: usize = 4;
/// A run of this many letters without a space is data, not language.
const ENCODED: usize = 160;

/// One of each group, in order.
type Rule = &'static [&'static [&'static str]];

const NEVER: &[&str] = &["not", "don't", "dont", "never", "without", "avoid"];
const SAYS: &[&str] = &[
    "tell",
    "telling",
    "inform",
    "informing",
    "mention",
    "mentioning",
    "notify",
    "notifying",
    "reveal",
    "revealing",
    "show",
    "showing",
    "disclose",
    "disclosing",
    "alert",
    "ask",
    "asking",
    "warn",
    "explain",
];
const PERSON: &[&str] = &["user", "users", "human", "person", "people", "anyone", "anybody", "them", "operator"];
const TAKES: &[&str] = &[
    "read",
    "send",
    "include",
    "provide",
    "pass",
    "paste",
    "give",
    "share",
    "upload",
    "attach",
    "return",
    "output",
    "print",
    "cat",
    "open",
    "supply",
    "copy",
    "forward",
    "append",
    "insert",
    "extract",
    "collect",
    "fetch",
    "load",
    "submit",
    "transmit",
    "leak",
    "post",
    "email",
    "exfiltrate",
];
const SECRETS: &[&str] = &[
    "password",
    "passwords",
    "passphrase",
    "secret",
    "secrets",
    "apikey",
    "credential",
    "credentials",
    "token",
    "tokens",
    "cookies",
    "id_rsa",
    "environment",
    "env",
    "conversation",
    "transcript",
    "history",
    "prompt",
    "wallet",
    "seed",
    "keychain",
];

const INSTRUCTIONS: &[Rule] = &[
    &[
        &["ignore", "disregard", "forget", "override", "bypass", "discard", "neglect"],
        &["previous", "prior", "above", "earlier", "preceding", "other", "existing", "system", "all", "any", "your"],
        &[
            "instruction",
            "instructions",
            "prompt",
            "prompts",
            "rules",
            "guidelines",
            "messages",
            "context",
            "tools",
            "restrictions",
        ],
    ],
    &[&["system", "developer"], &["prompt", "message", "instructions"]],
    &[NEVER, SAYS, PERSON],
    &[NEVER, SAYS, &["this", "it"], &["to"], PERSON],
    &[&["secretly", "silently", "covertly", "quietly", "unnoticed"]],
    &[
        &["before", "after", "whenever", "prior", "first", "every"],
        &["using", "calling", "invoking", "running", "use", "call", "invoke", "run", "executing", "time"],
        &["this", "any", "other", "another", "every", "all", "the"],
        &["tool", "tools", "function", "functions"],
    ],
    &[&["instead", "rather"], &["of", "than"], &["tool", "tools", "function"]],
    &[
        &["never", "not", "don't", "stop"],
        &["use", "using", "call", "calling"],
        &["other", "another", "any", "the"],
        &["tool", "tools"],
    ],
    &[
        &["always", "must", "required", "mandatory"],
        &["call", "use", "invoke", "run"],
        &["this", "first"],
        &["tool", "before", "first"],
    ],
    &[&["you"], &["are"], &["now"]],
    &[&["new", "updated", "real", "actual", "hidden", "secret"], &["instructions", "directive", "directives"]],
    &[&["pretend", "act"], &["as", "to"], &["if", "be", "an", "a", "the", "you"]],
    &[&["from"], &["now"], &["on"]],
    &[&["without"], &["confirmation", "permission", "approval", "consent", "asking"]],
    &[&["jailbreak"]],
    &[&["the", "your"], &["assistant", "ai", "model", "llm", "agent"], &["must", "should", "shall", "will", "has", "needs"]],
    &[&["as"], &["an"], &["ai", "assistant"]],
    &[&["do"], &["not"], &["follow", "obey"]],
];

const ASKS_FOR_SECRETS: &[Rule] = &[
    &[TAKES, SECRETS],
    &[TAKES, &["private", "ssh", "api", "access", "signing", "encryption"], &["key", "keys"]],
    &[&["contents", "content", "contains"], &["of"], &["file", "files", "config", "configuration"]],
    &[&["chat", "conversation", "message", "full", "entire", "previous"], &["history", "conversation", "transcript", "messages"]],
];

/// Marks that stand for themselves, in lower case.
const MARKS: &[(&str, FindingKind)] = &[
    ("<important", FindingKind::Instructions),
    ("<system", FindingKind::Instructions),
    ("<instruction", FindingKind::Instructions),
    ("<secret", FindingKind::Instructions),
    ("<hidden", FindingKind::Instructions),
    ("<|", FindingKind::Instructions),
    ("[inst]", FindingKind::Instructions),
    ("[system]", FindingKind::Instructions),
    ("### system", FindingKind::Instructions),
    ("begin system", FindingKind::Instructions),
    ("<!--", FindingKind::Instructions),
    ("~/.", FindingKind::AsksForSecrets),
    (".ssh/", FindingKind::AsksForSecrets),
    ("id_rsa", FindingKind::AsksForSecrets),
    ("id_ed25519", FindingKind::AsksForSecrets),
    ("/etc/passwd", FindingKind::AsksForSecrets),
    ("/etc/shadow", FindingKind::AsksForSecrets),
    (".aws/credentials", FindingKind::AsksForSecrets),
    ("mcp.json", FindingKind::AsksForSecrets),
    (".env file", FindingKind::AsksForSecrets),
    (".netrc", FindingKind::AsksForSecrets),
    ("process.env", FindingKind::AsksForSecrets),
    ("os.environ", FindingKind::AsksForSecrets),
];

/// Names of members that ask for what a tool has no business with.
const ASKING_NAMES: &[&str] = &[
    "systemprompt",
    "conversationhistory",
    "conversation",
    "chathistory",
    "privatekey",
    "sshkey",
    "password",
    "apikey",
    "credentials",
    "envvars",
    "environmentvariables",
    "sidenote",
    "secret",
    "accesstoken",
];

/// Ends of host names by which an address without a scheme is told from a file name.
const TOP_LEVEL: &[&str] = &[
    "com",
    "net",
    "org",
    "io",
    "dev",
    "app",
    "ai",
    "co",
    "xyz",
    "me",
    "info",
    "site",
    "online",
    "sh",
    "tk",
    "ru",
    "cn",
    "de",
    "uk",
    "top",
    "link",
    "live",
    "cloud",
    "tech",
    "workers.dev",
];

/// Adds what the new texts say and the old ones do not.
pub(super) fn introduced(before: &[(String, &str)], after: &[(String, &str)], found: &mut Vec<Finding>) {
    let said: HashSet<String> = before.iter().flat_map(|(_, text)| sentences(text)).map(plain).collect();
    let known: HashSet<String> = before.iter().flat_map(|(_, text)| addresses(text)).collect();
    for (place, text) in after {
        // What is new as a whole may have addresses, such as that of its manual: they are seen with the rest of it.
        let mut introduced = if before.is_empty() || is_identifier(place) { Vec::new() } else { addresses(text) };
        introduced.retain(|address| !known.contains(address));
        for address in introduced {
            found.push(Finding::new(FindingKind::NewUrl, place, address));
        }
        for sentence in sentences(text).filter(|sentence| !said.contains(&plain(sentence))) {
            for kind in judge(sentence) {
                found.push(Finding::new(kind, place, sentence.trim()));
            }
        }
    }
}

/// A resource's own URI, a schema's dialect: what something is called, not where somebody is sent.
fn is_identifier(place: &str) -> bool {
    matches!(place, "uri" | "uriTemplate") || [".$schema", ".$id", ".$ref"].iter().any(|member| place.ends_with(member))
}

fn judge(sentence: &str) -> Vec<FindingKind> {
    let plain = plain(sentence);
    let words: Vec<&str> = plain.split(' ').map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
    let mut kinds = Vec::new();
    if INSTRUCTIONS.iter().any(|rule| says(&words, rule)) {
        kinds.push(FindingKind::Instructions);
    }
    if ASKS_FOR_SECRETS.iter().any(|rule| says(&words, rule)) || is_asking_name(sentence) {
        kinds.push(FindingKind::AsksForSecrets);
    }
    kinds.extend(MARKS.iter().filter(|(mark, _)| plain.contains(mark)).map(|(_, kind)| *kind));
    if words.iter().any(|word| is_mixed(word)) || is_encoded(sentence) {
        kinds.push(FindingKind::Disguised);
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Sentences, lines and cells. Short enough to quote, long enough to hold one thought.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    // A full stop ends a sentence only before a space: `.ssh` and `a.b` stay whole.
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .char_indices()
            .find(|(at, c)| *c == '\n' || (matches!(c, '.' | '!' | '?' | ';') && rest[at + 1..].starts_with([' ', '\n', '\t'])))
            .map_or(rest.len(), |(at, c)| at + c.len_utf8());
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence)
    })
    .filter(|sentence| !sentence.trim().is_empty())
}

/// Lower case, one space between words, without emphasis and typographic quotes.
fn plain(text: &str) -> String {
    let lower: String = text
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            '’' | '‘' => '\'',
            '*' | '`' | '"' | '“' | '”' => ' ',
            c => c,
        })
        .collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn says(words: &[&str], rule: Rule) -> bool {
    let Some((first, rest)) = rule.split_first() else { return false };
    words.iter().enumerate().filter(|(_, word)| first.contains(*word)).any(|(start, _)| {
        rest.iter()
            .try_fold(start, |at, group| {
                let end = words.len().min(at + 2 + GAP);
                (at + 1..end).find(|next| group.contains(&words[*next]))
            })
            .is_some()
    })
}

/// Is the whole text one name, and that name a request?
fn is_asking_name(text: &str) -> bool {
    let name: String = text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect();
    !text.trim().contains(' ') && ASKING_NAMES.contains(&name.as_str())
}

/// Latin letters with Cyrillic or Greek ones among them.
fn is_mixed(word: &str) -> bool {
    let latin = word.chars().any(|c| c.is_ascii_alphabetic());
    let other = word.chars().any(|c| matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}'));
    latin && other
}

fn is_encoded(text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '%' | '\\')))
        .any(|run| run.len() >= ENCODED)
}

/// Addresses of the web and of mail, in lower case.
fn addresses(text: &str) -> Vec<String> {
    let tokens = text.split(|c: char| {
        c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | '"' | '\'' | '`' | ',' | ';' | '|')
    });
    let trimmed = tokens.map(|token| token.trim_end_matches(['.', ':', '!', '?', '*', '}']).to_lowercase());
    trimmed.filter(|token| is_address(token)).collect()
}

fn is_address(token: &str) -> bool {
    if token.contains("://") || token.starts_with("data:") || token.starts_with("javascript:") || token.starts_with("mailto:") {
        return true;
    }
    let host = token.split(['/', ':', '?', '#']).next().unwrap_or_default();
    let (user, domain) = host.rsplit_once('@').unwrap_or(("", host));
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'));
    let Some((name, end)) = domain.rsplit_once('.') else { return false };
    let numbers = domain.split('.').count() == 4 && domain.split('.').all(|part| part.parse::<u8>().is_ok());
    is_name(name)
        && (numbers || TOP_LEVEL.contains(&end))
        && (!user.is_empty() || host.len() < token.len() || host.starts_with("www.") || numbers)
}
