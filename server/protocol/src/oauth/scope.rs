//! Scopes: what a credential may use. `tools:read` ⊂ `tools:write` ⊂ `tools:destructive` by the tool's effect, `tool:<name>` for one tool.

use std::{fmt, str::FromStr};

/// What a tool does to the world, from its annotations; the least trusted reading when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// `readOnlyHint: true`.
    Read,
    /// Changes things, but destroys nothing: `destructiveHint: false`.
    Write,
    /// Everything else, including what is not annotated.
    Destructive,
}

impl Effect {
    /// All effects, mildest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Destructive];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

impl FromStr for Effect {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == text).ok_or_else(|| InvalidScope(text.to_owned()))
    }
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All tools up to that effect.
    Tools(Effect),
    /// One tool, whatever its effect.
    Tool(String),
    /// One toolset.
    Toolset(String),
    /// Resources.
    ResourcesRead,
    /// Prompts.
    PromptsRead,
}

/// A text that is no scope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scope: expected tools:read, tools:write, tools:destructive, tool:<name>, toolset:<name>, resources:read or prompts:read"
)]
pub struct InvalidScope(pub String);

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope(text.to_owned());
        match text.split_once(':') {
            Some(("tools", effect)) => effect.parse().map(Self::Tools).map_err(|_| invalid()),
            Some(("tool", name)) if is_name(name) => Ok(Self::Tool(name.to_owned())),
            Some(("toolset", name)) if is_name(name) => Ok(Self::Toolset(name.to_owned())),
            Some(("resources", "read")) => Ok(Self::ResourcesRead),
            Some(("prompts", "read")) => Ok(Self::PromptsRead),
            _ => Err(invalid()),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tools(effect) => write!(f, "tools:{}", effect.as_str()),
            Self::Tool(name) => write!(f, "tool:{name}"),
            Self::Toolset(name) => write!(f, "toolset:{name}"),
            Self::ResourcesRead => f.write_str("resources:read"),
            Self::PromptsRead => f.write_str("prompts:read"),
        }
    }
}

/// A set of scopes, ordered and without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// From single scopes.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().collect();
        scopes.sort();
        scopes.dedup();
        Self(scopes)
    }

    /// Reads scopes separated by spaces, as RFC 6749 §3.3 writes them.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        text.split_ascii_whitespace().map(Scope::from_str).collect::<Result<Vec<_>, _>>().map(Self::new)
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Nothing allowed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does it open that tool?
    pub fn permits_tool(&self, name: &str, effect: Effect) -> bool {
        self.0.iter().any(|scope| match scope {
            Scope::Tools(up_to) => effect <= *up_to,
            Scope::Tool(one) => one == name,
            _ => false,
        })
    }

    /// The scopes of this set that the ceiling covers.
    #[must_use]
    pub fn within(&self, ceiling: &Self) -> Self {
        Self(self.0.iter().filter(|scope| ceiling.covers(&Self(vec![(*scope).clone()]))).cloned().collect())
    }

    /// Does it open everything that `other` opens, by scopes alone? `tool:x` is covered by a ceiling of `tools:destructive`, since that
    /// opens every tool; narrower ceilings cover it only by naming it.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| {
            self.0.iter().any(|have| match (have, wanted) {
                (Scope::Tools(have), Scope::Tools(wanted)) => wanted <= have,
                (Scope::Tools(Effect::Destructive), Scope::Tool(_)) => true,
                _ => have == wanted,
            })
        })
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).expect("valid scopes")
    }

    #[test]
    fn broader_scopes_imply_narrower_ones() {
        assert!(set("tools:write").permits_tool("a", Effect::Read));
        assert!(set("tools:write").permits_tool("a", Effect::Write));
        assert!(!set("tools:write").permits_tool("a", Effect::Destructive));
        assert!(set("tools:read tool:drop").permits_tool("drop", Effect::Destructive));
        assert!(!set("tool:drop").permits_tool("dropped", Effect::Read));
        assert!(!ScopeSet::default().permits_tool("a", Effect::Read));
    }

    #[test]
    fn ceiling_covers_what_it_opens_and_no_more() {
        assert!(set("tools:destructive").covers(&set("tools:read tool:x")));
        assert!(!set("tools:read").covers(&set("tools:write")));
        assert!(!set("tools:write").covers(&set("tool:x")));
        assert!(set("tools:read tool:x").covers(&set("tool:x")));
        assert_eq!(set("tools:read tools:write tool:x").within(&set("tools:read tool:x")), set("tools:read tool:x"));
    }

    #[test]
    fn text_form_is_ordered_and_rejects_strangers() {
        assert_eq!(set("tool:b tools:read tool:b").to_string(), "tools:read tool:b");
        for text in ["tools", "tools:all", "tool:", "tool:a b:c", "tool:ä", "admin"] {
            assert!(ScopeSet::parse(text).is_err(), "{text}");
        }
    }
}
