//! Tests of the log, by topic.

mod basics;
mod crash_sweep;
mod differential;
mod failed_sync;
mod twin;
