//! Names in a tenant: who has one keeps it, and nobody else gets one that looks like it comes from there.

use std::collections::{HashMap, HashSet};

use crate::{
    catalog::definition::ItemKind,
    ids::{DefinitionId, ToolId},
};

/// Who has which name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) tools: HashMap<String, Owner>,
    /// Of definitions that are not blocked and not removed.
    pub(super) keys: HashSet<(ItemKind, String)>,
    /// Names of the other sources whose names begin with theirs.
    pub(super) prefixes: HashSet<String>,
}

/// Whose a tool's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Somebody made the tool here.
    Person,
    /// The tool of a source that is gone: free for whoever brings the name again.
    Nobody(ToolId),
    /// A definition's.
    Definition(DefinitionId),
}

impl Names {
    /// Takes the name for a definition, known already or new. The error says whose it is.
    pub(super) fn claim(&mut self, kind: ItemKind, key: &str, by: Option<DefinitionId>) -> Result<(), String> {
        if self.keys.contains(&(kind, key.to_owned())) {
            return Err(format!("`{key}` belongs to another definition that was here first"));
        }
        if kind == ItemKind::Tools {
            match self.tools.get(key) {
                Some(Owner::Person) => return Err(format!("`{key}` is the name of a tool of yours")),
                Some(Owner::Definition(owner)) if Some(*owner) != by => {
                    return Err(format!("`{key}` is the name of a tool that another definition had first"));
                }
                _ => {}
            }
        }
        if matches!(kind, ItemKind::Tools | ItemKind::Prompts)
            && let Some((start, _)) = key.split_once('.')
            && self.prefixes.contains(start)
        {
            return Err(format!("`{key}` would look like it came from the source {start}"));
        }
        self.keys.insert((kind, key.to_owned()));
        Ok(())
    }

    /// The tool without a source that has the name.
    pub(super) fn adoptable(&self, name: &str) -> Option<ToolId> {
        match self.tools.get(name) {
            Some(Owner::Nobody(tool)) => Some(*tool),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_owner_and_cannot_be_imitated() {
        let now = chrono::DateTime::UNIX_EPOCH;
        let (mine, other, orphan) = (DefinitionId::new(now), DefinitionId::new(now), ToolId::new(now));
        let mut names = Names {
            tools: [
                ("ours".to_owned(), Owner::Person),
                ("theirs".to_owned(), Owner::Definition(other)),
                ("mine".to_owned(), Owner::Definition(mine)),
                ("orphan".to_owned(), Owner::Nobody(orphan)),
            ]
            .into(),
            keys: [(ItemKind::Prompts, "taken".to_owned())].into(),
            prefixes: ["github".to_owned()].into(),
        };
        for (kind, key) in [
            (ItemKind::Tools, "ours"),
            (ItemKind::Tools, "theirs"),
            (ItemKind::Prompts, "taken"),
            (ItemKind::Tools, "github.create_issue"),
            (ItemKind::Prompts, "github.x"),
        ] {
            assert!(names.claim(kind, key, Some(mine)).is_err(), "{key}");
        }
        assert!(names.claim(ItemKind::Tools, "mine", None).is_err());
        for (kind, key) in [
            (ItemKind::Tools, "mine"),
            (ItemKind::Tools, "orphan"),
            (ItemKind::Tools, "taken"),
            (ItemKind::Prompts, "ours"),
            (ItemKind::Tools, "github"),
            (ItemKind::Tools, "github_x.y"),
            (ItemKind::Resources, "github.txt"),
        ] {
            assert_eq!(names.claim(kind, key, Some(mine)), Ok(()), "{key}");
            assert!(names.claim(kind, key, None).is_err(), "{key}: taken now");
        }
        assert_eq!(names.adoptable("orphan"), Some(orphan));
        assert_eq!(names.adoptable("ours"), None);
    }
}
