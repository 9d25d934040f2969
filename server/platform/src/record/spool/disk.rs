//! What lies on disk: intents, entries in the order in which they were kept, entries the database refuses. One folder per process.

use std::{os::unix::fs::DirBuilderExt as _, path::Path, time::Duration};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    call::{Entry, Outcome},
    ids::EntryId,
};

/// Version of what is written here.
const VERSION: u8 = 1;
/// What is written goes into tables when it has grown to this.
const MEMTABLE: u64 = 8 << 20;
/// The smallest bound there is for journals whose entries are in tables already.
const JOURNALS: u64 = 64 << 20;
/// Entries are read once, when they leave.
const CACHE: u64 = 1 << 20;
/// Written and removed when opening: a disk without room for it is full.
const PROBE: usize = 256 << 10;
/// Changes of one batch while opening.
const BATCH: usize = 1_000;
/// A folder of a process that has just ended may still be locked.
const LOCKED: (usize, Duration) = (20, Duration::from_millis(100));

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The store, or the disk below it.
    #[error("the spool's store failed: {0}")]
    Store(#[from] fjall::Error),
    /// The folder.
    #[error("the spool's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    /// Somebody else has the folder.
    #[error("another process uses the spool in {0}; each process needs a folder of its own (audit.spool_dir)")]
    Taken(String),
    /// It was written by another version.
    #[error("the spool was written by a later version of Trunkline")]
    Later,
}

/// An entry as it is written.
#[derive(Deserialize)]
struct Kept {
    v: u8,
    entry: Entry,
}

#[derive(Serialize)]
struct ToKeep<'a> {
    v: u8,
    entry: &'a Entry,
}

/// An entry as it is written. Entries are ours and can always be written as JSON; if not, nothing is what will be refused later.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(&ToKeep { v: VERSION, entry }).unwrap_or_default()
}

/// The entry that was written so, or nothing if this version cannot read it.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
    serde_json::from_slice::<Kept>(bytes).ok().filter(|kept| kept.v == VERSION).map(|kept| kept.entry)
}

/// One change, in the order of its arrival.
#[derive(Debug)]
pub(super) enum Change {
    /// The call is about to reach its upstream.
    Intend {
        /// Of which call.
        id: EntryId,
        /// The entry so far.
        bytes: Vec<u8>,
    },
    /// The call has ended.
    Keep {
        /// Where it stands among all.
        position: u64,
        /// Its intent, if there was one.
        intent: Option<EntryId>,
        /// The entry.
        bytes: Vec<u8>,
    },
}

/// What was found when opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// First position that is free.
    pub(super) next: u64,
    /// Last position that has left.
    pub(super) shipped: u64,
    /// Entries that wait.
    pub(super) waiting: u64,
    /// Their size.
    pub(super) bytes: u64,
    /// Entries that the database refused.
    pub(super) refused: u64,
    /// Calls that were cut when the process before ended.
    pub(super) cut: u64,
}

/// The open store.
pub(super) struct Disk {
    database: Database,
    meta: Keyspace,
    intents: Keyspace,
    entries: Keyspace,
    refused: Keyspace,
}

impl Disk {
    /// Opens the folder, made if it is not there, and makes sure that there is room to write.
    pub(super) fn open(dir: &Path) -> Result<Self, Fault> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let open = || Database::builder(dir).cache_size(CACHE).worker_threads(1).max_journaling_size(JOURNALS).open();
        let mut opened = open();
        for _ in 0..LOCKED.0 {
            if !matches!(opened, Err(fjall::Error::Locked)) {
                break;
            }
            std::thread::sleep(LOCKED.1);
            opened = open();
        }
        let database = match opened {
            Err(fjall::Error::Locked) => return Err(Fault::Taken(dir.display().to_string())),
            opened => opened?,
        };
        let keyspace = |name| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE));
        let (meta, intents, entries, refused) =
            (keyspace("meta")?, keyspace("intents")?, keyspace("entries")?, keyspace("refused")?);
        let disk = Self { database, meta, intents, entries, refused };
        disk.check_version()?;
        disk.probe()?;
        Ok(disk)
    }

    fn check_version(&self) -> Result<(), Fault> {
        match self.meta.get("version")? {
            Some(version) if version[..] != [VERSION] => Err(Fault::Later),
            Some(_) => Ok(()),
            None => {
                self.rename(Uuid::from_bytes(crate::random::bytes()))?;
                Ok(self.meta.insert("version", [VERSION])?)
            }
        }
    }

    /// Is there room? A store that opens on a full disk would fail with the next call.
    fn probe(&self) -> Result<(), Fault> {
        let mut batch = self.batch(PersistMode::SyncData);
        batch.insert(&self.meta, "probe", vec![1; PROBE]);
        batch.commit()?;
        Ok(self.meta.remove("probe")?)
    }

    fn batch(&self, mode: PersistMode) -> OwnedWriteBatch {
        self.database.batch().durability(Some(mode))
    }

    /// Makes entries of the intents that the process before has left, and counts what is there. Once per process.
    pub(super) fn recover(&self) -> Result<Found, Fault> {
        let shipped = self.number("shipped")?;
        let mut found = Found { shipped, next: shipped + 1, ..Found::default() };
        for guard in self.entries.iter() {
            let (key, value) = guard.into_inner()?;
            found.next = found.next.max(position(&key) + 1);
            found.waiting += 1;
            found.bytes += value.len() as u64;
        }
        found.refused = self.refused.iter().count() as u64;
        let mut batch = self.batch(PersistMode::SyncData);
        for guard in self.intents.iter() {
            let (key, value) = guard.into_inner()?;
            let bytes = match decode(&value) {
                Some(entry) => encode(&Entry { outcome: Outcome::Unknown, error: Some("process_ended".into()), ..entry }),
                // Whoever ships it will refuse it, and say so.
                None => value.to_vec(),
            };
            found.waiting += 1;
            found.bytes += bytes.len() as u64;
            found.cut += 1;
            batch.insert(&self.entries, found.next.to_be_bytes(), bytes);
            batch.remove(&self.intents, key);
            found.next += 1;
            if batch.len() >= 2 * BATCH {
                std::mem::replace(&mut batch, self.batch(PersistMode::SyncData)).commit()?;
            }
        }
        batch.commit()?;
        Ok(found)
    }

    /// Makes the changes, all or none. When this returns they survive the end of the process, and with `sync` that of the machine.
    pub(super) fn commit<'a>(&self, changes: impl Iterator<Item = &'a Change>, sync: bool) -> Result<(), Fault> {
        let mut batch = self.batch(if sync { PersistMode::SyncData } else { PersistMode::Buffer });
        for change in changes {
            match change {
                Change::Intend { id, bytes } => batch.insert(&self.intents, id.uuid().into_bytes(), &bytes[..]),
                Change::Keep { position, intent, bytes } => {
                    batch.insert(&self.entries, position.to_be_bytes(), &bytes[..]);
                    if let Some(id) = intent {
                        batch.remove(&self.intents, id.uuid().into_bytes());
                    }
                }
            }
        }
        Ok(batch.commit()?)
    }

    /// The next entries after a position, oldest first.
    pub(super) fn read(&self, after: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
        let range = self.entries.range((after + 1).to_be_bytes()..).take(most);
        range.map(|guard| guard.into_inner().map(|(key, value)| (position(&key), value.to_vec())).map_err(Fault::from)).collect()
    }

    /// Forgets entries that have left: all of them up to the last.
    pub(super) fn forget(&self, positions: &[u64]) -> Result<(), Fault> {
        let Some(last) = positions.last() else { return Ok(()) };
        let mut batch = self.batch(PersistMode::Buffer);
        for position in positions {
            batch.remove(&self.entries, position.to_be_bytes());
        }
        batch.insert(&self.meta, "shipped", last.to_be_bytes());
        Ok(batch.commit()?)
    }

    /// Puts an entry aside that the database refuses. True if it was not there yet.
    pub(super) fn set_aside(&self, position: u64, bytes: &[u8]) -> Result<bool, Fault> {
        let is_new = self.refused.get(position.to_be_bytes())?.is_none();
        let mut batch = self.batch(PersistMode::SyncData);
        batch.insert(&self.refused, position.to_be_bytes(), bytes);
        batch.commit()?;
        Ok(is_new)
    }

    /// Under which name positions are counted in Postgres.
    pub(super) fn name(&self) -> Result<Uuid, Fault> {
        let bytes = self.meta.get("name")?.unwrap_or_default();
        Ok(Uuid::from_slice(&bytes).unwrap_or_default())
    }

    /// Counts under another name from now on.
    pub(super) fn rename(&self, name: Uuid) -> Result<(), Fault> {
        let mut batch = self.batch(PersistMode::SyncData);
        batch.insert(&self.meta, "name", name.into_bytes());
        Ok(batch.commit()?)
    }

    fn number(&self, key: &str) -> Result<u64, Fault> {
        Ok(self.meta.get(key)?.map_or(0, |bytes| position(&bytes)))
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

fn position(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder of the test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("trunkline-spool-{}", crate::random::base62(10))))
        }

        /// As it would be found with the journal cut there.
        fn torn(&self, journal: &Path, cut: usize) -> Self {
            let torn = Self::new();
            copy_all(&self.0, &torn.0, &|name| name.extension().is_some_and(|ext| ext == "jnl"));
            let begin = std::fs::read(journal).unwrap();
            std::fs::write(torn.0.join(journal.file_name().unwrap()), &begin[..cut]).unwrap();
            torn
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn copy_all(from: &Path, to: &Path, without: &impl Fn(&Path) -> bool) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if without(&to) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                copy_all(&entry.path(), &to, without);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    fn keep(position: u64) -> Change {
        Change::Keep { position, intent: None, bytes: format!("entry {position}").into_bytes() }
    }

    fn positions(disk: &Disk) -> Vec<u64> {
        disk.read(0, 1_000).unwrap().into_iter().map(|(position, _)| position).collect()
    }

    /// The journal that is written to, and how far it is filled.
    fn journal(folder: &Folder) -> (PathBuf, usize) {
        let files = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
        let path = files.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max().expect("a journal");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::open(&path).unwrap(), 1 << 20), &mut bytes).unwrap();
        let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        (path, filled)
    }

    #[test]
    fn what_is_kept_is_there_after_opening_again_and_positions_go_on() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.0).unwrap();
        let name = disk.name().unwrap();
        assert_eq!(disk.recover().unwrap(), Found { next: 1, ..Found::default() });
        for position in 1..=5 {
            disk.commit([keep(position)].iter(), position % 2 == 0).unwrap();
        }
        disk.forget(&[1, 2, 3]).unwrap();
        drop(disk);
        let disk = Disk::open(&folder.0).unwrap();
        let found = disk.recover().unwrap();
        assert_eq!((found.next, found.shipped, found.waiting, found.bytes), (6, 3, 2, 14));
        assert_eq!((positions(&disk), disk.name().unwrap()), (vec![4, 5], name));
        disk.forget(&[4, 5]).unwrap();
        drop(disk);
        let found = Disk::open(&folder.0).unwrap().recover().unwrap();
        assert_eq!((found.next, found.shipped, found.waiting), (6, 5, 0), "an empty spool does not begin anew");
    }

    #[test]
    fn folder_has_one_process() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.0).unwrap();
        let refused = Disk::open(&folder.0).unwrap_err().to_string();
        assert!(refused.contains("another process") && refused.contains("audit.spool_dir"), "{refused}");
        drop(disk);
        Disk::open(&folder.0).unwrap();
    }

    /// L-05: power is lost while a batch is written. Whatever is torn is not acknowledged yet; all before it stays.
    #[test]
    fn l_05_a_torn_tail_costs_only_what_was_not_acknowledged() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.0).unwrap();
        disk.recover().unwrap();
        let mut filled = Vec::new();
        for position in 1..=8 {
            disk.commit([keep(position)].iter(), true).unwrap();
            filled.push(journal(&folder).1);
        }
        // As it lies on disk at that moment: what is open is copied, and cut.
        for (whole, pair) in filled.windows(2).enumerate().skip(5) {
            for cut in pair[0]..pair[1] {
                let torn = folder.torn(&journal(&folder).0, cut);
                let disk = Disk::open(&torn.0).unwrap();
                let found = disk.recover().unwrap();
                let kept = positions(&disk);
                let least: Vec<_> = (1..=whole as u64 + 1).collect();
                assert!(kept.starts_with(&least) && kept.len() <= least.len() + 1, "cut at {cut}: {kept:?}");
                assert_eq!(found.next, kept.len() as u64 + 1);
                disk.commit([keep(found.next)].iter(), true).unwrap();
            }
        }
    }
}
