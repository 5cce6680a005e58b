//! Who leads, as far as the members say.

use super::supervise::Change;
use crate::process::Member;
use driftless_server::pb;
use driftless_server::pb::client::MaintenanceClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::transport::Endpoint;

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) member_id: u64,
    pub(crate) term: u64,
    /// 0 where it knows none.
    pub(crate) leader_id: u64,
}

const POLL_EVERY: Duration = Duration::from_millis(100);
const POLL_PATIENCE: Duration = Duration::from_millis(500);

/// Asks a member again and again how it is, until nobody wants to know.
pub(crate) async fn poll(member: Member, at: usize, changes: mpsc::Sender<Change>) {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{}", member.endpoint())) else {
        return;
    };
    let channel = endpoint.connect_timeout(POLL_PATIENCE).connect_lazy();
    let mut client = MaintenanceClient::new(channel);
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = match timeout(POLL_PATIENCE, client.status(pb::StatusRequest {})).await {
            Ok(Ok(answer)) => Some(Answer::from(answer.get_ref())),
            Ok(Err(_)) | Err(_) => None,
        };
        if changes.send(Change::Answered { at, answer }).await.is_err() {
            return;
        }
    }
}

impl From<&pb::StatusResponse> for Answer {
    fn from(status: &pb::StatusResponse) -> Self {
        Self {
            member_id: status.header.map_or(0, |header| header.member_id),
            term: status.raft_term,
            leader_id: status.leader,
        }
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The member at this place leads in this term.
    Leads { at: usize, term: u64 },
    /// So many members answer, and none of them has known a leader for a while.
    NobodyLeads { answering: usize },
}

/// Puts the members' answers together.
pub(crate) struct Leadership {
    answers: Vec<Option<Answer>>,
    places: BTreeMap<u64, usize>,
    told: Option<News>,
    leaderless_since: Option<Instant>,
}

/// For so long members may be without a leader before it is news.
const PATIENCE: Duration = Duration::from_secs(5);

impl Leadership {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            answers: vec![None; members],
            places: BTreeMap::new(),
            told: None,
            leaderless_since: None,
        }
    }

    /// A member answered, or did not.
    pub(crate) fn heard(&mut self, at: usize, answer: Option<Answer>, now: Instant) {
        self.answers[at] = answer;
        if let Some(answer) = answer {
            self.places.insert(answer.member_id, at);
        }
        if self.leader().is_some() || self.is_led_elsewhere() {
            self.leaderless_since = None;
        } else {
            self.leaderless_since.get_or_insert(now);
        }
    }

    /// A member is gone; what it said counts no more.
    pub(crate) fn forget(&mut self, at: usize) {
        self.answers[at] = None;
    }

    /// How many members answer.
    pub(crate) fn answering(&self) -> usize {
        self.answers.iter().flatten().count()
    }

    /// Who leads, and in which term: the latest that any member knows of, as
    /// long as that one itself is there.
    pub(crate) fn leader(&self) -> Option<(usize, u64)> {
        let latest = self.answers.iter().flatten().filter(|answer| answer.leader_id != 0);
        let latest = latest.max_by_key(|answer| answer.term)?;
        let at = *self.places.get(&latest.leader_id)?;
        self.answers[at].is_some().then_some((at, latest.term))
    }

    /// Whether a member leads that is not one of these: others can be added to the
    /// cluster.
    fn is_led_elsewhere(&self) -> bool {
        let latest = self.answers.iter().flatten().max_by_key(|answer| answer.term);
        latest.is_some_and(|latest| {
            latest.leader_id != 0 && !self.places.contains_key(&latest.leader_id)
        })
    }

    /// What has changed since this was last asked.
    pub(crate) fn news(&mut self, now: Instant) -> Option<News> {
        let news = match (self.leader(), self.leaderless_since) {
            (Some((at, term)), _) => News::Leads { at, term },
            (None, Some(since)) if now - since >= PATIENCE => {
                News::NobodyLeads { answering: self.answering() }
            }
            (None, _) => return None,
        };
        if self.told == Some(news) {
            return None;
        }
        // An old answer may arrive after a newer one: leadership does not go back.
        if let (Some(News::Leads { term: told, .. }), News::Leads { term, .. }) = (self.told, news)
            && term < told
        {
            return None;
        }
        self.told = Some(news);
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Leadership, News, PATIENCE};
    use tokio::time::Instant;

    fn answer(member_id: u64, term: u64, leader_id: u64) -> Answer {
        Answer { member_id, term, leader_id }
    }

    #[test]
    fn a_change_of_leadership_is_told_once() {
        let now = Instant::now();
        let mut leadership = Leadership::new(3);
        leadership.heard(0, Some(answer(10, 1, 0)), now);
        assert_eq!(leadership.news(now), None, "nobody leads yet, and not for long");
        leadership.heard(1, Some(answer(11, 2, 11)), now);
        assert_eq!(leadership.news(now), Some(News::Leads { at: 1, term: 2 }));
        leadership.heard(0, Some(answer(10, 2, 11)), now);
        assert_eq!(leadership.news(now), None);
        // Its death alone is no news of leadership: others still believe in it.
        leadership.forget(1);
        leadership.heard(0, Some(answer(10, 2, 11)), now);
        assert_eq!(leadership.leader(), None);
        assert_eq!(leadership.news(now), None);
        leadership.heard(0, Some(answer(10, 3, 10)), now);
        assert_eq!(leadership.news(now), Some(News::Leads { at: 0, term: 3 }));
        leadership.heard(1, Some(answer(11, 2, 11)), now);
        assert_eq!(leadership.news(now), None, "leadership does not go back");
    }

    #[test]
    fn the_lack_of_a_leader_is_news_after_a_while() {
        let now = Instant::now();
        let mut leadership = Leadership::new(3);
        leadership.heard(0, Some(answer(10, 4, 0)), now);
        leadership.heard(1, None, now + PATIENCE);
        assert_eq!(leadership.news(now + PATIENCE), Some(News::NobodyLeads { answering: 1 }));
        assert_eq!(leadership.news(now + PATIENCE), None);
        leadership.heard(0, Some(answer(10, 5, 10)), now + PATIENCE);
        assert_eq!(leadership.news(now + PATIENCE), Some(News::Leads { at: 0, term: 5 }));
    }
}
