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

/// A follower was away while everybody that it knew was replaced. Those who come
/// back to it are strangers to it, and it takes what they bring.
#[test]
fn one_who_was_away_learns_of_members_that_it_never_met() {
    let mut cluster = elected(3, named);
    let away = cluster.followers()[0];
    let stays = cluster.followers()[1];
    cluster.pass(1_000_000);
    cluster.kill(away);
    cluster.grow_to_five();
    let leader = cluster.leader();
    cluster.change(leader, 104, &[leader, stays].map(|id| Change::Remove(NodeId(id))), &[]);
    cluster.pass(5_000_000);
    for gone in [leader, stays] {
        assert_eq!(cluster.members[&gone].stopped, Some(StopReason::Removed));
        cluster.kill(gone);
    }
    cluster.start(away);
    cluster.pass(3_000_000);
    cluster.ask(4, 1, "one");
    cluster.pass(1_000_000);
    cluster.assert_applied(4, 1, "1");
    let mut voters = vec![4, 5, away];
    voters.sort_unstable();
    assert_eq!(cluster.voters(away), voters);
    assert_eq!(cluster.members[&away].machine, cluster.members[&4].machine);
}

/// The leader dies with the change half done: whoever asked has its answer from
/// what the next leader makes of it.
#[test]
fn a_change_outlives_its_leader() {
    for passes in [0, 2_000, 20_000, 200_000] {
        let mut cluster = elected(3, named);
        for (id, token) in [(4, 101), (5, 102)] {
            cluster.join(id);
            let leader = cluster.leader();
            cluster.change(leader, token, &[Change::AddLearner(NodeId(id))], &[id]);
            cluster.assert_changed(leader, token);
        }
        let leader = cluster.leader();
        let (asked, other) = (cluster.followers()[0], cluster.followers()[1]);
        let promote = [4, 5].map(|id| Change::Promote(NodeId(id)));
        // Its links are slow: nothing of what it sends arrives any more.
        cluster.cut.push(leader);
        cluster.change(asked, 103, &promote, &[]);
        cluster.pass(passes);
        cluster.kill(leader);
        cluster.cut.clear();
        cluster.pass(10_000_000);
        assert_eq!(cluster.answer(asked, 103), Some(&Answer::Changed), "after {passes} us");
        assert_eq!(cluster.voters(other), [1, 2, 3, 4, 5]);
        cluster.start(leader);
        cluster.ask(leader, 1, "one");
        cluster.pass(3_000_000);
        cluster.assert_applied(leader, 1, "1");
    }
}

/// All go down while two memberships must agree, and come back.
#[test]
fn a_joint_membership_is_left_after_a_restart() {
    let mut cluster = elected(3, named);
    for (id, token) in [(4, 101), (5, 102)] {
        cluster.join(id);
        let leader = cluster.leader();
        cluster.change(leader, token, &[Change::AddLearner(NodeId(id))], &[id]);
        cluster.assert_changed(leader, token);
    }
    let leader = cluster.leader();
    let promote = [4, 5].map(|id| Change::Promote(NodeId(id)));
    let change = MemberChange { changes: promote.to_vec(), ..MemberChange::default() };
    let deadline = Time(cluster.now + 20_000_000);
    let request = ClientRequest::Change { token: RequestToken(103), change, deadline };
    cluster.queue.push_back((leader, Event::Client(request)));
    let is_joint = |cluster: &Cluster, id: u64| {
        let node = cluster.members[&id].node.as_ref().expect("it runs");
        node.raft().membership().is_joint()
    };
    let mut steps = 0;
    while !(1..=4).all(|id| is_joint(&cluster, id)) {
        cluster.deliver_one();
        steps += 1;
        assert!(steps < 1_000, "nobody counts by two memberships");
    }
    for id in 1..=5 {
        cluster.crash(id);
    }
    for id in 1..=5 {
        cluster.start(id);
    }
    cluster.pass(10_000_000);
    for id in 1..=5 {
        assert_eq!(cluster.voters(id), [1, 2, 3, 4, 5], "at member {id}");
        let node = cluster.members[&id].node.as_ref().expect("it runs");
        assert_eq!(node.roster.address(NodeId(5)), Some("5"), "at member {id}");
    }
    cluster.ask(5, 1, "one");
    cluster.pass(1_000_000);
    cluster.assert_applied(5, 1, "1");
}

fn hasty(id: NodeId) -> NodeOptions {
    NodeOptions { snapshot_every_entries: 10, retained_entries: 2, ..named(id) }
}

/// Who joins by a snapshot knows who is where, and who is gone, as all others do.
#[test]
fn addresses_and_removals_travel_in_snapshots() {
    let mut cluster = elected(3, hasty);
    let leader = cluster.leader();
    let gone = cluster.followers()[0];
    cluster.change(leader, 100, &[Change::Remove(NodeId(gone))], &[]);
    cluster.assert_changed(leader, 100);
    for token in 0..40 {
        cluster.ask(leader, token, "x");
    }
    cluster.join(4);
    cluster.change(leader, 101, &[Change::AddLearner(NodeId(4))], &[4]);
    cluster.assert_changed(leader, 101);
    cluster.pass(2_000_000);
    assert!(cluster.members[&4].loads > 0, "it came by entries alone");
    let roster = |id: u64| cluster.members[&id].node.as_ref().expect("it runs").roster.clone();
    assert_eq!(roster(4), roster(leader));
    assert!(roster(4).is_removed(NodeId(gone)));
    assert_eq!(roster(4).address(NodeId(4)), Some("4"));
    assert_eq!(roster(4).address(NodeId(leader)), Some(leader.to_string().as_str()));
}

/// Whom a leader takes in whom nobody else hears is dialled at once, and hung up on when
/// that is cut from its log.
#[test]
fn a_membership_that_is_cut_takes_its_links_along() {
    let known = |id| {
        let addresses = (1..=5).map(|id| (NodeId(id), id.to_string())).collect();
        NodeOptions { addresses, ..options(id) }
    };
    let mut cluster = elected(3, known);
    let leader = cluster.leader();
    // The first change of all says who founded the group; the next is taken at once.
    cluster.join(5);
    cluster.change(leader, 101, &[Change::AddLearner(NodeId(5))], &[5]);
    cluster.assert_changed(leader, 101);
    let dials = |cluster: &Cluster| cluster.members[&leader].dials.contains(&4);
    assert!(!dials(&cluster));
    cluster.cut.push(leader);
    cluster.unlink(leader);
    cluster.change(leader, 102, &[Change::AddLearner(NodeId(4))], &[]);
    let in_force = |cluster: &Cluster| {
        let node = cluster.members[&leader].node.as_ref().expect("it runs");
        node.raft().membership().contains(NodeId(4))
    };
    assert!(in_force(&cluster) && dials(&cluster));
    // Until whoever asked has given up: else it would be asked for again.
    cluster.pass(21_000_000);
    let other = (1..=3).find(|id| *id != leader).expect("three are more than one");
    cluster.ask(other, 1, "meanwhile");
    cluster.pass(1_000_000);
    cluster.assert_applied(other, 1, "1");
    assert!(in_force(&cluster), "nobody has told it");
    cluster.cut.clear();
    cluster.pass(1_000_000);
    assert!(!in_force(&cluster) && !dials(&cluster));
}

/// It was not told at its start what it is to be, and dies when it has the snapshot that
/// it is sent, and not yet the entry that names it.
#[test]
fn a_witness_that_dies_before_it_knows_comes_back_as_one() {
    let mut cluster = elected(3, |id| NodeOptions { snapshot_every_entries: 40, ..hasty(id) });
    let leader = cluster.leader();
    for token in 0..85 {
        cluster.ask(leader, token, "secret");
    }
    cluster.pass(1_000_000);
    cluster.join(4);
    let change = MemberChange {
        changes: vec![Change::AddWitness(NodeId(4))],
        contacts: BTreeMap::from([(NodeId(4), "4".into())]),
        forced: false,
    };
    let deadline = Time(cluster.now + 20_000_000);
    let request = ClientRequest::Change { token: RequestToken(101), change, deadline };
    cluster.queue.push_back((leader, Event::Client(request)));
    let membership_of_the_new = |cluster: &Cluster| {
        let disk = &cluster.members[&4].disk;
        let (base, entries) = (disk.base.as_ref(), disk.entries.len());
        base.map(|snapshot| (snapshot.membership.contains(NodeId(4)), entries))
    };
    cluster.go_on_until(|cluster| membership_of_the_new(cluster).is_some());
    assert_eq!(membership_of_the_new(&cluster), Some((false, 0)), "it does not know");
    cluster.kill(4);
    cluster.start(4);
    cluster.pass(5_000_000);
    assert_eq!(cluster.answer(leader, 101), Some(&Answer::Changed));
    let witness = &cluster.members[&4];
    assert_eq!((&witness.stopped, witness.loads), (&None, 0));
    let node = witness.node.as_ref().expect("it runs");
    assert!(node.raft().membership().is_witness(NodeId(4)));
}

/// It votes and acknowledges, and has nothing of the data, whether it got the log
/// or a snapshot took its place.
#[test]
fn a_witness_is_sent_no_data() {
    let mut cluster = elected(3, hasty);
    let leader = cluster.leader();
    for token in 0..5 {
        cluster.ask(leader, token, "secret");
    }
    cluster.join(4);
    cluster.change(leader, 101, &[Change::AddWitness(NodeId(4))], &[4]);
    cluster.assert_changed(leader, 101);
    let (one, other) = (cluster.followers()[0], cluster.followers()[1]);
    // Without its acknowledgement there is no quorum of four.
    cluster.kill(one);
    for token in 10..60 {
        cluster.ask(other, token, "secret");
        cluster.pass(200_000);
        assert!(cluster.answer(other, token).is_some(), "command {token}");
    }
    cluster.ask(4, 1, "no");
    let refused = Answer::Refused(crate::port::RequestError::Witness);
    assert_eq!(cluster.answer(4, 1), Some(&refused));
    cluster.kill(4);
    cluster.start(one);
    cluster.pass(1_000_000);
    for token in 100..150 {
        cluster.ask(other, token, "secret");
    }
    cluster.pass(1_000_000);
    cluster.start(4);
    cluster.pass(2_000_000);
    cluster.kill(one);
    cluster.ask(other, 200, "last");
    cluster.pass(1_000_000);
    cluster.assert_applied(other, 200, "106");
    let witness = &cluster.members[&4];
    assert_eq!((witness.machine.seen.len(), witness.loads), (0, 0));
    let data = |entry: &driftless_codec::Entry| {
        !entry.payload.is_empty() && entry.kind == driftless_codec::EntryKind::Command
    };
    assert!(!witness.disk.entries.iter().any(data));
    assert!(witness.disk.entries.len() < 60, "it keeps what it need not");
    let node = witness.node.as_ref().expect("it runs");
    assert!(node.applied_position().index > driftless_raft::Index(100));
}
