//! Names, files, and what of them is durable.

use super::faults::{Counters, Faults};
use std::collections::BTreeMap;
use std::io;

pub(super) type FileId = u64;

#[derive(Clone, Default)]
pub(super) struct State {
    /// What a process sees.
    pub(super) live: BTreeMap<String, FileId>,
    /// What a power cut leaves for sure.
    pub(super) durable: BTreeMap<String, FileId>,
    /// What happened to names since their directory was synced.
    pub(super) pending: Vec<NameChange>,
    pub(super) files: BTreeMap<FileId, FileState>,
    pub(super) next_file: FileId,
    /// Rises with every power cut.
    pub(super) boot: u64,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { name: String, file: FileId },
    Rename { from: String, to: String, file: FileId },
    Remove { name: String, file: FileId },
}

#[derive(Clone, Default)]
pub(super) struct FileState {
    pub(super) durable: Vec<u8>,
    pub(super) current: Vec<u8>,
    /// What happened to the contents since they were synced.
    pub(super) pending: Vec<ContentChange>,
}

#[derive(Clone)]
pub(super) enum ContentChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl NameChange {
    fn directory(&self) -> &str {
        let (Self::Create { name, .. } | Self::Rename { to: name, .. } | Self::Remove { name, .. }) =
            self;
        directory(name)
    }

    /// Carries the change out on `names`, as far as it still makes sense there.
    pub(super) fn carry_out(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Create { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to, file } => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Remove { name, file } => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }
}

fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl FileState {
    pub(super) fn write(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[offset..end].copy_from_slice(bytes);
    }
}

impl State {
    pub(super) fn file(&mut self, id: FileId) -> io::Result<&mut FileState> {
        self.files.get_mut(&id).ok_or_else(|| io::Error::other("the file is gone"))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.current.len() as u64).sum()
    }

    pub(super) fn put(&mut self, name: &str, contents: &[u8]) {
        let id = self.next_file;
        self.next_file += 1;
        let (durable, current) = (contents.to_vec(), contents.to_vec());
        self.files.insert(id, FileState { durable, current, pending: Vec::new() });
        self.live.insert(name.to_owned(), id);
        self.durable.insert(name.to_owned(), id);
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, FileState::default());
        self.change_name(NameChange::Create { name: name.to_owned(), file });
        Ok(file)
    }

    pub(super) fn list(&self, directory_wanted: &str) -> Vec<String> {
        let names = self.live.keys().filter(|name| directory(name) == directory_wanted);
        names.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect()
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = *self.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change_name(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let file = *self.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.change_name(NameChange::Remove { name: name.to_owned(), file });
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        change.carry_out(&mut self.live);
        self.pending.push(change);
        self.forget_unreachable();
    }

    /// Lets go of files that no name can lead to any more. (An open one without
    /// a name is of no use to anybody here.)
    pub(super) fn forget_unreachable(&mut self) {
        let reachable = |id: &FileId| {
            self.live.values().any(|file| file == id)
                || self.durable.values().any(|file| file == id)
                || self.pending.iter().any(|change| {
                    let (NameChange::Create { file, .. }
                    | NameChange::Rename { file, .. }
                    | NameChange::Remove { file, .. }) = change;
                    file == id
                })
        };
        let gone: Vec<FileId> = self.files.keys().filter(|id| !reachable(id)).copied().collect();
        for id in gone {
            self.files.remove(&id);
        }
    }

    pub(super) fn sync_directory(&mut self, wanted: &str) -> io::Result<()> {
        self.faults.take_sync_failure(&mut self.counters)?;
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if change.directory() == wanted {
                change.carry_out(&mut self.durable);
            } else {
                self.pending.push(change);
            }
        }
        self.forget_unreachable();
        Ok(())
    }

    pub(super) fn read(&mut self, id: FileId, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let current = &self.file(id)?.current;
        let contents = usize::try_from(offset)
            .ok()
            .and_then(|from| current.get(from..from.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(contents);
        Ok(())
    }

    pub(super) fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut offset = offset as usize;
        let len = self.file(id)?.current.len();
        let growth = (offset + bytes.len()).saturating_sub(len) as u64;
        let free = self
            .faults
            .limit_bytes
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used_bytes()));
        let (bytes, mut outcome) = if growth > free {
            self.counters.full += 1;
            // A short write: what fits is written, then the disk says no.
            let fits = bytes.len() - (growth - free) as usize;
            (&bytes[..fits], Err(io::ErrorKind::StorageFull.into()))
        } else {
            (bytes, Ok(()))
        };
        let mut kept = bytes;
        if outcome.is_ok() {
            if let Some((errno, share)) = self.faults.take_write_error(&mut self.counters) {
                kept = &bytes[..bytes.len() * share / 100];
                outcome = Err(errno.into());
            } else if self.faults.take_lost_write(&mut self.counters) {
                return Ok(());
            } else if let Some(by) = self.faults.take_misdirected_write(&mut self.counters) {
                offset = offset.saturating_add(by).min(len.saturating_sub(kept.len()));
            }
        }
        let file = self.file(id)?;
        FileState::write(&mut file.current, offset, kept);
        file.pending.push(ContentChange::Write { offset, bytes: kept.to_vec() });
        outcome
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let growth = len.saturating_sub(self.file(id)?.current.len() as u64);
        let limit = self.faults.limit_bytes;
        if limit.is_some_and(|limit| self.used_bytes() + growth > limit) {
            self.counters.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.file(id)?;
        file.current.resize(len as usize, 0);
        file.pending.push(ContentChange::SetLen(len as usize));
        Ok(())
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        if let Err(error) = self.faults.take_sync_failure(&mut self.counters) {
            // As Linux does: the pages are marked clean, the next sync says yes,
            // and a power cut shows that they never reached the disk.
            let file = self.file(id)?;
            file.pending.clear();
            return Err(error);
        }
        self.counters.syncs += 1;
        let file = self.file(id)?;
        for change in std::mem::take(&mut file.pending) {
            match change {
                ContentChange::Write { offset, bytes } => {
                    FileState::write(&mut file.durable, offset, &bytes);
                }
                ContentChange::SetLen(len) => file.durable.resize(len, 0),
            }
        }
        Ok(())
    }
}
