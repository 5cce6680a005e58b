//! Clients: each asks one thing at a time, of any member, and writes down what
//! it saw and when.

use crate::clock::WorldTime;
use crate::history::OperationId;
use crate::network::Process;
use crate::plan::Sabotage;
use crate::property::{Breach, hold};
use crate::report::Situation;
use crate::workload::{Ask, Request, Workload};
use crate::world::{Happening, ModelInput, Phase, ToNode, World};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Index, NodeId, Role};
use driftless_node::{Answer, ClientRequest, Event, RequestError, RequestToken};

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u64,
    /// Whom it asks unless that one is gone.
    home: NodeId,
    waits_for: Option<RequestToken>,
}

impl Client {
    pub(crate) fn new(number: u64, members: u64) -> Self {
        Self { number, home: NodeId(1 + number % members), waits_for: None }
    }
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Open<I, O> {
    /// Who asked; nobody for the last questions of a run.
    client: Option<usize>,
    operation: OperationId,
    input: I,
    is_read: bool,
    asked: Process,
    asked_at: WorldTime,
    /// What was committed anywhere when it was asked.
    committed: Index,
    /// The node has answered; it is on its way to the client.
    answer: Option<Heard<O>>,
}

/// What a client hears.
#[derive(Debug)]
enum Heard<O> {
    Output(O),
    Refused,
    Unknown,
}

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    pub(crate) fn client_asks(&mut self, number: usize) {
        if self.phase >= Phase::Settling || self.clients[number].waits_for.is_some() {
            return;
        }
        let wanders = self.client_random.chance(1, 5);
        let member = if wanders { self.some_member() } else { self.clients[number].home };
        let answers = !self.witnesses.contains(&member);
        let Some(asked) = self.members[&member].process().filter(|_| answers) else {
            // Nobody listens there: the next request goes to somebody else.
            self.clients[number].home = self.some_member();
            self.client_thinks(number);
            return;
        };
        let request = self.workload.next(&mut self.client_random);
        let token = self.ask(Some(number), asked, request);
        self.clients[number].waits_for = Some(token);
    }

    /// Somebody for a client to ask.
    fn some_member(&mut self) -> NodeId {
        let here: Vec<NodeId> =
            self.members.values().filter(|member| !member.is_out).map(|member| member.id).collect();
        self.client_random.pick(&here).copied().unwrap_or(NodeId(1))
    }

    /// Sends a request to a member and writes it down.
    fn ask(
        &mut self,
        client: Option<usize>,
        asked: Process,
        request: Request<ModelInput<M, W>>,
    ) -> RequestToken {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        let Request { input, ask } = request;
        let number = client.map_or(1_000 + asked.member.0, |client| self.clients[client].number);
        self.tell(|| format!("client {number} asks member {}: {input:?}", asked.member));
        let operation = self.history.invoke(number, input.clone(), self.now * 1_000);
        let member = self.members.get_mut(&asked.member).expect("a member of this world");
        let deadline = member.clock.at(self.now).after(self.plan.patience_us);
        let is_read = matches!(ask, Ask::Read);
        let request = match ask {
            Ask::Command(command) => {
                self.ghosts.asked(&command);
                ClientRequest::Propose { token, command, deadline }
            }
            Ask::Read => ClientRequest::Read { token, deadline },
        };
        let committed = self.ghosts.commit_index();
        let asked_at = self.now;
        let answer = None;
        let open = Open { client, operation, input, is_read, asked, asked_at, committed, answer };
        self.open.insert(token, open);
        let travel_us = self.client_random.between(20, 500);
        let event = ToNode::Event(Event::Client(request));
        self.after(travel_us, Happening::Node(asked, event));
        // A member that stands still answers late; its client does not wait for ever.
        let gives_up = self.plan.patience_us * 3 + 1_000_000;
        self.after(gives_up, Happening::ClientGivesUp(token));
        token
    }

    fn client_thinks(&mut self, number: usize) {
        let think_us = self.client_random.below(self.plan.think_us_max + 1);
        self.after(think_us, Happening::ClientAsks(number));
    }

    /// A request reaches its member. Says whether its node is to see it.
    pub(crate) fn request_arrives(&mut self, request: &ClientRequest) -> Result<bool, Breach> {
        let token = request.token();
        if self.wishes.contains_key(&token) {
            return Ok(true);
        }
        let Some(open) = self.open.get(&token) else { return Ok(false) };
        if self.plan.sabotage == Some(Sabotage::ReadWithoutBarrier) && open.is_read {
            self.answered(open.asked, token, Answer::ReadReady)?;
            return Ok(false);
        }
        if open.is_read && self.plan.lease_drift_ppm.is_some() {
            let member = &self.members[&open.asked.member];
            let raft = member.running.as_ref().map(|running| running.node.raft());
            let leads = raft.filter(|raft| raft.role() == Role::Leader);
            let has_lease = leads.map(|raft| raft.has_lease(member.clock.at(self.now)));
            match has_lease {
                Some(true) => self.count(Situation::LeaseRead),
                Some(false) => self.count(Situation::LeaseRanOut),
                None => {}
            }
        }
        Ok(true)
    }

    /// A node answers.
    pub(crate) fn answered(
        &mut self,
        process: Process,
        token: RequestToken,
        answer: Answer,
    ) -> Result<(), Breach> {
        if self.operator_hears(process, token, &answer)? {
            return Ok(());
        }
        let member = &self.members[&process.member];
        let running = member.running.as_ref().expect("it answers, so it runs");
        let status = running.node.status();
        let Some(open) = self.open.get(&token) else {
            // Its client has given up waiting.
            return Ok(());
        };
        hold!(
            open.asked == process && open.answer.is_none(),
            AnsweredOnce,
            "member {} answers {token:?} once more: {answer:?}",
            process.member
        );
        let answer_text = match &answer {
            Answer::Refused(error) => error.to_string(),
            _ => String::new(),
        };
        let heard = match answer {
            Answer::Applied { position, reply } => {
                let check = self.ghosts.acknowledged(process.member, position);
                self.heed(check, ())?;
                match self.workload.output(&open.input, &reply) {
                    Ok(output) => Heard::Output(output),
                    Err(why) => {
                        hold!(false, Linearizable, "no reply to {:?}: {why}", open.input);
                        Heard::Unknown
                    }
                }
            }
            Answer::ReadReady => {
                let fresh = is_fresh(process, status.applied_index, open.committed);
                if self.plan.sabotage != Some(Sabotage::ReadWithoutBarrier) {
                    self.heed(fresh, ())?;
                }
                Heard::Output(self.workload.read(&open.input, &running.machine.reader()))
            }
            Answer::Changed | Answer::Transferred => {
                hold!(false, AnsweredOnce, "{:?} is answered as no client asks", open.input);
                Heard::Unknown
            }
            Answer::Refused(
                RequestError::TimedOut
                | RequestError::Stopped
                | RequestError::ReplyLost
                | RequestError::SessionLost,
            ) => Heard::Unknown,
            Answer::Refused(error) => {
                match error {
                    RequestError::DiskFull => self.report.count(Situation::RefusedDiskFull),
                    RequestError::Busy => self.report.count(Situation::RefusedBusy),
                    _ => {}
                }
                Heard::Refused
            }
        };
        hold!(
            open.client.is_some() || matches!(heard, Heard::Output(_)),
            Liveness,
            "all faults are over and member {} does not do {:?}: {answer_text}",
            process.member,
            open.input
        );
        if matches!((&heard, open.is_read), (Heard::Output(_), true)) && member.disk_is_full {
            self.report.count(Situation::ReadOnFullDisk);
        }
        let leads = status.role == Role::Leader;
        let situation = match (&heard, open.is_read) {
            (Heard::Output(_), true) => Situation::ReadServed,
            (Heard::Output(_), false) => Situation::Acknowledged,
            (Heard::Refused, _) => Situation::RefusedCleanly,
            (Heard::Unknown, _) => Situation::UnknownOutcome,
        };
        self.report.count(situation);
        match situation {
            Situation::ReadServed if !leads => self.report.count(Situation::FollowerRead),
            Situation::Acknowledged if !leads => self.report.count(Situation::Forwarded),
            _ => {}
        }
        if self.is_narrated() {
            let number = open.client.map_or(1_000 + process.member.0, |c| self.clients[c].number);
            let heard = match &heard {
                Heard::Output(output) => format!("{output:?}"),
                Heard::Refused => format!("refused, {answer_text}"),
                Heard::Unknown => "nobody knows what became of it".to_owned(),
            };
            let text = format!("member {} answers client {number}: {heard}", process.member);
            self.tell(|| text);
        }
        self.open.get_mut(&token).expect("it is open").answer = Some(heard);
        let travel_us = self.client_random.between(20, 500);
        self.after(travel_us, Happening::AnswerArrives(token));
        Ok(())
    }

    pub(crate) fn answer_arrives(&mut self, token: RequestToken) {
        let Some(Open { client, operation, answer: Some(heard), .. }) = self.open.remove(&token)
        else {
            return;
        };
        match heard {
            Heard::Output(output) => self.history.respond(operation, output, self.now * 1_000),
            Heard::Refused => self.history.refuse(operation),
            Heard::Unknown => {}
        }
        self.goes_on(client);
    }

    pub(crate) fn client_gives_up(&mut self, token: RequestToken) -> Result<(), Breach> {
        let Some(open) = self.open.remove(&token) else { return Ok(()) };
        hold!(
            open.client.is_some(),
            Liveness,
            "all faults are over and member {} does not answer {:?}",
            open.asked.member,
            open.input
        );
        let listens_since = self.listens_since(open.asked).filter(|_| open.answer.is_none());
        hold!(
            listens_since.is_none_or(|since| since > open.asked_at),
            AnsweredOnce,
            "member {} stood still at no time and let the deadline of {:?} pass without a word",
            open.asked.member,
            open.input
        );
        self.count(Situation::UnknownOutcome);
        self.goes_on(open.client);
        Ok(())
    }

    /// Since when the process has run without a pause, if it does.
    pub(crate) fn listens_since(&self, process: Process) -> Option<WorldTime> {
        let running = self.members[&process.member].running.as_ref()?;
        (running.process == process && !running.paused).then_some(running.listens_since)
    }

    fn goes_on(&mut self, client: Option<usize>) {
        if let Some(number) = client {
            self.clients[number].waits_for = None;
            self.client_thinks(number);
        }
    }

    /// The process is gone: whoever waits for it notices.
    pub(crate) fn clients_lose(&mut self, process: Process) {
        let lost: Vec<RequestToken> = self
            .open
            .iter()
            .filter(|(_, open)| open.asked == process && open.answer.is_none())
            .map(|(token, _)| *token)
            .collect();
        self.operator_loses(process);
        for token in lost {
            let notices_us = self.client_random.between(20, 2_000);
            self.after(notices_us, Happening::ClientGivesUp(token));
        }
    }

    /// Asks a member for everything there is, and for one more write.
    pub(crate) fn ask_the_last(&mut self, id: NodeId) {
        let Some(process) = self.members[&id].process() else { return };
        for input in self.workload.last_reads() {
            self.ask(None, process, Request { input, ask: Ask::Read });
        }
        let write = (0..1_000).find_map(|_| {
            let request = self.workload.next(&mut self.client_random);
            matches!(request.ask, Ask::Command(_)).then_some(request)
        });
        if let Some(request) = write {
            self.ask(None, process, request);
        }
    }
}

/// A read answers a state that has all that was committed before it was asked.
fn is_fresh(process: Process, applied: Index, committed: Index) -> Result<(), Breach> {
    hold!(
        applied >= committed,
        ReadIsFresh,
        "member {} serves a read at {applied}, committed before it was asked was {committed}",
        process.member
    );
    Ok(())
}
