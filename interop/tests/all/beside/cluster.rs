//! Changes of members and of leadership: as far as a single member that runs can make
//! them, the others never started; and of three, of which one dies.

use super::calls::{Call, Member, forget, range};
use super::{Pair, expect_same};
use crate::support::eventually;
use etcd_client::proto::{
    PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest, PbMemberListResponse,
    PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest, PbMemberRemoveResponse,
    PbMemberUpdateRequest, PbMemberUpdateResponse, PbMoveLeaderRequest, PbMoveLeaderResponse,
    PbResponseHeader,
};
use tonic::Code;

/// Whom a step is about.
#[derive(Clone, Copy, Debug)]
enum Whom {
    /// The member that is asked.
    Itself,
    /// Another that was there from the beginning, by its number from 1 on.
    Founder(usize),
    /// The one that was added last.
    Added,
    /// Nobody.
    Nobody,
}

use Whom::{Added, Founder, Itself, Nobody};

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(&'static [&'static str]),
    AddLearner(&'static [&'static str]),
    /// With the peer URL of the member that runs.
    AddAgain,
    Remove(Whom),
    Promote(Whom),
    Update(Whom, &'static [&'static str]),
    /// To the peer URL of the member that runs.
    UpdateToTaken(Whom),
    MoveLeader(Whom),
}

const ONE: &[&str] = &["http://127.0.0.1:1"];
/// Not the same twice in a second: etcd's ids are made of URLs and seconds.
const ONE_AND_MORE: &[&str] = &["http://127.0.0.1:1", "http://127.0.0.1:4"];
const TWO: &[&str] = &["http://127.0.0.1:2", "http://127.0.0.1:3"];
const THREE: &[&str] = &["http://127.0.0.1:5"];

/// Each step, and how it ends with both. Two are left out, in which we do not follow:
/// an update to URLs that are none, which etcd leaves to its clients to notice, and
/// takes; and an update of a learner, which in etcd 3.4 makes a voter of it.
const STEPS: &[(Step, Result<(), &str>)] = &[
    (Step::Add(&[]), BAD_URLS),
    (Step::Add(&["nonsense"]), BAD_URLS),
    (Step::Add(&["http://127.0.0.1"]), BAD_URLS),
    (Step::Add(&["http://127.0.0.1:1/path"]), BAD_URLS),
    (Step::Add(&["http://127.0.0.1:1/"]), BAD_URLS),
    (Step::AddAgain, URL_EXISTS),
    (Step::Remove(Nobody), NOT_FOUND),
    (Step::Remove(Itself), NOT_ENOUGH),
    (Step::Promote(Nobody), NOT_FOUND),
    (Step::Promote(Itself), NO_LEARNER),
    (Step::Update(Nobody, ONE), NOT_FOUND),
    (Step::MoveLeader(Nobody), BAD_TRANSFEREE),
    (Step::MoveLeader(Itself), Ok(())),
    (Step::AddLearner(ONE), Ok(())),
    (Step::AddLearner(ONE_AND_MORE), URL_EXISTS),
    (Step::AddLearner(TWO), TOO_MANY),
    (Step::Promote(Added), NOT_IN_SYNC),
    (Step::MoveLeader(Added), BAD_TRANSFEREE),
    (Step::UpdateToTaken(Added), URL_EXISTS),
    (Step::Update(Itself, TWO), Ok(())),
    (Step::Remove(Itself), NOT_ENOUGH),
    (Step::Remove(Added), Ok(())),
    (Step::Remove(Added), NOT_FOUND),
    (Step::Promote(Added), NOT_FOUND),
    (Step::Update(Added, ONE), NOT_FOUND),
    // From here on etcd has no majority any more.
    (Step::Add(THREE), Ok(())),
    (Step::Add(ONE), NOT_ENOUGH),
];

const BAD_URLS: Result<(), &str> = Err("etcdserver: given member URLs are invalid");
const URL_EXISTS: Result<(), &str> = Err("etcdserver: Peer URLs already exists");
const NOT_FOUND: Result<(), &str> = Err("etcdserver: member not found");
const NOT_ENOUGH: Result<(), &str> =
    Err("etcdserver: re-configuration failed due to not enough started members");
const NO_LEARNER: Result<(), &str> = Err("etcdserver: can only promote a learner member");
const NOT_IN_SYNC: Result<(), &str> =
    Err("etcdserver: can only promote a learner member which is in sync with leader");
const TOO_MANY: Result<(), &str> = Err("etcdserver: too many learner members in cluster");
const BAD_TRANSFEREE: Result<(), &str> = Err("etcdserver: bad leader transferee");

/// What came of a step: a header, the member it made, and all members after it.
type Answer = Result<(Option<PbResponseHeader>, Option<PbMember>, Vec<PbMember>), (Code, String)>;

/// One of the two, and whom it knows.
struct Side<'a> {
    member: &'a Member,
    /// By their names; it is the first itself.
    founders: Vec<PbMember>,
    added: u64,
}

impl<'a> Side<'a> {
    async fn of(member: &'a Member) -> Self {
        let list: PbMemberListResponse = member
            .unary("/etcdserverpb.Cluster/MemberList", PbMemberListRequest {})
            .await
            .expect("it serves");
        let mut founders = list.members;
        founders.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(founders[0].client_ur_ls, [member.url.as_str()]);
        Self { member, founders, added: 0 }
    }

    fn id(&self, whom: Whom) -> u64 {
        match whom {
            Itself => self.founders[0].id,
            Founder(number) => self.founders[number - 1].id,
            Added => self.added,
            Nobody => 7,
        }
    }

    async fn take(&mut self, step: Step) -> Answer {
        let own = self.founders[0].peer_ur_ls.clone();
        let texts = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
        let answer = match step {
            Step::Add(urls) => self.add(texts(urls), false).await,
            Step::AddLearner(urls) => self.add(texts(urls), true).await,
            Step::AddAgain => self.add(own, false).await,
            Step::Remove(whom) => {
                let request = PbMemberRemoveRequest { id: self.id(whom) };
                let path = "/etcdserverpb.Cluster/MemberRemove";
                let answer = self.member.unary(path, request).await;
                answer.map(|a: PbMemberRemoveResponse| (a.header, None, a.members))
            }
            Step::Promote(whom) => {
                let request = PbMemberPromoteRequest { id: self.id(whom) };
                let path = "/etcdserverpb.Cluster/MemberPromote";
                let answer = self.member.unary(path, request).await;
                answer.map(|a: PbMemberPromoteResponse| (a.header, None, a.members))
            }
            Step::Update(whom, urls) => self.update(whom, texts(urls)).await,
            Step::UpdateToTaken(whom) => self.update(whom, own).await,
            Step::MoveLeader(whom) => {
                let request = PbMoveLeaderRequest { target_id: self.id(whom) };
                let path = "/etcdserverpb.Maintenance/MoveLeader";
                let answer = self.member.unary(path, request).await;
                answer.map(|a: PbMoveLeaderResponse| (a.header, None, Vec::new()))
            }
        };
        answer.map(|(mut header, member, members)| {
            forget(header.as_mut());
            let mut members: Vec<_> =
                members.into_iter().map(|member| self.without_ids(member)).collect();
            members.sort_by(|a, b| a.peer_ur_ls.cmp(&b.peer_ur_ls));
            (header, member.map(|member| self.without_ids(member)), members)
        })
    }

    async fn add(&mut self, peer_ur_ls: Vec<String>, is_learner: bool) -> Answer {
        let request = PbMemberAddRequest { peer_ur_ls, is_learner };
        let answer = self.member.unary("/etcdserverpb.Cluster/MemberAdd", request).await;
        let answer: PbMemberAddResponse = answer?;
        self.added = answer.member.as_ref().expect("it was added").id;
        Ok((answer.header, answer.member, answer.members))
    }

    async fn update(&self, whom: Whom, peer_ur_ls: Vec<String>) -> Answer {
        let request = PbMemberUpdateRequest { id: self.id(whom), peer_ur_ls };
        let answer = self.member.unary("/etcdserverpb.Cluster/MemberUpdate", request).await;
        answer.map(|a: PbMemberUpdateResponse| (a.header, None, a.members))
    }

    /// Members by who they are, whatever their ids, and the founders wherever they run.
    fn without_ids(&self, mut member: PbMember) -> PbMember {
        let founder = self.founders.iter().position(|founder| founder.id == member.id);
        if let Some(number) = founder {
            let url = vec![format!("http://founder-{}", number + 1)];
            (member.peer_ur_ls, member.client_ur_ls) = (url.clone(), url);
        }
        member.id = match founder {
            Some(number) => number as u64 + 1,
            None if member.id == self.added => 100,
            None => member.id,
        };
        member
    }

    /// The same, as soon as the links to the others have lasted, or one that is gone is
    /// missed: until then the answer is not `yet`.
    async fn take_unless(&mut self, step: Step, yet: impl Fn(&Answer) -> bool) -> Answer {
        eventually(&format!("{step:?} is answered otherwise"), async || {
            let answer = self.take(step).await;
            (!yet(&answer)).then_some(answer)
        })
        .await
    }
}

#[tokio::test]
async fn members_and_leaders_change_as_in_etcd() {
    let Some(pair) = Pair::start().await else { return };
    let (mut ours, mut theirs) = (Side::of(&pair.driftless).await, Side::of(&pair.etcd).await);
    for (number, (step, end)) in STEPS.iter().enumerate() {
        let (our, their) = tokio::join!(ours.take(*step), theirs.take(*step));
        expect_same(&our, &their, &format_args!("step {number}: {step:?}"));
        let refusal = our.as_ref().err().map(|(_, text)| text.as_str());
        assert_eq!(refusal, end.err(), "step {number}: {step:?}: {our:#?}");
    }
    println!("{} steps", STEPS.len());
}

/// What three answer of which the third is killed, once that is noticed.
const WITHOUT_ONE: &[(Step, Result<(), &str>)] = &[
    (Step::AddLearner(ONE), UNHEALTHY),
    (Step::Remove(Itself), UNHEALTHY),
    (Step::Remove(Founder(2)), UNHEALTHY),
    (Step::Promote(Founder(2)), NO_LEARNER),
    (Step::Update(Founder(3), TWO), Ok(())),
    // It is not missed, and the two that are left may be joined by a third.
    (Step::Remove(Founder(3)), Ok(())),
    (Step::Add(THREE), Ok(())),
    (Step::Add(ONE), NOT_ENOUGH),
    (Step::Remove(Founder(2)), NOT_ENOUGH),
    (Step::Remove(Added), Ok(())),
];

const UNHEALTHY: Result<(), &str> = Err("etcdserver: unhealthy cluster");

fn is_unhealthy(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(|(_, text)| Err(text.as_str()) == UNHEALTHY)
}

#[tokio::test]
async fn a_member_that_died_holds_changes_up_as_in_etcd() {
    let Some(mut pair) = Pair::start_of(3).await else { return };
    let (mut ours, mut theirs) = (Side::of(&pair.driftless).await, Side::of(&pair.etcd).await);
    for step in [Step::AddLearner(ONE), Step::Remove(Added)] {
        let our = ours.take_unless(step, is_unhealthy).await;
        let their = theirs.take_unless(step, is_unhealthy).await;
        expect_same(&our, &their, &step);
        assert!(our.is_ok(), "{step:?}: {our:?}");
    }
    for cluster in &mut pair.clusters {
        cluster.members[2].kill();
    }
    // Whoever led, somebody does again.
    for member in [&pair.driftless, &pair.etcd] {
        eventually("it reads", async || {
            let answer = member.call(&Call::Range(range("k", ""))).await;
            answer.refusal().is_none().then_some(())
        })
        .await;
    }
    // What is refused in either case.
    let not_missed = |answer: &Answer| !is_unhealthy(answer);
    ours.take_unless(Step::AddAgain, not_missed).await.unwrap_err();
    theirs.take_unless(Step::AddAgain, not_missed).await.unwrap_err();
    for (number, (step, end)) in WITHOUT_ONE.iter().enumerate() {
        let (our, their) = tokio::join!(ours.take(*step), theirs.take(*step));
        expect_same(&our, &their, &format_args!("step {number}: {step:?}"));
        let refusal = our.as_ref().err().map(|(_, text)| text.as_str());
        assert_eq!(refusal, end.err(), "step {number}: {step:?}: {our:#?}");
    }
}
