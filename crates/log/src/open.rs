//! Creating a log, and opening it again after whatever happened.

use crate::api::{Identity, Owner, Record, Recovered, SnapshotMeta};
use crate::disk::Disk;
use crate::disk::DiskFile;
use crate::error::{AppendError, Damage, OpenError};
use crate::group::{Change, Group, Place};
use crate::identity::{self, IDENTITY};
use crate::log::{Item, Log, beginning};
use crate::options::{Options, PAGE};
use crate::scan::{End, Found, scan, segment_ids};
use crate::segment::{self, FILLING, Filling, segment_name};
use driftless_codec::EntryKind;
use driftless_codec::membership::decode_membership;
use driftless_codec::record::{HeadContent, Salt, Stamp};
use driftless_raft::{GroupId, Membership, MembershipEntry};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// An open log and what it holds.
pub struct Opened<D: Disk> {
    /// The log.
    pub log: Log<D>,
    /// Whom it belongs to.
    pub identity: Identity,
    /// Every group, by its id.
    pub groups: Vec<Recovered>,
}

impl<D: Disk> Log<D> {
    /// Whether there is a log on `disk`.
    pub fn exists(disk: &D) -> io::Result<bool> {
        identity::exists(disk)
    }

    /// Creates a log with these groups. Their memberships are written once, as
    /// position zero, and never asked for again. Nothing exists until all does:
    /// after a crash in between, create again.
    pub fn create(
        disk: D,
        identity: &Identity,
        groups: &[(GroupId, Membership)],
        options: Options,
    ) -> Result<Opened<D>, OpenError> {
        disk.sync_directory("")?;
        if identity::exists(&disk)? {
            return Err(OpenError::Exists);
        }
        let salt = Salt::of(identity.incarnation);
        clear_attempt(&disk)?;
        let mut filling = Filling::begin(&disk, options.first_segment_len())?;
        while !filling.is_complete() {
            filling.advance()?;
        }
        let from = (FILLING, filling.file, filling.len);
        let first = segment::activate(&disk, identity.incarnation, from, 1)?;
        disk.sync_directory("")?;
        identity::write_peers(&disk, &BTreeMap::new())?;
        identity::create_boots(&disk, identity)?;
        let mut log = Self {
            disk,
            options,
            identity: identity.clone(),
            salt,
            peers: BTreeMap::new(),
            groups: BTreeMap::new(),
            segments: VecDeque::from([first]),
            ready: VecDeque::new(),
            filling: None,
            next_segment: 2,
            first_segment: 1,
            buffer: Vec::new(),
            page_start: PAGE,
            unwritten: false,
            sequence: 0,
            previous: 0,
            synced_through: 0,
            marked_through: 0,
            mark_due: true,
            poisoned: false,
            calls: 0,
            places: Vec::new(),
        };
        let records: Vec<Record> = groups
            .iter()
            .map(|(group, membership)| beginning(*group, Group::genesis(membership)))
            .collect();
        let items: Vec<Item<'_>> = records.iter().map(Item::Record).collect();
        log.append_items(&items).map_err(opening)?;
        identity::write_identity(&log.disk, identity)?;
        let groups = log.recovered()?;
        Ok(Opened { log, identity: identity.clone(), groups })
    }

    /// Whose log stands on `disk`, if there is one.
    pub fn owner(disk: &D) -> Result<Option<Owner>, OpenError> {
        match find_identity(disk) {
            Ok(Identity { cluster_id, node_id, .. }) => Ok(Some(Owner { cluster_id, node_id })),
            Err(OpenError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the log that stands on `disk`; refuses one of somebody other than
    /// `owner`.
    pub fn open(disk: D, owner: Option<Owner>, options: Options) -> Result<Opened<D>, OpenError> {
        disk.sync_directory("")?;
        let mut identity = find_identity(&disk)?;
        if let Some(owner) = owner {
            if owner.cluster_id != identity.cluster_id {
                let (expected, found) = (owner.cluster_id, identity.cluster_id);
                return Err(OpenError::AnotherCluster { expected, found });
            }
            if owner.node_id != identity.node_id {
                let (expected, found) = (owner.node_id, identity.node_id);
                return Err(OpenError::AnotherMember { expected, found });
            }
        }
        let peers = identity::read_peers(&disk)?;
        identity.boots += 1;
        let salt = Salt::of(identity.incarnation);
        let loaded = load(&disk, identity.incarnation, false)?;
        let Loaded { mut segments, groups, first_segment, end, unproven, .. } = loaded;
        let ready: VecDeque<_> = segments.drain(end.segment_at + 1..).collect();
        let next_segment = ready.back().or(segments.last()).map_or(1, |last| last.id + 1);
        // The last, unfinished page is written again with what follows.
        let page_start = end.offset - end.offset % PAGE;
        let mut buffer = vec![0; (end.offset - page_start) as usize];
        let active = segments.last_mut().expect("the scan ended in one");
        active.file.read_at(&mut buffer, page_start)?;
        // A sync may have failed before the member came back, and its kernel takes
        // those pages for clean: they are read here, and gone with the power. So
        // what nothing says was durable is written once more.
        if let Some((_, from)) = unproven.filter(|(segment, _)| *segment == active.id) {
            let from = from - from % PAGE;
            let mut tail = vec![0; (end.offset - from) as usize];
            active.file.read_at(&mut tail, from)?;
            active.file.write_at(&tail, from)?;
            active.file.sync()?;
        }
        let mut log = Self {
            disk,
            options,
            identity: identity.clone(),
            salt,
            peers,
            groups,
            segments: segments.into(),
            ready,
            filling: None,
            next_segment,
            first_segment,
            buffer,
            page_start,
            unwritten: false,
            sequence: end.sequence,
            previous: end.previous,
            synced_through: end.sequence,
            marked_through: 0,
            mark_due: true,
            poisoned: false,
            calls: 0,
            places: Vec::new(),
        };
        log.tidy()?;
        log.idle().map_err(opening)?;
        identity::write_boots(&log.disk, &identity)?;
        let groups = log.recovered()?;
        Ok(Opened { log, identity, groups })
    }

    fn recovered(&self) -> Result<Vec<Recovered>, Damage> {
        let whole = |(id, group): (&GroupId, &Group)| {
            group.recovered(*id).ok_or_else(|| Damage {
                file: segment_name(self.first_segment),
                offset: 0,
                what: "a group's entries do not join its snapshot: a segment is missing",
            })
        };
        self.groups.iter().map(whole).collect()
    }
}

fn opening(error: AppendError) -> OpenError {
    match error {
        AppendError::Io(error) => OpenError::Io(error),
        AppendError::Full { .. } => OpenError::Io(io::ErrorKind::StorageFull.into()),
        AppendError::TooLarge { .. } | AppendError::Poisoned => {
            OpenError::Io(io::ErrorKind::InvalidInput.into())
        }
    }
}

pub(crate) fn find_identity<D: Disk>(disk: &D) -> Result<Identity, OpenError> {
    if identity::exists(disk)? {
        return identity::read_identity(disk);
    }
    if holds_history(disk)? {
        let what = "it is missing although there are segments with history";
        return Err(Damage { file: IDENTITY.to_owned(), offset: 0, what }.into());
    }
    Err(OpenError::NotFound)
}

/// Creation ends with the identity. A segment without one is an attempt that
/// was cut short, unless it shows use: then the identity was lost.
fn holds_history<D: Disk>(disk: &D) -> Result<bool, OpenError> {
    match segment_ids(disk)?.as_slice() {
        [] => Ok(false),
        [1] => {
            let file = disk.open(&segment_name(1))?;
            let Some(header) = segment::read_header(&file)? else { return Ok(false) };
            let len = file.len()?;
            let segment = segment::Segment { id: 1, file, len };
            let mut used = false;
            let end = scan(&[segment], Salt::of(header.incarnation), |found| {
                used |= match &found.head.content {
                    HeadContent::Mark { .. } => found.head.stamp.sequence > 1,
                    HeadContent::State(state) => state.snapshot.is_none(),
                };
                Ok(())
            });
            match end {
                Ok(_) | Err(OpenError::Damaged(_)) => Ok(used),
                Err(error) => Err(error),
            }
        }
        _ => Ok(true),
    }
}

fn clear_attempt<D: Disk>(disk: &D) -> Result<(), OpenError> {
    if holds_history(disk)? {
        find_identity(disk)?;
    }
    if !segment_ids(disk)?.is_empty() {
        disk.remove(&segment_name(1))?;
    }
    Ok(())
}

/// What the segments say.
pub(crate) struct Loaded<F> {
    pub(crate) segments: Vec<segment::Segment<F>>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) first_segment: u64,
    pub(crate) end: End,
    /// The first record of which no later one says that it was durable: its
    /// segment and offset.
    pub(crate) unproven: Option<(u64, u64)>,
    pub(crate) records: u64,
    pub(crate) entries: u64,
}

/// Reads all segments that belong to the log.
pub(crate) fn load<D: Disk>(
    disk: &D,
    incarnation: u64,
    read_only: bool,
) -> Result<Loaded<D::File>, OpenError> {
    let ids = segment_ids(disk)?;
    // Those before a gap were let go; a crash left them under their names.
    let breaks = |pair: &[u64]| pair[1] != pair[0] + 1;
    let from = ids.windows(2).rposition(breaks).map_or(0, |at| at + 1);
    let mut segments = Vec::new();
    for id in &ids[from..] {
        segments.push(segment::open(disk, incarnation, *id, read_only)?);
    }
    let missing =
        |id| Damage { file: segment_name(id), offset: 0, what: "it is not there, or empty" };
    if segments.is_empty() {
        return Err(missing(1).into());
    }
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    let mut first_segment = None;
    let (mut records, mut entries) = (0, 0);
    let mut unproven = VecDeque::new();
    // The oldest with a record in it.
    let mut oldest = None;
    let end = scan(&segments, Salt::of(incarnation), |found| {
        records += 1;
        oldest.get_or_insert(found.segment);
        let Stamp { sequence, synced_through, .. } = found.head.stamp;
        while unproven.front().is_some_and(|(earlier, _)| *earlier <= synced_through) {
            unproven.pop_front();
        }
        unproven.push_back((sequence, (found.segment, found.offset)));
        match &found.head.content {
            HeadContent::Mark { first_segment: first } => first_segment = Some(*first),
            HeadContent::State(state) => {
                entries += state.entry_count() as u64;
                replay(groups.entry(state.group).or_default(), found)?;
            }
        }
        Ok(())
    })?;
    let oldest = oldest.expect("a scan without a record is an error");
    let first_segment = first_segment.unwrap_or(oldest);
    if oldest > first_segment {
        return Err(missing(oldest - 1).into());
    }
    let unproven = unproven.pop_front().map(|(_, place)| place);
    Ok(Loaded { segments, groups, first_segment, end, unproven, records, entries })
}

fn replay(group: &mut Group, found: &Found<'_>) -> Result<(), Damage> {
    let HeadContent::State(state) = &found.head.content else { return Ok(()) };
    let place = Place {
        segment: found.segment,
        offset: found.offset,
        head_len: found.head.head_len as u32,
    };
    let snapshot =
        state.snapshot.clone().map(|(last, membership)| SnapshotMeta { last, membership });
    let damage = |what| Damage { file: segment_name(found.segment), offset: found.offset, what };
    let mut memberships = Vec::new();
    for entry in state.entries().filter(|entry| entry.kind == EntryKind::Membership) {
        let payload = &found.body[entry.offset..entry.offset + entry.length];
        let membership = decode_membership(payload).filter(|_| entry.verifies(payload));
        let what = "who the members are does not verify: bring this member back with another disk";
        let membership = membership.ok_or_else(|| damage(what))?;
        memberships.push(MembershipEntry { index: entry.position.index, membership });
    }
    let follows = group.apply(Change {
        truncate_from: state.truncate_from,
        snapshot,
        runs: state.runs(),
        memberships,
        hard_state: state.hard_state,
        place,
    });
    if !follows {
        return Err(damage("the record's entries do not follow those before"));
    }
    if !found.body_verifies {
        for entry in state.entries() {
            if !entry.verifies(&found.body[entry.offset..entry.offset + entry.length]) {
                group.note_damage(entry.position);
            }
        }
    }
    Ok(())
}
