//! Tests of the log, by topic.

mod basics;
mod failed_sync;
