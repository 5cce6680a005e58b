//! Tests of the log, by topic.

mod basics;
mod crash_sweep;
mod damage;
mod differential;
mod failed_sync;
mod recycling;
mod twin;
