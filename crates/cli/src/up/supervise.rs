//! Keeping a member alive: started, waited for, started again.

use super::leadership::Answer;
use crate::failure::Failure;
use crate::process::{Launcher, describe_end};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// What happened to a member; `at` is its place in the list.
pub(crate) enum Change {
    /// It runs.
    Started { at: usize, pid: i32 },
    /// It ended although nobody asked it to.
    Died(Death),
    /// It cannot even be started; it will not be tried again.
    CannotStart(Failure),
    /// It was asked how it is; `None` is silence.
    Answered { at: usize, answer: Option<Answer> },
}

/// How a member died.
pub(crate) struct Death {
    pub(crate) at: usize,
    pub(crate) pid: i32,
    pub(crate) how: String,
    /// How often in a row it has died shortly after its start.
    pub(crate) failures_at_start: u32,
    /// What it said last, where it died at its start.
    pub(crate) last_lines: Vec<String>,
    /// It is started again after this.
    pub(crate) delay: Duration,
}

/// A member that lived for so long has not failed at its start.
const START: Duration = Duration::from_secs(5);

const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(30);
const LAST_LINES: usize = 5;

/// Keeps a member alive until `stopping` says `true`, then stops it.
pub(crate) async fn supervise(
    launcher: Launcher,
    at: usize,
    changes: mpsc::Sender<Change>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut failures_at_start = 0;
    // Sending fails once nobody listens any more, which is when we stop.
    while !*stopping.borrow() {
        let mut process = match launcher.start(&launcher.members[at]) {
            Ok(process) => process,
            Err(failure) => {
                let _ = changes.send(Change::CannotStart(failure)).await;
                return;
            }
        };
        let pid = process.pid();
        let started = Instant::now();
        let _ = changes.send(Change::Started { at, pid }).await;
        let end = tokio::select! {
            end = process.wait() => end,
            () = asked_to_stop(&mut stopping) => {
                process.stop().await;
                return;
            }
        };
        // Killed from outside it has nothing to say about that.
        let gave_up = end.as_ref().is_ok_and(|end| end.code().is_some());
        let how = end.map_or_else(|failure| format!("{failure:?}"), describe_end);
        let at_start = gave_up && started.elapsed() < START;
        failures_at_start = if at_start { failures_at_start + 1 } else { 0 };
        let last_lines = if at_start { process.last_lines(LAST_LINES) } else { Vec::new() };
        let delay = delay(failures_at_start);
        let death = Death { at, pid, how, failures_at_start, last_lines, delay };
        let _ = changes.send(Change::Died(death)).await;
        tokio::select! {
            () = sleep(delay) => {}
            () = asked_to_stop(&mut stopping) => return,
        }
    }
}

/// A sender that is gone asks to stop, too.
async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await.is_ok();
}

fn delay(failures_at_start: u32) -> Duration {
    let doublings = failures_at_start.saturating_sub(1).min(16);
    DELAY_MIN.saturating_mul(1 << doublings).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::{DELAY_MAX, delay};
    use std::time::Duration;

    #[test]
    fn a_member_that_keeps_failing_is_tried_less_often() {
        assert_eq!(delay(0), Duration::from_millis(500));
        assert_eq!(delay(1), Duration::from_millis(500));
        assert_eq!(delay(3), Duration::from_secs(2));
        assert_eq!(delay(u32::MAX), DELAY_MAX);
    }
}
