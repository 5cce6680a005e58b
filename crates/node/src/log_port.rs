//! Carrying out log jobs: the same code on the real log's thread and in the
//! simulator.

use crate::port::{LogDone, LogJob, ReadFailure};
use driftless_log::{AppendError, Disk, Log, ReadError, Record};
use driftless_raft::{GroupId, Ticket};
use std::collections::VecDeque;

/// Records that share one write and one sync, at most.
const RECORDS_MAX: usize = 4096;
/// Bytes of entries that share one write and one sync, about.
const BYTES_MAX: usize = 8 << 20;

/// Carries out what waits, in order: neighbouring appends share one write and
/// one sync. Stops early, leaving jobs in `jobs`, only where the disk is too full
/// for entries; call it again when there may be room, or with more jobs.
///
/// Answers whether it stopped early.
pub fn run_log_jobs<D: Disk>(
    log: &mut Log<D>,
    group: GroupId,
    jobs: &mut VecDeque<LogJob>,
    done: &mut Vec<LogDone>,
) -> bool {
    let mut records: Vec<Record> = Vec::new();
    while let Some(job) = jobs.pop_front() {
        match job {
            LogJob::Append { ticket, record } => {
                records.clear();
                let mut tickets = vec![ticket];
                let mut bytes = bytes_of(&record);
                records.push(record);
                while records.len() < RECORDS_MAX
                    && bytes < BYTES_MAX
                    && let Some(LogJob::Append { .. }) = jobs.front()
                    && let Some(LogJob::Append { ticket, record }) = jobs.pop_front()
                {
                    bytes += bytes_of(&record);
                    tickets.push(ticket);
                    records.push(record);
                }
                if !append(log, (&mut records, &tickets), jobs, done) {
                    return true;
                }
            }
            LogJob::Read { id, first, last, bytes_max } => {
                let entries =
                    log.read(group, first, last, bytes_max).map_err(|error| match error {
                        ReadError::Compacted { .. } | ReadError::Beyond { .. } => ReadFailure::Gone,
                        ReadError::Damaged { position } => ReadFailure::Damaged(position),
                        _ => ReadFailure::Io,
                    });
                done.push(LogDone::Read { id, entries });
            }
            LogJob::Compact { snapshot, through } => {
                match log.compact(group, &snapshot, through.index) {
                    // Without room there is nothing to free this time.
                    Ok(()) | Err(AppendError::Full { .. }) => done.push(LogDone::Compacted),
                    Err(error) => done.push(LogDone::Failed(error.to_string())),
                }
                done.push(LogDone::Space { low_space: log.low_space() });
            }
            LogJob::RememberPeer { peer, incarnation } => {
                done.push(match log.remember_peer(peer, incarnation) {
                    Ok(()) => LogDone::PeerRemembered { peer },
                    Err(error) => LogDone::Failed(format!("the peer file: {error}")),
                });
            }
        }
    }
    false
}

fn bytes_of(record: &Record) -> usize {
    record.entries.iter().map(|entry| entry.payload.len()).sum()
}

/// Makes `records` durable. On a full disk puts them back and answers false.
fn append<D: Disk>(
    log: &mut Log<D>,
    (records, tickets): (&mut Vec<Record>, &[Ticket]),
    jobs: &mut VecDeque<LogJob>,
    done: &mut Vec<LogDone>,
) -> bool {
    match log.append(records) {
        Ok(()) => {
            let ticket = *tickets.last().expect("there is at least one record");
            done.push(LogDone::Appended { ticket, low_space: log.low_space() });
            true
        }
        Err(AppendError::Full { .. }) if tickets.len() > 1 => {
            // One by one: those in front may fit, and votes among them must.
            for (record, ticket) in records.drain(..).zip(tickets).rev() {
                jobs.push_front(LogJob::Append { ticket: *ticket, record });
            }
            while let Some(LogJob::Append { ticket, record }) = jobs.pop_front() {
                let mut one = vec![record];
                if !append(log, (&mut one, &[ticket]), jobs, done) {
                    return false;
                }
                if !matches!(jobs.front(), Some(LogJob::Append { .. })) {
                    break;
                }
            }
            true
        }
        Err(AppendError::Full { .. }) => {
            let record = records.pop().expect("there is one record");
            jobs.push_front(LogJob::Append { ticket: tickets[0], record });
            done.push(LogDone::Space { low_space: true });
            false
        }
        Err(error) => {
            done.push(LogDone::Failed(error.to_string()));
            true
        }
    }
}
