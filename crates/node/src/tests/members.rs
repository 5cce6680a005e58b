//! Members that come and go, at the level of nodes: what is lost on the way, and
//! leaders that change in the middle.

use super::cluster::{Cluster, elected, options};
use crate::port::{
    Answer, ClientRequest, Event, MemberChange, NodeOptions, RequestToken, StopReason,
};
use driftless_raft::{Change, NodeId, Time};
use std::collections::BTreeMap;

impl Cluster {
    /// Member `at` is asked for a change; `come` are given addresses, which are their
    /// names here.
    fn change(&mut self, at: u64, token: u64, changes: &[Change], come: &[u64]) {
        let contacts: BTreeMap<NodeId, String> =
            come.iter().map(|id| (NodeId(*id), id.to_string())).collect();
        let change = MemberChange { changes: changes.to_vec(), contacts, forced: false };
        let deadline = Time(self.now + 20_000_000);
        let request = ClientRequest::Change { token: RequestToken(token), change, deadline };
        self.queue.push_back((at, Event::Client(request)));
        self.settle();
    }

    #[track_caller]
    fn assert_changed(&mut self, at: u64, token: u64) {
        self.pass(5_000_000);
        assert_eq!(self.answer(at, token), Some(&Answer::Changed));
    }

    /// Who votes, as member `id` has applied it.
    fn voters(&self, id: u64) -> Vec<u64> {
        let node = self.members[&id].node.as_ref().expect("it runs");
        assert!(!node.members().joint);
        node.roster.membership().voters.iter().map(|id| id.0).collect()
    }

    /// Grows to five by learners, promoted all at once.
    fn grow_to_five(&mut self) {
        let leader = self.leader();
        for (id, token) in [(4, 101), (5, 102)] {
            self.join(id);
            self.change(leader, token, &[Change::AddLearner(NodeId(id))], &[id]);
            self.assert_changed(leader, token);
        }
        let promote = [4, 5].map(|id| Change::Promote(NodeId(id)));
        self.change(leader, 103, &promote, &[]);
        self.assert_changed(leader, 103);
    }
}

fn named(id: NodeId) -> NodeOptions {
    let addresses = (1..=3).map(|id| (NodeId(id), id.to_string())).collect();
    NodeOptions { addresses, ..options(id) }
}

#[test]
fn two_join_and_two_go() {
    let mut cluster = elected(3, named);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    cluster.grow_to_five();
    cluster.ask(5, 2, "two");
    cluster.pass(1_000_000);
    cluster.assert_applied(5, 2, "2");
    for id in 1..=5 {
        assert_eq!(cluster.voters(id), [1, 2, 3, 4, 5], "at member {id}");
    }
    cluster.assert_agree();

    // Both at once, the leader among them, asked of one who joined.
    let other = cluster.followers()[0];
    let go = [leader, other].map(|id| Change::Remove(NodeId(id)));
    cluster.change(5, 104, &go, &[]);
    cluster.assert_changed(5, 104);
    for gone in [leader, other] {
        let stopped = &cluster.members[&gone].stopped;
        assert_eq!(stopped, &Some(StopReason::Removed), "member {gone}");
        cluster.members.remove(&gone);
    }
    cluster.ask(4, 3, "three");
    cluster.pass(1_000_000);
    cluster.assert_applied(4, 3, "3");
}

#[test]
fn a_member_that_asks_for_its_own_removal_is_answered() {
    for leads in [true, false] {
        let mut cluster = elected(3, named);
        let leader = cluster.leader();
        let asked = if leads { leader } else { cluster.followers()[0] };
        cluster.change(asked, 101, &[Change::Remove(NodeId(asked))], &[]);
        cluster.pass(5_000_000);
        assert_eq!(cluster.members[&asked].stopped, Some(StopReason::Removed));
        assert_eq!(cluster.answer(asked, 101), Some(&Answer::Changed), "leads: {leads}");
    }
}
