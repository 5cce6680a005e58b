//! Members whose data directory is gone, and how they come back.
//!
//! A running process goes on with the files that it has open, so a lost directory
//! is not the end of its data: its member is replaced only when the others are a
//! majority with sound directories, and one is replaced at a time. The replacement never votes before
//! the others have taken it back: it has forgotten what its predecessor promised.

use crate::failure::{Context, Failure};
use crate::process::{Launcher, Member};
use driftless_server::pb;
use driftless_server::pb::client::{ClusterClient, MaintenanceClient};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

/// The file whose absence says that there is no data.
const IDENTITY: &str = "identity";

/// Whether a member has data there.
pub(crate) fn has_data(directory: &Path) -> bool {
    directory.join(IDENTITY).exists()
}

/// Moves what is left of a lost directory out of the way, and says where to:
/// nothing is deleted that somebody may want to look at.
pub(crate) fn put_remains_aside(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let shown = directory.display();
    let is_empty = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.context(format!("cannot read {shown}"))?.next().is_none(),
    };
    if is_empty {
        return Ok(None);
    }
    let free = |n: &u32| !remains(directory, *n).exists();
    let aside = remains(directory, (1..=u32::MAX).find(free).expect("some number is free"));
    std::fs::rename(directory, &aside).context(format!("cannot move {shown}"))?;
    Ok(Some(aside))
}

fn remains(directory: &Path, number: u32) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".remains-{number}"));
    name.into()
}

/// What a member has of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// All of it.
    Sound,
    /// What its running process has open.
    Unlinked,
    /// Nothing, or not all of it yet.
    Gone,
}

/// All members' data, and whose turn it is to be healed.
pub(crate) struct Ward {
    data: Mutex<Vec<Data>>,
    turn: Semaphore,
}

impl Ward {
    pub(crate) fn new(data: Vec<Data>) -> Self {
        Self { data: Mutex::new(data), turn: Semaphore::new(1) }
    }

    fn data(&self) -> MutexGuard<'_, Vec<Data>> {
        // Nobody panics with it in hand; if they did, what it holds would be whole.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, at: usize, data: Data) {
        self.data()[at] = data;
    }

    /// Waits until nobody else is being healed; `None` if the others are no
    /// majority, and cannot take the member back.
    pub(crate) async fn admit(
        &self,
        launcher: &Launcher,
        at: usize,
    ) -> Option<SemaphorePermit<'_>> {
        let turn = self.turn.acquire().await.ok()?;
        self.can_heal(launcher, at).then_some(turn)
    }

    /// The same, for one that was not admitted: waits until the others can.
    pub(crate) async fn admit_late(
        &self,
        launcher: &Launcher,
        at: usize,
    ) -> Option<SemaphorePermit<'_>> {
        loop {
            sleep(AGAIN_AFTER).await;
            if let Some(turn) = self.admit(launcher, at).await {
                return Some(turn);
            }
        }
    }

    /// A member takes another back by writing down whom it knows: one that has
    /// no directory any more could not, and would end.
    fn can_heal(&self, launcher: &Launcher, at: usize) -> bool {
        let data = self.data();
        let others = data.iter().zip(&launcher.members).enumerate();
        let others = others.filter(|(other, _)| *other != at).map(|(_, other)| other);
        let sound = others
            .filter(|(data, other)| **data == Data::Sound && has_data(&launcher.data_dir(other)));
        sound.count() > data.len() / 2
    }
}

/// One that cannot be healed is looked at again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How far a member has come on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The others took it back, and it learns.
    Readmitted,
    /// It votes again.
    Healed,
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// Waits until a replacement has come as far as `wanted`.
pub(crate) async fn until(wanted: Recovery, launcher: &Launcher, at: usize) {
    let member = &launcher.members[at];
    // A reply may be older than the readmission; the second one is not.
    let mut seen = 0;
    while seen < 2 {
        sleep(LOOK_EVERY).await;
        let has_come = match wanted {
            Recovery::Readmitted => knows_leader(member).await.map(|_| true),
            Recovery::Healed => votes(launcher, at).await,
        };
        seen = if has_come == Some(true) { seen + 1 } else { 0 };
    }
}

/// The leader that a member follows, if there is one. Nobody talks to a
/// replacement that was not taken back.
async fn knows_leader(member: &Member) -> Option<u64> {
    let channel = crate::client::connect(&member.endpoint().parse().ok()?, LOOK_PATIENCE).await;
    let mut client = MaintenanceClient::new(channel.ok()?);
    let answer = timeout(LOOK_PATIENCE, client.status(pb::StatusRequest {})).await;
    Some(answer.ok()?.ok()?.get_ref().leader).filter(|leader| *leader != 0)
}

/// Whether a member that follows the leader votes, as the others agree now.
async fn votes(launcher: &Launcher, at: usize) -> Option<bool> {
    let present = members(launcher, at).await?;
    let url = launcher.members[at].peer_url();
    let present = present.iter().find(|present| present.peer_urls.contains(&url))?;
    knows_leader(&launcher.members[at]).await?;
    Some(present.role == pb::MemberRole::Voter as i32)
}

/// Who the members are, as one of the others has it from the leader.
pub(crate) async fn members(launcher: &Launcher, at: usize) -> Option<Vec<pb::Member>> {
    let others = launcher.members.iter().enumerate().filter(|(other, _)| *other != at);
    for (_, other) in others {
        let Ok(endpoint) = other.endpoint().parse() else { continue };
        let Ok(channel) = crate::client::connect(&endpoint, LOOK_PATIENCE).await else { continue };
        let request = pb::MemberListRequest { linearizable: true };
        let answer = timeout(LOOK_PATIENCE, ClusterClient::new(channel).member_list(request)).await;
        if let Ok(Ok(answer)) = answer {
            return Some(answer.into_inner().members);
        }
    }
    None
}
