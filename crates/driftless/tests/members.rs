//! Members come and go while the cluster works: real sockets, threads and disks.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "support/scroll.rs"]
mod support;

use driftless::raft::{Change, ChangeRefusal};
use driftless::{
    Builder, Handle, LookupError, MemberChange, MemberKind, NodeFailure, NodeId, NodeOptions,
    RequestError, Role, Running, StopReason, lookup, recover,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use support::{Scroll, contents, soon};

/// Members that run, and those that have run.
struct World {
    directory: tempfile::TempDir,
    addresses: BTreeMap<u64, String>,
    running: BTreeMap<u64, Running<Scroll>>,
}

const ELECTION_TIMEOUT: Duration = Duration::from_millis(200);

fn options(id: NodeId) -> NodeOptions {
    let election_timeout_us = ELECTION_TIMEOUT.as_micros() as u64;
    let mut options = NodeOptions { readmit_lost_disks: true, ..NodeOptions::new(id) };
    options.raft.election_timeout_us = election_timeout_us;
    options.raft.election_jitter_us = election_timeout_us;
    options.raft.heartbeat_interval_us = 30_000;
    options
}

impl World {
    /// The first `founders` members.
    fn new(founders: u64) -> Self {
        let mut world = Self {
            directory: tempfile::tempdir().unwrap(),
            addresses: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        (1..=founders).for_each(|id| world.give_address(id));
        let named = world.addresses.clone();
        for id in 1..=founders {
            world.run(id, world.builder(id, &named));
        }
        world
    }

    fn give_address(&mut self, id: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.addresses.insert(id, listener.local_addr().unwrap().to_string());
    }

    fn directory_of(&self, id: u64) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    fn builder(&self, id: u64, named: &BTreeMap<u64, String>) -> Builder<Scroll> {
        let id = NodeId(id);
        let builder = Builder::new(id, "test", self.directory_of(id.0), Scroll::default());
        named.iter().fold(builder.options(options(id)), |builder, (member, address)| {
            builder.member(NodeId(*member), address)
        })
    }

    fn run(&mut self, id: u64, builder: Builder<Scroll>) {
        self.running.insert(id, builder.start().unwrap());
    }

    /// Starts one that knows nothing but its own address.
    fn join(&mut self, id: u64) {
        self.give_address(id);
        let own = BTreeMap::from([(id, self.addresses[&id].clone())]);
        self.run(id, self.builder(id, &own).join());
    }

    /// Starts one again that was there before, in the same way.
    fn again(&mut self, id: u64) {
        let own = BTreeMap::from([(id, self.addresses[&id].clone())]);
        self.run(id, self.builder(id, &own).join());
    }

    fn handle(&self, id: u64) -> Handle<Scroll> {
        self.running[&id].handle()
    }

    async fn stop(&mut self, id: u64) {
        self.running.remove(&id).unwrap().stop().await;
    }

    /// Somebody who leads, as seen by all that run.
    async fn leader(&self) -> u64 {
        let deadline = soon();
        loop {
            let leaders: Vec<_> =
                self.running.values().map(|node| node.handle().status().leader).collect();
            if let Some(Some(leader)) = leaders.first().copied()
                && leaders.iter().all(|other| *other == Some(leader))
                && self.running.contains_key(&leader.0)
                && self.handle(leader.0).status().role == Role::Leader
            {
                return leader.0;
            }
            assert!(tokio::time::Instant::now() < deadline, "no leader: {leaders:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn say(&self, id: u64, what: impl ToString) {
        self.handle(id).propose(what.to_string().into(), soon()).await.unwrap();
    }

    /// Promotes a learner as soon as it has caught up.
    async fn promote(&self, at: u64, id: u64) {
        let deadline = soon();
        loop {
            match self.handle(at).promote(NodeId(id), deadline).await {
                Ok(_) => return,
                Err(RequestError::Change(ChangeRefusal::NotCaughtUp(_))) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("member {id} is not promoted: {error}"),
            }
        }
    }

    /// Who votes, as member `id` has applied it.
    fn voters(&self, id: u64) -> Vec<u64> {
        let members = self.handle(id).members();
        let voters = members.members.iter().filter(|(_, m)| m.kind == MemberKind::Voter);
        voters.map(|(id, _)| id.0).collect()
    }

    async fn ends(&mut self, id: u64) -> NodeFailure {
        let running = self.running.remove(&id).unwrap();
        tokio::time::timeout_at(soon(), running.wait()).await.expect("it ends").unwrap_err()
    }

    async fn stop_all(mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            running.stop().await;
        }
    }
}

/// 1 → 3 → 5 → 3 while a client writes, the first member of all among those that go.
#[tokio::test]
async fn a_cluster_grows_and_shrinks_and_loses_nothing() {
    let mut world = World::new(1);
    world.say(1, "first").await;
    let mut expected = vec!["first".to_owned()];
    for id in 2..=5 {
        world.join(id);
        // Any member takes it.
        let asked = id - 1;
        world.handle(asked).add_learner(NodeId(id), &world.addresses[&id], soon()).await.unwrap();
        world.say(asked, id).await;
        expected.push(id.to_string());
        world.promote(asked, id).await;
        assert_eq!(world.voters(asked), (1..=id).collect::<Vec<_>>());
    }
    for id in 1..=5 {
        assert_eq!(contents(&world.handle(id)).await, expected);
        let members = world.handle(id).members();
        let known = members.members.values().filter(|member| member.address.is_some());
        assert_eq!(known.count(), 5, "member {id} knows where all are: {members:?}");
    }

    // Two go, one after the other, and the leader is the first of them.
    for _ in 0..2 {
        let leader = world.leader().await;
        let other = *world.running.keys().find(|id| **id != leader).unwrap();
        let members = world.handle(other).remove(NodeId(leader), soon()).await.unwrap();
        assert!(members.removed.contains(&NodeId(leader)));
        world.say(other, "on").await;
        expected.push("on".to_owned());
        let end = world.ends(leader).await;
        assert_eq!(end, NodeFailure::Stopped(StopReason::Removed));
        // It is told again if it is started again, and no one comes under its name.
        world.again(leader);
        assert_eq!(world.ends(leader).await, NodeFailure::Stopped(StopReason::Removed));
        let again = world.handle(other).add_learner(NodeId(leader), "127.0.0.1:1", soon()).await;
        assert_eq!(again, Err(RequestError::IdRemoved(NodeId(leader))));
    }
    for id in world.running.keys() {
        assert_eq!(contents(&world.handle(*id)).await, expected);
        assert_eq!(world.voters(*id).len(), 3);
    }

    // Who has left is no loss: all that are left go down, and come back without
    // being told of each other.
    let left: Vec<u64> = world.running.keys().copied().collect();
    for id in &left {
        world.stop(*id).await;
    }
    for id in &left {
        world.again(*id);
    }
    world.say(left[0], "again").await;
    expected.push("again".to_owned());
    assert_eq!(contents(&world.handle(left[2])).await, expected);
    world.stop_all().await;
}

/// Any set of voters becomes any other in one change, by a joint membership.
#[tokio::test]
async fn all_members_are_replaced_at_once() {
    let mut world = World::new(3);
    world.say(1, "old").await;
    for id in 4..=6 {
        world.join(id);
        world.handle(1).add_learner(NodeId(id), &world.addresses[&id], soon()).await.unwrap();
    }
    let swap = (1..=3).map(|id| Change::Remove(NodeId(id)));
    let changes: Vec<Change> = (4..=6).map(|id| Change::Promote(NodeId(id))).chain(swap).collect();
    let change = MemberChange { changes, ..MemberChange::default() };
    let deadline = soon();
    let members = loop {
        match world.handle(5).change_members(change.clone(), deadline).await {
            Ok(members) => break members,
            Err(RequestError::Change(ChangeRefusal::NotCaughtUp(_))) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!members.joint);
    assert_eq!(world.voters(5), [4, 5, 6]);
    for id in 1..=3 {
        assert_eq!(world.ends(id).await, NodeFailure::Stopped(StopReason::Removed));
    }
    world.say(4, "new").await;
    assert_eq!(contents(&world.handle(6)).await, ["old", "new"]);
    world.stop_all().await;
}

#[tokio::test]
async fn leadership_goes_where_it_is_sent() {
    let world = World::new(3);
    world.say(1, "before").await;
    for _ in 0..3 {
        let leader = world.leader().await;
        let to = leader % 3 + 1;
        let follower = to % 3 + 1;
        let refused = world.handle(follower).transfer_leadership(NodeId(to), soon()).await;
        assert!(matches!(refused, Err(RequestError::NotLeader { .. })), "{refused:?}");
        // Commands wait meanwhile, at any member.
        let commands: Vec<_> = (1..=3).map(|id| world.say(id, "meanwhile")).collect();
        world.handle(leader).transfer_leadership(NodeId(to), soon()).await.unwrap();
        for command in commands {
            command.await;
        }
        assert_eq!(world.handle(leader).status().leader, Some(NodeId(to)));
    }
    assert_eq!(contents(&world.handle(2)).await.len(), 10);
    let leader = world.leader().await;
    let nobody = world.handle(leader).transfer_leadership(NodeId(9), soon()).await;
    assert!(matches!(nobody, Err(RequestError::Transfer(_))), "{nobody:?}");
    world.stop_all().await;
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_with_the_reason() {
    let world = World::new(1);
    let handle = world.handle(1);
    let id = NodeId(7);
    let refused = |refusal| Err(RequestError::Change(refusal));
    assert_eq!(handle.promote(id, soon()).await, refused(ChangeRefusal::NotLearner(id)));
    assert_eq!(handle.remove(id, soon()).await, refused(ChangeRefusal::NotMember(id)));
    let update = handle.update_address(id, "127.0.0.1:1", soon()).await;
    assert_eq!(update, refused(ChangeRefusal::NotMember(id)));
    let me = NodeId(1);
    assert_eq!(handle.remove(me, soon()).await, refused(ChangeRefusal::NoVoters));
    let again = handle.add_learner(me, &world.addresses[&1], soon()).await;
    assert_eq!(again, refused(ChangeRefusal::AlreadyMember(me)));
    let alone = handle.add_voter(id, "127.0.0.1:1", soon()).await;
    assert_eq!(alone, refused(ChangeRefusal::QuorumUnreachable));
    handle.add_learner(id, "127.0.0.1:1", soon()).await.unwrap();
    assert_eq!(handle.promote(id, soon()).await, refused(ChangeRefusal::NotCaughtUp(id)));
    let long = handle.update_address(id, "x".repeat(5000), soon()).await;
    assert_eq!(long, Err(RequestError::AddressTooLong(id)));
    world.say(1, "on").await;
    world.stop_all().await;
}

/// A change that would lose the quorum of those that are up is refused, unless forced.
#[tokio::test]
async fn a_change_that_would_stop_the_group_is_refused_unless_forced() {
    let mut world = World::new(3);
    world.say(1, "before").await;
    let leader = world.leader().await;
    let (down, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let handle = world.handle(leader);
    world.stop(down).await;
    let deadline = soon();
    while handle.reached_for(NodeId(down)).is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it is missed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(handle.reached_for(NodeId(other)).is_some());
    // Then an election timeout on, it has not been heard of for so long.
    tokio::time::sleep(ELECTION_TIMEOUT).await;

    let refused = || Err(RequestError::Change(ChangeRefusal::QuorumUnreachable));
    for asked in [leader, other] {
        let asked = world.handle(asked);
        assert_eq!(asked.remove(NodeId(other), soon()).await, refused());
        assert_eq!(asked.demote(NodeId(other), soon()).await, refused());
        assert_eq!(asked.add_voter(NodeId(7), "127.0.0.1:1", soon()).await, refused());
    }
    world.say(other, "on").await;

    // Forced, it is taken, and done once the others can agree to it.
    let change = MemberChange { forced: true, ..Change::Remove(NodeId(other)).into() };
    let forced = tokio::spawn(async move { handle.change_members(change, soon()).await });
    world.again(down);
    let members = forced.await.unwrap().unwrap();
    assert!(!members.members.contains_key(&NodeId(other)), "{members:?}");
    assert_eq!(world.ends(other).await, NodeFailure::Stopped(StopReason::Removed));
    assert_eq!(contents(&world.handle(down)).await, ["before", "on"]);
    world.stop_all().await;
}

#[tokio::test]
async fn a_member_moves_to_another_address() {
    let mut world = World::new(3);
    world.say(1, "before").await;
    world.stop(3).await;
    world.give_address(3);
    let address = world.addresses[&3].clone();
    let members = world.handle(2).update_address(NodeId(3), &address, soon()).await.unwrap();
    assert_eq!(members.members[&NodeId(3)].address, Some(address));
    world.again(3);
    assert_eq!(contents(&world.handle(3)).await, ["before"]);
    world.stop_all().await;
}

/// One that was away while another moved knows it where it was, and the two are the only
/// ones left: it learns from being called where to answer.
#[tokio::test]
async fn who_has_moved_says_so_itself() {
    let mut world = World::new(3);
    world.say(1, "before").await;
    world.stop(3).await;
    world.stop(2).await;
    let before = world.addresses.clone();
    world.give_address(2);
    world.run(2, world.builder(2, &world.addresses));
    let address = world.addresses[&2].clone();
    world.handle(1).update_address(NodeId(2), address, soon()).await.unwrap();
    world.say(2, "moved").await;
    world.stop(1).await;
    world.run(3, world.builder(3, &before));
    world.say(3, "after").await;
    assert_eq!(contents(&world.handle(2)).await, ["before", "moved", "after"]);
    world.stop_all().await;
}

#[tokio::test]
async fn who_knows_an_address_finds_the_cluster() {
    let mut world = World::new(2);
    world.give_address(3);
    let own = world.addresses[&3].clone();
    let known = [format!("http://{}", world.addresses[&1])];
    let found = lookup(&known, &own).await.unwrap();
    assert_eq!((found.member, found.cluster_id), (None, "test".into()));
    assert_eq!(found.members.members.len(), 2);
    world.handle(1).add_learner(NodeId(0xabc), &own, soon()).await.unwrap();
    let deadline = soon();
    while lookup(&known, &own).await.unwrap().member != Some(NodeId(0xabc)) {
        assert!(tokio::time::Instant::now() < deadline);
    }
    let addresses = [world.addresses[&2].clone()];
    world.stop(2).await;
    let nobody = lookup(&addresses, &own).await;
    assert!(matches!(nobody, Err(LookupError::NoAnswer { .. })), "{nobody:?}");
    world.stop_all().await;
}

/// Its directory is gone, and it comes back as one that lost its disk: by itself,
/// as the operator allows it, it is a learner and then a voter again.
#[tokio::test]
async fn a_lost_disk_is_replaced() {
    let mut world = World::new(3);
    world.say(1, "before").await;
    for id in 1..=3 {
        contents(&world.handle(id)).await;
    }
    let leader = world.leader().await;
    let lost = leader % 3 + 1;
    world.stop(lost).await;
    std::fs::remove_dir_all(world.directory_of(lost)).unwrap();
    let named = world.addresses.clone();
    world.run(lost, world.builder(lost, &named).replace_lost_disk());
    assert_eq!(contents(&world.handle(lost)).await, ["before"]);
    let deadline = soon();
    while world.voters(lost).len() < 3 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.handle(lost).members());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its vote counts: without it there is no quorum.
    let other = (1..=3).find(|id| *id != lost && *id != leader).unwrap();
    world.stop(leader).await;
    world.say(other, "after").await;
    assert_eq!(contents(&world.handle(lost)).await, ["before", "after"]);
    world.again(leader);
    assert_eq!(contents(&world.handle(leader)).await, ["before", "after"]);
    world.stop_all().await;
}

/// Two of three are lost for good. One survivor goes on alone, and grows again.
#[tokio::test]
async fn a_survivor_goes_on_alone() {
    let mut world = World::new(3);
    world.say(1, "kept").await;
    for id in 1..=3 {
        contents(&world.handle(id)).await;
    }
    let running = recover(world.directory_of(2)).unwrap_err().to_string();
    assert!(running.contains("in use by another process"), "{running}");
    for id in 1..=3 {
        world.stop(id).await;
    }
    let recovered = recover(world.directory_of(2)).unwrap();
    assert_eq!(recovered.node_id, NodeId(2));
    assert_eq!(recovered.removed, [1, 3].map(NodeId).into());
    let again = recover(world.directory_of(2)).unwrap_err().to_string();
    assert!(again.contains("only voter already"), "{again}");
    world.again(2);
    world.say(2, "after").await;
    assert_eq!(contents(&world.handle(2)).await, ["kept", "after"]);
    assert_eq!(world.handle(2).members().removed, recovered.removed);
    // One that comes back after all is told.
    world.run(1, world.builder(1, &world.addresses));
    assert_eq!(world.ends(1).await, NodeFailure::Stopped(StopReason::Removed));
    world.join(4);
    world.handle(2).add_learner(NodeId(4), &world.addresses[&4], soon()).await.unwrap();
    world.promote(2, 4).await;
    assert_eq!(contents(&world.handle(4)).await, ["kept", "after"]);
    assert_eq!(world.handle(4).members().removed, recovered.removed);
    world.stop_all().await;
}

/// Two members and a third that holds no data: any one may go.
#[tokio::test]
async fn a_witness_votes_and_holds_nothing() {
    let mut world = World::new(2);
    world.say(1, "first").await;
    world.join(3);
    world.handle(1).add_witness(NodeId(3), &world.addresses[&3], soon()).await.unwrap();
    let asked = world.handle(3).propose("no".into(), soon()).await;
    assert_eq!(asked.unwrap_err(), RequestError::Witness);
    world.stop(2).await;
    world.say(1, "second").await;
    world.stop(3).await;
    world.again(3);
    world.say(1, "third").await;
    world.again(2);
    assert_eq!(contents(&world.handle(2)).await, ["first", "second", "third"]);
    assert!(world.handle(3).reader().lock().unwrap().is_empty());
    assert_eq!(world.handle(3).members().members[&NodeId(3)].kind, MemberKind::Witness);
    world.stop(3).await;
    for file in std::fs::read_dir(world.directory_of(3)).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
            assert!(!holds(b"second") && !holds(b"third"), "{}", path.display());
        }
    }
    world.stop_all().await;
}
