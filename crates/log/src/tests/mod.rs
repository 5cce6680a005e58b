//! Tests of the log, by topic.

mod basics;
mod crash_sweep;
mod damage;
mod differential;
mod failed_sync;
mod full_disk;
mod lying_disk;
mod recycling;
mod snapshots;
mod twin;
