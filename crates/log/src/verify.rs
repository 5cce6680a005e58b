//! Reading a data directory offline and saying what is there.

use crate::api::Recovered;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::identity;
use crate::open::{find_identity, load};
use crate::segment::segment_name;
use crate::snapshot::{DIRECTORY, FileName, SnapshotReader};
use driftless_raft::{GroupId, NodeId, Position};
use std::fmt;

/// What [`verify`] saw.
#[derive(Debug, Default)]
pub struct Report {
    /// The cluster and the member that the directory belongs to.
    pub owner: Option<(u64, NodeId)>,
    /// Segments that are part of the log.
    pub segments: usize,
    /// Records in them.
    pub records: u64,
    /// Entries in them, those cut or compacted since included.
    pub entries: u64,
    /// Where the log ends, and whether a crash left something unfinished there.
    pub end: Option<LogEnd>,
    /// What each group would be recovered as.
    pub groups: Vec<Recovered>,
    /// Each whole snapshot, and what is wrong with it.
    pub snapshots: Vec<(GroupId, Position, Option<String>)>,
    /// What keeps the directory from being opened, or from being whole.
    pub problems: Vec<String>,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The segment.
    pub file: String,
    /// The byte at which the next record would go.
    pub offset: u64,
    /// Whether something unfinished stands there; opening cuts it.
    pub is_torn: bool,
}

impl Report {
    /// Whether the directory may be opened and everything in it verifies.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Reads the directory on `disk` without changing anything. The member must not
/// be running.
pub fn verify<D: Disk>(disk: &D) -> Report {
    let mut report = Report::default();
    if let Err(error) = read_log(disk, &mut report) {
        report.problems.push(error.to_string());
    }
    let damaged = report.groups.iter().flat_map(|group| {
        let entry = |position| {
            format!("group {}: the payload of entry {position} is damaged", group.group.0)
        };
        group.damaged.iter().map(entry)
    });
    report.problems.extend(damaged.collect::<Vec<_>>());
    if let Err(error) = read_snapshots(disk, &mut report) {
        report.problems.push(error.to_string());
    }
    report
}

fn read_log<D: Disk>(disk: &D, report: &mut Report) -> Result<(), OpenError> {
    let identity = find_identity(disk)?;
    report.owner = Some((identity.cluster_id, identity.node_id));
    if let Err(error) = identity::read_peers(disk) {
        report.problems.push(error.to_string());
    }
    let loaded = load(disk, identity.incarnation, true)?;
    report.segments = loaded.end.segment_at + 1;
    report.records = loaded.records;
    report.entries = loaded.entries;
    report.end = Some(LogEnd {
        file: segment_name(loaded.segments[loaded.end.segment_at].id),
        offset: loaded.end.offset,
        is_torn: loaded.end.torn,
    });
    for (id, group) in &loaded.groups {
        match group.recovered(*id) {
            Some(group) => report.groups.push(group),
            None => report
                .problems
                .push(format!("group {}: its entries do not join its snapshot", id.0)),
        }
    }
    Ok(())
}

fn read_snapshots<D: Disk>(disk: &D, report: &mut Report) -> std::io::Result<()> {
    for listed in disk.list(DIRECTORY)? {
        let Some(name) = FileName::parse(&listed).filter(|name| !name.is_part) else { continue };
        let verdict = SnapshotReader::open(disk, name).and_then(|mut reader| reader.verify());
        let wrong = verdict.err().map(|error| error.to_string());
        report.problems.extend(wrong.clone());
        report.snapshots.push((name.group, name.last, wrong));
    }
    for group in &report.groups {
        let Some(meta) = &group.snapshot else { continue };
        // A witness knows that there is one, and has no file of it.
        let owner = report.owner.map(|(_, owner)| owner);
        if owner.is_some_and(|owner| group.membership.is_witness(owner)) {
            continue;
        }
        let is_there =
            report.snapshots.iter().any(|(of, last, _)| *of == group.group && *last == meta.last);
        if !is_there {
            let (group, last) = (group.group.0, meta.last);
            report.problems.push(format!("group {group}: the snapshot at {last} is missing"));
        }
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((cluster_id, node_id)) = self.owner {
            writeln!(f, "member {:x} of cluster {cluster_id:x}", node_id.0)?;
        }
        let Self { segments, records, entries, .. } = self;
        writeln!(f, "{segments} segments, {records} records, {entries} entries")?;
        if let Some(LogEnd { file, offset, is_torn }) = &self.end {
            let torn = if *is_torn { ", with an unfinished write that opening cuts" } else { "" };
            writeln!(f, "the log ends in {file} at byte {offset}{torn}")?;
        }
        for group in &self.groups {
            let hard_state = &group.hard_state;
            write!(
                f,
                "group {}: term {}, entries {} to {}, committed {}",
                group.group.0,
                hard_state.current_term,
                group.trail.first_index(),
                group.trail.last().index,
                hard_state.commit_index,
            )?;
            match &group.snapshot {
                Some(meta) => writeln!(f, ", behind a snapshot at {}", meta.last)?,
                None => writeln!(f)?,
            }
        }
        for (group, last, wrong) in &self.snapshots {
            let verdict = if wrong.is_some() { "damaged" } else { "whole" };
            writeln!(f, "snapshot of group {} at {last}: {verdict}", group.0)?;
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        if self.is_whole() { f.write_str("everything verifies") } else { Ok(()) }
    }
}
