//! Keeping a member alive: started, waited for, started again; and replaced when
//! its data is gone.

use super::heal::{self, Data, Recovery, Ward, has_data, put_remains_aside};
use super::leadership::Answer;
use crate::failure::Failure;
use crate::process::{Begins, Launcher, Process, describe_end};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{SemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep};

/// What happened to a member; `at` is its place in the list.
pub(crate) enum Change {
    /// It runs.
    Started { at: usize, pid: i32 },
    /// It has data, for the first time.
    Begun { at: usize },
    /// It ended although nobody asked it to.
    Died(Death),
    /// It cannot even be started; it will not be tried again.
    CannotStart(Failure),
    /// It was asked how it is; `None` is silence.
    Answered { at: usize, answer: Option<Answer> },
    /// Its data directory is gone.
    Lost { at: usize },
    /// So it is, and the others are too few to bring it back.
    LostForGood { at: usize },
    /// It begins anew; what was left of its data stands aside.
    Replaced { at: usize, aside: Option<PathBuf> },
    /// It has come so far on its way back.
    Recovered { at: usize, recovery: Recovery },
    /// The cluster removed it; it will not be started again.
    Removed { at: usize },
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

/// How often a member's data is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A member to be kept alive.
pub(crate) struct Charge {
    pub(crate) launcher: Launcher,
    /// Its place.
    pub(crate) at: usize,
    /// Whether it ever had data.
    pub(crate) begun: bool,
    pub(crate) ward: Arc<Ward>,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// How a process came to be no more.
enum End {
    /// By itself, or by somebody else.
    Died(Result<ExitStatus, Failure>),
    /// By us: its data is gone, and now it is replaced.
    Replaced,
    /// By us: everything stops.
    Stopped,
}

/// Keeps a member alive until `stopping` says `true`, then stops it.
pub(crate) async fn supervise(mut charge: Charge) {
    let ward = charge.ward.clone();
    let mut turn: Option<SemaphorePermit<'_>> = None;
    let mut failures_at_start = 0;
    // Sending fails once nobody listens any more, which is when we stop.
    while !*charge.stopping.borrow() {
        let begins = if charge.has_lost_data() {
            if turn.is_none() {
                turn = charge.await_turn(&ward).await;
            }
            if turn.is_none() {
                continue;
            }
            if !charge.clear_away().await {
                return;
            }
            Begins::Replacing
        } else {
            Begins::Founding
        };
        let mut process = match charge.launcher.start_as(begins, charge.member()) {
            Ok(process) => process,
            Err(failure) => {
                charge.tell(Change::CannotStart(failure)).await;
                return;
            }
        };
        let (at, pid, started) = (charge.at, process.pid(), Instant::now());
        charge.tell(Change::Started { at, pid }).await;
        let end = match charge.watch(&mut process, &ward, &mut turn).await {
            End::Died(end) => end,
            End::Replaced => continue,
            End::Stopped => return,
        };
        let in_good_order = end.as_ref().is_ok_and(ExitStatus::success);
        if in_good_order && charge.is_removed().await {
            charge.tell(Change::Removed { at }).await;
            return;
        }
        // Killed from outside it has nothing to say about that.
        let gave_up = end.as_ref().is_ok_and(|end| end.code().is_some());
        let how = end.map_or_else(|failure| format!("{failure:?}"), describe_end);
        let at_start = gave_up && started.elapsed() < START;
        failures_at_start = if at_start { failures_at_start + 1 } else { 0 };
        let last_lines = if at_start { process.last_lines(LAST_LINES) } else { Vec::new() };
        let delay = delay(failures_at_start);
        let death = Death { at, pid, how, failures_at_start, last_lines, delay };
        charge.tell(Change::Died(death)).await;
        tokio::select! {
            () = sleep(delay) => {}
            () = asked_to_stop(&mut charge.stopping) => return,
        }
    }
}

impl Charge {
    fn member(&self) -> &crate::process::Member {
        &self.launcher.members[self.at]
    }

    fn directory(&self) -> PathBuf {
        self.launcher.data_dir(self.member())
    }

    async fn tell(&self, change: Change) {
        // Whoever would listen is stopping us.
        let _ = self.changes.send(change).await;
    }

    fn has_lost_data(&self) -> bool {
        self.begun && !has_data(&self.directory())
    }

    /// Its data is gone and it does not run: waits until it may come back, or its
    /// data is put back; `None` then, and when everything stops.
    async fn await_turn<'a>(&mut self, ward: &'a Ward) -> Option<SemaphorePermit<'a>> {
        let (at, directory) = (self.at, self.directory());
        ward.note(at, Data::Gone);
        self.tell(Change::Lost { at }).await;
        let mut turn = ward.admit(&self.launcher, at).await;
        if turn.is_none() {
            self.tell(Change::LostForGood { at }).await;
            turn = tokio::select! {
                turn = ward.admit_late(&self.launcher, at) => turn,
                () = data(&directory, true) => {
                    ward.note(at, Data::Sound);
                    None
                }
                () = asked_to_stop(&mut self.stopping) => None,
            };
        }
        turn
    }

    async fn clear_away(&mut self) -> bool {
        match put_remains_aside(&self.directory()) {
            Ok(aside) => {
                self.tell(Change::Replaced { at: self.at, aside }).await;
                true
            }
            Err(failure) => {
                self.tell(Change::CannotStart(failure)).await;
                false
            }
        }
    }

    /// Stays with a process until it has ended; notices meanwhile if its data
    /// goes, and how far a replacement has come.
    async fn watch<'a>(
        &mut self,
        process: &mut Process,
        ward: &'a Ward,
        turn: &mut Option<SemaphorePermit<'a>>,
    ) -> End {
        let (at, directory) = (self.at, self.directory());
        let mut seen = false;
        let mut lost = false;
        let mut hopeless = false;
        let mut wanted = Recovery::Readmitted;
        loop {
            tokio::select! {
                end = process.wait() => return End::Died(end),
                () = asked_to_stop(&mut self.stopping) => {
                    process.stop().await;
                    return End::Stopped;
                }
                () = data(&directory, true), if !seen => {
                    seen = true;
                    if !self.begun {
                        self.begun = true;
                        self.tell(Change::Begun { at }).await;
                    }
                }
                () = data(&directory, false), if seen && !lost => {
                    lost = true;
                    ward.note(at, Data::Unlinked);
                    self.tell(Change::Lost { at }).await;
                    if turn.is_some() {
                        // On its way back it lost its data once more.
                        process.kill().await;
                        return End::Replaced;
                    }
                }
                admitted = admitted(ward, &self.launcher, at, hopeless),
                    if lost && turn.is_none() =>
                {
                    *turn = admitted;
                    if turn.is_some() {
                        process.kill().await;
                        ward.note(at, Data::Gone);
                        return End::Replaced;
                    }
                    hopeless = true;
                    self.tell(Change::LostForGood { at }).await;
                }
                () = heal::until(wanted, &self.launcher, at), if turn.is_some() && seen => {
                    self.tell(Change::Recovered { at, recovery: wanted }).await;
                    if wanted == Recovery::Healed {
                        ward.note(at, Data::Sound);
                        *turn = None;
                    }
                    wanted = Recovery::Healed;
                }
            }
        }
    }

    /// Whether the cluster knows this member no more.
    async fn is_removed(&self) -> bool {
        let url = self.member().peer_url();
        let members = heal::members(&self.launcher, self.at).await;
        members.is_some_and(|members| !members.iter().any(|member| member.peer_urls.contains(&url)))
    }
}

/// A member's turn to be healed; asked again, only once there is hope.
async fn admitted<'a>(
    ward: &'a Ward,
    launcher: &Launcher,
    at: usize,
    hopeless: bool,
) -> Option<SemaphorePermit<'a>> {
    if hopeless { ward.admit_late(launcher, at).await } else { ward.admit(launcher, at).await }
}

/// Returns when there is data in a directory, or none.
async fn data(directory: &Path, wanted: bool) {
    while has_data(directory) != wanted {
        sleep(LOOK_EVERY).await;
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
