//! Tests of the log, by topic.

mod basics;
mod differential;
mod failed_sync;
mod twin;
