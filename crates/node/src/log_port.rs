//! Carrying out log jobs: the same code on the real log's thread and in the
//! simulator.

use crate::port::{LogDone, LogJob, ReadFailure};
use driftless_log::{AppendError, Disk, Log, ReadError, Record, Room};
use driftless_raft::{GroupId, Ticket};
use std::collections::VecDeque;
use std::io;

/// Records that share one write and one sync, at most.
const RECORDS_MAX: usize = 4096;
/// Bytes of entries that share one write and one sync, about.
const BYTES_MAX: usize = 8 << 20;

/// Carries out what waits, in order: neighbouring appends share one write and
/// one sync. What a full disk has no room for is left in `jobs`; call it again
/// when there may be room, or with more jobs. (A node hands over no entry that
/// the log has no room for. But a disk may refuse even what is its own already,
/// and a peer's incarnation goes into a new file.)
///
/// An append that is left holds back those behind it, but not compaction, which
/// concerns only what is durable already and may be what makes room.
///
/// Answers whether jobs are left.
pub fn run_log_jobs<D: Disk>(
    log: &mut Log<D>,
    group: GroupId,
    jobs: &mut VecDeque<LogJob>,
    done: &mut Vec<LogDone>,
) -> bool {
    let mut left: VecDeque<LogJob> = VecDeque::new();
    let mut append_left = false;
    while let Some(job) = jobs.pop_front() {
        match job {
            LogJob::Append { .. } if append_left => left.push_back(job),
            LogJob::Append { ticket, record } => {
                let mut batch = vec![(ticket, record)];
                let mut bytes = batch[0].1.entries.payload_bytes();
                while batch.len() < RECORDS_MAX
                    && bytes < BYTES_MAX
                    && let Some(LogJob::Append { .. }) = jobs.front()
                    && let Some(LogJob::Append { ticket, record }) = jobs.pop_front()
                {
                    bytes += record.entries.payload_bytes();
                    batch.push((ticket, record));
                }
                let unwritten = append(log, batch, done);
                append_left = !unwritten.is_empty();
                let unwritten = unwritten.into_iter();
                left.extend(unwritten.map(|(ticket, record)| LogJob::Append { ticket, record }));
            }
            LogJob::Read { id, first, last, bytes_max } => {
                let entries =
                    log.read(group, first, last, bytes_max).map_err(|error| match error {
                        ReadError::Compacted { .. } | ReadError::Beyond { .. } => ReadFailure::Gone,
                        ReadError::Damaged { position } => ReadFailure::Damaged(position),
                        error => ReadFailure::Io(error.to_string()),
                    });
                done.push(LogDone::Read { id, entries });
            }
            LogJob::Compact { snapshot, through } => {
                match log.compact(group, &snapshot, through.index) {
                    Ok(()) => done.push(LogDone::Compacted { snapshot: snapshot.last }),
                    // The snapshot before must stay until the log names this one.
                    Err(AppendError::Full { .. }) => {
                        left.push_back(LogJob::Compact { snapshot, through });
                        continue;
                    }
                    Err(error) => done.push(LogDone::Failed(error.to_string())),
                }
                done.push(LogDone::Room(log.room()));
                if append_left {
                    // Now there may be room for them, in front of what came later.
                    append_left = false;
                    while let Some(job) = left.pop_back() {
                        jobs.push_front(job);
                    }
                }
            }
            LogJob::Claim { bytes } => done.push(match log.claim(bytes) {
                Ok(true) => LogDone::Room(log.room()),
                Ok(false) => LogDone::Room(Room { low_space: true, ..log.room() }),
                Err(error) => LogDone::Failed(error.to_string()),
            }),
            LogJob::RememberPeer { peer, known } => match log.remember_peer(peer, known) {
                Ok(()) => done.push(LogDone::PeerRemembered { peer, known }),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    left.push_back(LogJob::RememberPeer { peer, known });
                }
                Err(error) => done.push(LogDone::Failed(format!("the peer file: {error}"))),
            },
        }
    }
    *jobs = left;
    !jobs.is_empty()
}

/// Makes records durable, together if they fit, else one by one. Gives back what
/// there is no room for, and all behind it.
fn append<D: Disk>(
    log: &mut Log<D>,
    batch: Vec<(Ticket, Record)>,
    done: &mut Vec<LogDone>,
) -> Vec<(Ticket, Record)> {
    let (tickets, mut records): (Vec<Ticket>, Vec<Record>) = batch.into_iter().unzip();
    let Some(&last) = tickets.last() else { return Vec::new() };
    match log.append(&records) {
        Ok(()) => {
            done.push(LogDone::Appended { ticket: last, room: log.room() });
            return Vec::new();
        }
        Err(AppendError::Full { .. }) if records.len() > 1 => {}
        Err(AppendError::Full { .. }) => {
            done.push(LogDone::Room(Room { low_space: true, ..log.room() }));
            return records.pop().map(|record| (last, record)).into_iter().collect();
        }
        Err(error) => {
            done.push(LogDone::Failed(error.to_string()));
            return Vec::new();
        }
    }
    let mut batch = tickets.into_iter().zip(records);
    while let Some(one) = batch.next() {
        let mut unwritten = append(log, vec![one], done);
        if !unwritten.is_empty() {
            unwritten.extend(batch);
            return unwritten;
        }
    }
    Vec::new()
}

#[cfg(test)]
#[path = "log_port_tests.rs"]
mod tests;
