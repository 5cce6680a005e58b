//! What clients want of members and leadership, from asked to answered.
//!
//! A change is done when *this* member has applied it, wherever the leader was.
//! First the addresses that come with it are in the log, as entries of their own;
//! then the leader is asked, by a frame if it is another. An ask or its answer may
//! be lost, and the leader may change: then it is asked again, and "that is so
//! already" means to wait for the log to show it.

use crate::node::{HOUSEKEEPING_US, Node};
use crate::port::{Action, Answer, MemberChange, Report, RequestError, RequestToken};
use bytes::Bytes;
use driftless_codec::{ADDRESS_BYTES_MAX, Contact, EntryKind, Founders, PeerFrame};
use driftless_raft::{
    Change, ChangeRefusal, Index, Input, Moment, NodeId, Role, Term, Time, TransferRefusal,
};

/// An ask that is not answered is repeated after this long.
const ASK_AGAIN_US: u64 = 500_000;

/// The leader was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    leader: NodeId,
    term: Term,
    request: u64,
    at: Time,
    /// Whether its answer is here, and was not "later".
    answered: bool,
}

/// One change that somebody waits for.
#[derive(Debug)]
struct Wish {
    token: RequestToken,
    change: MemberChange,
    deadline: Time,
    asked: Option<Asked>,
    /// Not asked again before this time.
    again_at: Time,
    /// Addresses are not proposed again before this time.
    contacts_again_at: Time,
    /// Whether an ask may have been taken that we do not know of. Then what a
    /// leader says of the next does not mean that nothing was done.
    unsure: bool,
    /// Where the leader put it, if it said so.
    taken_at: Option<Index>,
}

/// A transfer that somebody waits for.
#[derive(Debug)]
struct Transfer {
    token: RequestToken,
    to: NodeId,
    deadline: Time,
}

/// What is wanted and not done.
#[derive(Debug)]
pub(crate) struct Changes {
    wishes: Vec<Wish>,
    transfers: Vec<Transfer>,
    next_request: u64,
    /// What the step in progress says to a change, or to a transfer.
    pub(crate) judged: Option<Result<Index, ChangeRefusal>>,
    pub(crate) transfer_refused: Option<TransferRefusal>,
    /// The founders are not published again before this time.
    founders_again_at: Time,
    /// Whether something has happened that a wish may have waited for.
    pub(crate) due: bool,
}

impl Changes {
    /// Requests are counted from `first_request`, so that those of two processes
    /// are not taken for each other.
    pub(crate) fn new(first_request: u64) -> Self {
        Self {
            wishes: Vec::new(),
            transfers: Vec::new(),
            next_request: first_request,
            judged: None,
            transfer_refused: None,
            founders_again_at: Time(0),
            due: false,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.wishes.is_empty() && self.transfers.is_empty()
    }

    /// This member is gone: who wanted just that has it.
    pub(crate) fn removed(&mut self, me: NodeId) -> Vec<RequestToken> {
        let is_it = |wish: &mut Wish| {
            let MemberChange { changes, contacts, .. } = &wish.change;
            contacts.is_empty() && changes[..] == [Change::Remove(me)]
        };
        self.wishes.extract_if(.., is_it).map(|wish| wish.token).collect()
    }

    /// Gives everything up with `error`, at the end.
    pub(crate) fn stop(&mut self, error: RequestError) -> Vec<(RequestToken, RequestError)> {
        let wishes = self.wishes.drain(..).map(|wish| wish.token);
        let transfers = self.transfers.drain(..).map(|transfer| transfer.token);
        wishes.chain(transfers).map(|token| (token, error)).collect()
    }
}

/// What a refusal means to whoever asked.
enum Meaning {
    /// Ask again soon.
    Later,
    /// It is so already, perhaps because of us.
    AlreadySo,
    /// No.
    No,
}

fn meaning(refusal: ChangeRefusal) -> Meaning {
    match refusal {
        ChangeRefusal::NotLeader { .. }
        | ChangeRefusal::Transferring { .. }
        | ChangeRefusal::TermNotCommitted
        | ChangeRefusal::ChangeOpen { .. } => Meaning::Later,
        ChangeRefusal::AlreadyMember(_)
        | ChangeRefusal::NotMember(_)
        | ChangeRefusal::NotLearner(_)
        | ChangeRefusal::NotVoter(_)
        | ChangeRefusal::NoChange => Meaning::AlreadySo,
        _ => Meaning::No,
    }
}

/// Who is added by a change.
fn added(change: &Change) -> Option<NodeId> {
    match *change {
        Change::AddVoter(id) | Change::AddLearner(id) | Change::AddWitness(id) => Some(id),
        _ => None,
    }
}

impl Node {
    pub(crate) fn ask_change(
        &mut self,
        token: RequestToken,
        change: MemberChange,
        deadline: Time,
    ) -> Result<(), RequestError> {
        let too_long = |(_, address): &(&NodeId, &String)| address.len() > ADDRESS_BYTES_MAX;
        if let Some((id, _)) = change.contacts.iter().find(too_long) {
            return Err(RequestError::AddressTooLong(*id));
        }
        self.changes.wishes.push(Wish {
            token,
            change,
            deadline,
            asked: None,
            again_at: Time(0),
            contacts_again_at: Time(0),
            unsure: false,
            taken_at: None,
        });
        self.changes.due = true;
        Ok(())
    }

    /// Brings every wish as far as it goes now.
    pub(crate) fn drive_changes(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.changes.due) {
            return;
        }
        for mut wish in std::mem::take(&mut self.changes.wishes) {
            match self.drive(moment, &mut wish, actions) {
                None => self.changes.wishes.push(wish),
                Some(answer) => actions.push(Action::Answer { token: wish.token, answer }),
            }
        }
        self.settle_transfers(moment, actions);
        self.readmit_lost_disks(moment, actions);
    }

    fn drive(
        &mut self,
        moment: Moment,
        wish: &mut Wish,
        actions: &mut Vec<Action>,
    ) -> Option<Answer> {
        let refused = |error| Some(Answer::Refused(error));
        let asked_before = wish.unsure || wish.asked.is_some();
        if wish.deadline <= moment.now {
            let nothing_done = !asked_before && self.raft.leader().is_none();
            return refused(if nothing_done {
                RequestError::NoLeader
            } else {
                RequestError::TimedOut
            });
        }
        let coming: Vec<NodeId> = wish.change.changes.iter().filter_map(added).collect();
        let mut named = coming.iter().chain(wish.change.contacts.keys());
        if let Some(id) = named.find(|id| self.roster.is_removed(**id)) {
            return refused(RequestError::IdRemoved(*id));
        }
        let is_around = |id: &NodeId| {
            let in_force = self.raft.membership();
            coming.contains(id) || in_force.contains(*id) || self.roster.membership().contains(*id)
        };
        if let Some(id) = wish.change.contacts.keys().find(|id| !is_around(id)) {
            return refused(RequestError::Change(ChangeRefusal::NotMember(*id)));
        }
        if !self.contacts_are_applied(moment.now, wish, actions) {
            return None;
        }
        if wish.change.changes.is_empty() {
            return Some(Answer::Changed);
        }
        let has_come = match wish.taken_at {
            Some(at) => self.applier.applied.index >= at,
            None => wish.unsure,
        };
        if has_come && self.roster.satisfies(&wish.change.changes) {
            return Some(Answer::Changed);
        }
        self.ask_leader(moment, wish, actions)
    }

    /// Sees to it that the addresses of a wish are in the log, and says whether this
    /// member has applied them.
    fn contacts_are_applied(
        &mut self,
        now: Time,
        wish: &mut Wish,
        actions: &mut Vec<Action>,
    ) -> bool {
        let lacks =
            |(id, address): &(&NodeId, &String)| self.roster.address(**id) != Some(*address);
        let lacking: Vec<Bytes> = wish
            .change
            .contacts
            .iter()
            .filter(lacks)
            .map(|(id, address)| Contact { node_id: *id, address: address.clone() }.encode())
            .collect();
        if !lacking.is_empty() && wish.contacts_again_at <= now {
            wish.contacts_again_at = now.after(HOUSEKEEPING_US);
            self.propose_own(EntryKind::Contact, &lacking, actions);
        }
        lacking.is_empty()
    }

    /// Has entries of the node's own appended: here, or by the leader.
    fn propose_own(&mut self, kind: EntryKind, payloads: &[Bytes], actions: &mut Vec<Action>) {
        let me = self.raft.id();
        match self.raft.leader() {
            Some(leader) if leader == me => {
                let entries = payloads.iter().map(|payload| (me, kind, payload.clone()));
                self.forwarded.extend(entries);
            }
            Some(leader) => {
                let entries = payloads.iter().map(|payload| (kind, payload.clone())).collect();
                self.links.send(leader, &PeerFrame::Forward { entries }, actions);
            }
            None => {}
        }
    }

    fn ask_leader(
        &mut self,
        moment: Moment,
        wish: &mut Wish,
        actions: &mut Vec<Action>,
    ) -> Option<Answer> {
        let leader = self.raft.leader()?;
        let (now, term) = (moment.now, self.raft.term());
        if now < wish.again_at {
            return None;
        }
        if let Some(asked) = wish.asked {
            let same = (asked.leader, asked.term) == (leader, term);
            if same && (asked.answered || now.since(asked.at) < ASK_AGAIN_US) {
                return None;
            }
            wish.unsure = true;
        }
        let leads = leader == self.raft.id();
        if !leads && !self.links.reaches(leader) {
            return None;
        }
        self.changes.next_request = self.changes.next_request.wrapping_add(1);
        let request = self.changes.next_request;
        wish.asked = Some(Asked { leader, term, request, at: now, answered: false });
        let MemberChange { changes, forced, .. } = &wish.change;
        if leads {
            let answer = self.take_change(moment, changes.clone(), *forced, actions);
            return hear(wish, now, answer);
        }
        let frame = PeerFrame::AskChange { request, changes: changes.clone(), forced: *forced };
        self.links.send(leader, &frame, actions);
        None
    }

    /// As leader: takes a change, or says why not.
    pub(crate) fn take_change(
        &mut self,
        moment: Moment,
        changes: Vec<Change>,
        forced: bool,
        actions: &mut Vec<Action>,
    ) -> Result<Index, ChangeRefusal> {
        if self.raft.role() != Role::Leader {
            return Err(ChangeRefusal::NotLeader { leader: self.raft.leader() });
        }
        // What was removed is known once it is applied, and nobody is to come twice.
        let at = self.raft.trail().membership_index();
        let is_behind = self.applier.applied.index < at;
        let came_before = |id: NodeId| self.roster.is_removed(id);
        if is_behind || changes.iter().filter_map(added).any(came_before) {
            return Err(ChangeRefusal::ChangeOpen { at });
        }
        if !self.roster.is_founded() {
            self.publish_founders(moment.now, actions);
            return Err(ChangeRefusal::ChangeOpen { at });
        }
        self.changes.judged = None;
        self.step(moment, Input::ChangeMembership { changes, forced }, actions);
        self.changes.judged.take().unwrap_or(Err(ChangeRefusal::TermNotCommitted))
    }

    /// Before the first change: who join later must learn from the log who the first
    /// members were, and where they are.
    fn publish_founders(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.changes.founders_again_at > now {
            return; // It is on its way.
        }
        self.changes.founders_again_at = now.after(ASK_AGAIN_US);
        let membership = self.roster.membership().clone();
        let named = &self.options.addresses;
        let contact = |id| Some(Contact { node_id: id, address: named.get(&id)?.clone() });
        let contacts = membership.iter().filter_map(contact).collect();
        let founders = Founders { membership, contacts }.encode();
        self.propose_own(EntryKind::Founders, &[founders], actions);
    }

    /// A member asks for a change.
    pub(crate) fn change_asked(
        &mut self,
        moment: Moment,
        (peer, request): (NodeId, u64),
        changes: Vec<Change>,
        forced: bool,
        actions: &mut Vec<Action>,
    ) {
        let answer = if self.raft.membership().contains(peer) {
            self.take_change(moment, changes, forced, actions)
        } else {
            Err(ChangeRefusal::NotLeader { leader: None })
        };
        self.links.send(peer, &PeerFrame::ChangeAnswer { request, answer }, actions);
    }

    /// The leader answers.
    pub(crate) fn change_answered(
        &mut self,
        moment: Moment,
        request: u64,
        answer: Result<Index, ChangeRefusal>,
        actions: &mut Vec<Action>,
    ) {
        let mut wishes = self.changes.wishes.iter_mut();
        let Some(at) =
            wishes.position(|wish| wish.asked.is_some_and(|asked| asked.request == request))
        else {
            return;
        };
        self.changes.due = true;
        if let Some(answer) = hear(&mut self.changes.wishes[at], moment.now, answer) {
            let token = self.changes.wishes.remove(at).token;
            actions.push(Action::Answer { token, answer });
        }
    }

    /// The operator wants another leader.
    pub(crate) fn ask_transfer(
        &mut self,
        moment: Moment,
        token: RequestToken,
        to: NodeId,
        deadline: Time,
        actions: &mut Vec<Action>,
    ) -> Result<(), RequestError> {
        if self.raft.role() != Role::Leader {
            return Err(RequestError::NotLeader { leader: self.raft.leader() });
        }
        self.changes.transfer_refused = None;
        self.step(moment, Input::TransferLeadership { to, deadline }, actions);
        if let Some(reason) = self.changes.transfer_refused.take() {
            return Err(RequestError::Transfer(reason));
        }
        self.changes.transfers.push(Transfer { token, to, deadline });
        self.changes.due = true;
        Ok(())
    }

    fn settle_transfers(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        let (me, leader) = (self.raft.id(), self.raft.leader());
        let mut settled = Vec::new();
        self.changes.transfers.retain(|&Transfer { token, to, deadline }| {
            let answer = match leader {
                Some(leader) if leader == to => Answer::Transferred,
                Some(other) if other != me => {
                    Answer::Refused(RequestError::NotLeader { leader: Some(other) })
                }
                _ if deadline <= moment.now => Answer::Refused(RequestError::TimedOut),
                _ => return true,
            };
            settled.push(Action::Answer { token, answer });
            false
        });
        actions.extend(settled);
    }

    /// As leader: brings members in again that came back with another disk, if whoever
    /// runs this wants that.
    fn readmit_lost_disks(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if self.raft.role() != Role::Leader || !self.options.readmit_lost_disks {
            return;
        }
        for (id, incarnation) in self.links.acquaintance.lost(self.raft.membership()) {
            let change = vec![Change::Readmit { id, incarnation }];
            match self.take_change(moment, change, false, actions) {
                Ok(_) => actions.push(Action::Report(Report::Readmitting { peer: id })),
                // It goes on calling, and is tried again then.
                Err(_) => self.links.acquaintance.forget_lost(id),
            }
        }
    }
}

/// Takes in what the leader said to a wish. The answer to the client, if it is one.
fn hear(wish: &mut Wish, now: Time, answer: Result<Index, ChangeRefusal>) -> Option<Answer> {
    let asked = wish.asked.as_mut()?;
    match answer {
        Ok(at) => {
            asked.answered = true;
            wish.taken_at = Some(at);
            wish.unsure = true;
        }
        Err(refusal) => match meaning(refusal) {
            Meaning::AlreadySo if wish.unsure => asked.answered = true,
            Meaning::AlreadySo | Meaning::No if !wish.unsure => {
                return Some(Answer::Refused(RequestError::Change(refusal)));
            }
            _ => {
                wish.asked = None;
                wish.again_at = now.after(HOUSEKEEPING_US);
            }
        },
    }
    None
}
