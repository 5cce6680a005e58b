//! `etcdserverpb.Cluster`: who the members are, and how that changes.
//!
//! A member that is added as a voter begins as a learner, and votes as soon as
//! it has caught up ([`Services::attend_members`]): until then it could only cost
//! the others their majority. To clients it is a voter from the beginning, as in
//! etcd. One that is added as a learner stays one until it is promoted.

use super::electorate::Electorate;
use super::{Call, Services};
use crate::backend::Backend;
use crate::config::{Url, member_id};
use crate::pb;
use crate::status::Status;
use bytes::Bytes;
use driftless::raft::{Change, ChangeRefusal};
use driftless::{MemberChange, MemberKind, Members, NodeId, RequestError};
use driftless_kv::{Command, MemberAttributes, MemberIntent};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

impl<B: Backend> Services<B> {
    pub(super) async fn member_list(
        &self,
        request: pb::MemberListRequest,
        call: Call,
    ) -> Result<pb::MemberListResponse, Status> {
        if request.linearizable {
            self.read_barrier(call).await?;
        }
        Ok(pb::MemberListResponse { header: Some(self.header(0)), members: self.members() })
    }

    pub(super) async fn member_add(
        &self,
        request: pb::MemberAddRequest,
        call: Call,
    ) -> Result<pb::MemberAddResponse, Status> {
        let urls = peer_urls(&request.peer_urls)?;
        let intent = Intent::of(&request)?;
        let present =
            self.members_to_change(call, |voters| voters.may_add(request.is_learner)).await?;
        if takes_url(&present, &urls, None) {
            return Err(Status::PEER_URL_EXISTS);
        }
        let learners = present.iter().filter(|member| member.is_learner).count();
        if request.is_learner && learners >= self.limits().learners_max {
            return Err(Status::TOO_MANY_LEARNERS);
        }

        let id = self.new_member_id(&urls);
        let said = match &intent {
            Intent::Voter => None,
            Intent::Learner => Some(Command::Declare { id, intent: MemberIntent::Learner }),
            // Where it serves clients is nobody's affair: it has nothing for them, and those
            // that follow the list of members must not come to it.
            Intent::Witness(name) => {
                let name = Bytes::copy_from_slice(name.as_bytes());
                let client_urls = Vec::new();
                Some(Command::Publish(MemberAttributes { id, name, client_urls }))
            }
        };
        if let Some(said) = &said {
            let said = self.backend().propose(said.encode(), call.deadline).await;
            said.map_err(|error| call.refusal(error))?;
        }
        let contacts = BTreeMap::from([(NodeId(id), urls.join(","))]);
        let change = match intent {
            Intent::Voter | Intent::Learner => Change::AddLearner(NodeId(id)),
            Intent::Witness(_) => Change::AddWitness(NodeId(id)),
        };
        let change = MemberChange { contacts, ..change.into() };
        if let Err(error) = self.backend().change_members(change, call.deadline).await {
            // Unless it may come yet.
            if said.is_some() && error != RequestError::TimedOut {
                let _ = self.declare(id, MemberIntent::Gone, call.deadline).await;
            }
            return Err(refusal(error, call));
        }
        let members = self.members();
        if takes_url(&members, &urls, Some(id)) {
            // Somebody else was added there meanwhile, by way of another member.
            let change = Change::Remove(NodeId(id)).into();
            let undone = self.backend().change_members(change, call.deadline).await;
            undone.map_err(|error| refusal(error, call))?;
            return Err(Status::PEER_URL_EXISTS);
        }
        let member = members.iter().find(|member| member.id == id).cloned();
        Ok(pb::MemberAddResponse { header: Some(self.header(0)), member, members })
    }

    pub(super) async fn member_remove(
        &self,
        request: pb::MemberRemoveRequest,
        call: Call,
    ) -> Result<pb::MemberRemoveResponse, Status> {
        let id = request.id;
        let present = self.members_to_change(call, |voters| voters.may_remove(id)).await?;
        if !present.iter().any(|member| member.id == id) {
            return Err(Status::MEMBER_NOT_FOUND);
        }
        let forced = !self.limits().strict_reconfig_check;
        let change = MemberChange { forced, ..Change::Remove(NodeId(id)).into() };
        self.change(change, call).await?;
        let mut members = self.members();
        // A member that removes itself hears that it is gone, and applies no more.
        members.retain(|member| member.id != id);
        Ok(pb::MemberRemoveResponse { header: Some(self.header(0)), members })
    }

    pub(super) async fn member_update(
        &self,
        request: pb::MemberUpdateRequest,
        call: Call,
    ) -> Result<pb::MemberUpdateResponse, Status> {
        let id = request.id;
        let urls = peer_urls(&request.peer_urls)?;
        self.read_barrier(call).await?;
        let present = self.members();
        if !present.iter().any(|member| member.id == id) {
            return Err(Status::MEMBER_NOT_FOUND);
        }
        if takes_url(&present, &urls, Some(id)) {
            return Err(Status::PEER_URL_EXISTS);
        }
        let contacts = BTreeMap::from([(NodeId(id), urls.join(","))]);
        self.change(MemberChange { contacts, ..MemberChange::default() }, call).await?;
        Ok(pb::MemberUpdateResponse { header: Some(self.header(0)), members: self.members() })
    }

    pub(super) async fn member_promote(
        &self,
        request: pb::MemberPromoteRequest,
        call: Call,
    ) -> Result<pb::MemberPromoteResponse, Status> {
        let id = request.id;
        let may = |voters: &Electorate| match voters.is_learner(id) {
            Some(true) => voters.may_promote(),
            _ => Ok(()),
        };
        let present = self.members_to_change(call, may).await?;
        let Some(member) = present.iter().find(|member| member.id == id) else {
            return Err(Status::MEMBER_NOT_FOUND);
        };
        if member.role == pb::MemberRole::Witness as i32 {
            return Err(Status::WITNESS_STAYS);
        }
        if !member.is_learner {
            return Err(Status::NOT_LEARNER);
        }
        // Never forced: that would do without its having caught up, too.
        self.change(Change::Promote(NodeId(id)).into(), call).await?;
        Ok(pb::MemberPromoteResponse { header: Some(self.header(0)), members: self.members() })
    }

    /// `etcdserverpb.Maintenance.MoveLeader`.
    pub(super) async fn move_leader(
        &self,
        request: pb::MoveLeaderRequest,
        call: Call,
    ) -> Result<pb::MoveLeaderResponse, Status> {
        let to = NodeId(request.target_id);
        let status = self.backend().status();
        if status.leader != Some(status.node_id) {
            return Err(Status::NOT_LEADER);
        }
        let done = Ok(pb::MoveLeaderResponse { header: None });
        if to == status.node_id {
            return done;
        }
        let members = self.backend().members().members;
        match members.get(&to).map(|member| member.kind) {
            Some(MemberKind::Voter) => {}
            Some(MemberKind::Witness) => return Err(Status::WITNESS_CANNOT_LEAD),
            Some(MemberKind::Learner) | None => return Err(Status::BAD_TRANSFEREE),
        }
        match self.backend().transfer_leadership(to, call.deadline).await {
            Ok(()) => done,
            Err(RequestError::TimedOut) => Err(Status::TRANSFER_TIMED_OUT),
            Err(error) => Err(refusal(error, call)),
        }
    }

    /// The members, all changes that are done among them, unless `may` refuses the next
    /// one where strictness is asked for. It is heard as well if nobody can tell what is
    /// done: mostly for the same reason.
    async fn members_to_change(
        &self,
        call: Call,
        may: impl Fn(&Electorate) -> Result<(), Status>,
    ) -> Result<Vec<pb::Member>, Status> {
        let barrier = self.read_barrier(call).await;
        let present = self.members();
        if self.limits().strict_reconfig_check {
            let own = self.identity().member_id;
            may(&Electorate::of(&present, own, |id| self.backend().reached_for(NodeId(id))))?;
        }
        barrier.map(|()| present)
    }

    async fn change(&self, change: MemberChange, call: Call) -> Result<Members, Status> {
        let changed = self.backend().change_members(change, call.deadline).await;
        changed.map_err(|error| refusal(error, call))
    }

    /// The members as clients see them, with what each has said about itself.
    pub(crate) fn members(&self) -> Vec<pb::Member> {
        let reader = self.backend().reader();
        let (published, learners) = (reader.members(), reader.declared_learners());
        let present = self.backend().members().members;
        if present.is_empty() {
            // A new member that has not been told anything yet.
            return self.identity().members.clone();
        }
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let member = |(id, member): (NodeId, driftless::Member)| {
            let id = id.0;
            let known = self.identity().members.iter().find(|known| known.id == id);
            let mut shown = known.cloned().unwrap_or_default();
            shown.id = id;
            if let Some(address) = &member.address {
                shown.peer_urls = urls_of(address);
            }
            shown.is_learner = member.kind == MemberKind::Learner && learners.contains(&id);
            shown.role = match member.kind {
                MemberKind::Voter => pb::MemberRole::Voter,
                MemberKind::Learner => pb::MemberRole::Learner,
                MemberKind::Witness => pb::MemberRole::Witness,
            } as i32;
            if let Some(said) = published.iter().find(|said| said.id == id) {
                shown.name = text(&said.name);
                shown.client_urls = said.client_urls.iter().map(text).collect();
            }
            shown
        };
        present.into_iter().map(member).collect()
    }

    /// As etcd makes one; unlike etcd's time, ours is not in whole seconds.
    fn new_member_id(&self, urls: &[String]) -> u64 {
        let known = self.backend().members();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ids = (0..).map(|n| {
            let salt = format!("{:x}{}", self.identity().cluster_id, since.as_nanos() + n);
            member_id(urls, &salt)
        });
        let is_new = |id: &u64| {
            let id = NodeId(*id);
            id.0 != 0 && !known.members.contains_key(&id) && !known.removed.contains(&id)
        };
        ids.find(is_new).expect("few of all numbers are taken")
    }

    async fn declare(
        &self,
        id: u64,
        intent: MemberIntent,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let command = Command::Declare { id, intent }.encode();
        self.backend().propose(command, deadline).await.map(drop)
    }

    /// What a leader does about members by itself, as long as this runs: voters
    /// to be are promoted when they have caught up, and what is known of those
    /// that are gone is forgotten. On every member, notices what it is itself.
    pub async fn attend_members(&self) {
        let mut changes = self.backend().watch_members();
        loop {
            changes.borrow_and_update();
            self.note_kind();
            let status = self.backend().status();
            if status.leader == Some(status.node_id) {
                self.attend_as_leader().await;
            }
            let members = self.backend().members().members;
            let learns = |member: &driftless::Member| member.kind == MemberKind::Learner;
            let pause = if members.values().any(learns) { ATTEND_EVERY } else { ATTEND_SELDOM };
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether this member has no vote, be it meant so or not.
    pub(crate) fn learns(&self) -> bool {
        let own = NodeId(self.identity().member_id);
        let members = self.backend().members().members;
        members.get(&own).is_some_and(|member| member.kind == MemberKind::Learner)
    }

    fn note_kind(&self) {
        let own = self.identity().member_id;
        let is_learner =
            self.learns() && self.backend().reader().declared_learners().contains(&own);
        self.inner.is_learner.store(is_learner, Ordering::Relaxed);
        let is_witness = self.backend().status().is_witness;
        self.inner.is_witness.store(is_witness, Ordering::Relaxed);
    }

    async fn attend_as_leader(&self) {
        let Members { members, joint, removed } = self.backend().members();
        let declared = self.backend().reader().declared_learners();
        let deadline = Instant::now() + ATTEND_PATIENCE;
        // Whatever fails is tried again next time.
        for (id, member) in &members {
            let is_declared = declared.contains(&id.0);
            match member.kind {
                MemberKind::Learner if !is_declared && !joint => {
                    let change = Change::Promote(*id).into();
                    if self.backend().change_members(change, deadline).await.is_ok() {
                        log::info!("member {:x} has caught up, and votes from now on", id.0);
                    }
                }
                MemberKind::Voter if is_declared => {
                    let _ = self.declare(id.0, MemberIntent::Voter, deadline).await;
                }
                _ => {}
            }
        }
        let published = self.backend().reader().members();
        let known = published.into_iter().map(|said| said.id).chain(declared);
        for id in known.filter(|id| removed.contains(&NodeId(*id))) {
            let _ = self.declare(id, MemberIntent::Gone, deadline).await;
        }
    }
}

/// What a new member is meant to be.
enum Intent {
    Voter,
    Learner,
    /// Its name.
    Witness(String),
}

impl Intent {
    fn of(request: &pb::MemberAddRequest) -> Result<Self, Status> {
        match (request.is_learner, request.is_witness) {
            (true, true) => Err(Status::LEARNER_OR_WITNESS),
            (true, false) => Ok(Self::Learner),
            (false, true) if request.name.is_empty() => Err(Status::WITNESS_NAMELESS),
            (false, true) => Ok(Self::Witness(request.name.clone())),
            (false, false) => Ok(Self::Voter),
        }
    }
}

/// How often a leader looks whether a learner has caught up.
const ATTEND_EVERY: Duration = Duration::from_millis(100);
/// The same where there is none.
const ATTEND_SELDOM: Duration = Duration::from_secs(2);
const ATTEND_PATIENCE: Duration = Duration::from_secs(5);

/// What a client is told when a change of members, or of leadership, failed.
fn refusal(error: RequestError, call: Call) -> Status {
    use driftless::raft::TransferRefusal;
    match error {
        RequestError::Change(refusal) => match refusal {
            ChangeRefusal::NotMember(_) => Status::MEMBER_NOT_FOUND,
            ChangeRefusal::NotLearner(_) => Status::NOT_LEARNER,
            ChangeRefusal::NotCaughtUp(_) => Status::LEARNER_NOT_READY,
            ChangeRefusal::NoVoters => Status::NOT_ENOUGH_STARTED,
            ChangeRefusal::QuorumUnreachable => Status::UNHEALTHY,
            ChangeRefusal::TooManyWitnesses => Status::TOO_MANY_WITNESSES,
            _ => error.into(),
        },
        RequestError::IdRemoved(_) => Status::MEMBER_NOT_FOUND,
        RequestError::AddressTooLong(_) => Status::MEMBER_BAD_URLS,
        RequestError::NotLeader { .. }
        | RequestError::Transfer(TransferRefusal::NotLeader { .. }) => Status::NOT_LEADER,
        RequestError::Transfer(
            TransferRefusal::CannotLead(_) | TransferRefusal::Unreachable(_),
        ) => Status::BAD_TRANSFEREE,
        error => call.refusal(error),
    }
}

/// URLs as etcd takes them: at least one, each of a scheme, a host and a port.
fn peer_urls(texts: &[String]) -> Result<Vec<String>, Status> {
    let url = |text: &String| {
        let url = Url::parse("peer-urls", text.trim()).map_err(|_| Status::MEMBER_BAD_URLS)?;
        if text.trim().ends_with('/') {
            return Err(Status::MEMBER_BAD_URLS);
        }
        Ok(url.to_string())
    };
    let mut urls = texts.iter().map(url).collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() {
        return Err(Status::MEMBER_BAD_URLS);
    }
    urls.sort();
    Ok(urls)
}

/// The URLs of an address that may be none: `host:port`, as the library takes it.
pub(crate) fn urls_of(address: &str) -> Vec<String> {
    let url = |part: &str| {
        if part.contains("://") { part.to_owned() } else { format!("http://{part}") }
    };
    address.split(',').map(str::trim).filter(|part| !part.is_empty()).map(url).collect()
}

/// Whether a member has one of these URLs, but for `except`.
fn takes_url(members: &[pb::Member], urls: &[String], except: Option<u64>) -> bool {
    let others = members.iter().filter(|member| Some(member.id) != except);
    others.flat_map(|member| &member.peer_urls).any(|url| urls.contains(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_etcd_takes() {
        let take = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            peer_urls(&texts)
        };
        let sorted = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(take(&["http://b:2", " http://a:1 "]), Ok(sorted));
        for wrong in ["", "a:1", "http://a", "http://a:1/", "http://a:1/x", "ftp://a:1"] {
            assert_eq!(take(&[wrong]), Err(Status::MEMBER_BAD_URLS), "{wrong:?}");
        }
        assert_eq!(take(&[]), Err(Status::MEMBER_BAD_URLS));
        assert_eq!(urls_of("h:1, https://g:2"), ["http://h:1", "https://g:2"]);
    }
}
