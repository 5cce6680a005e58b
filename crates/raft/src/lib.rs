//! The Raft algorithm, and nothing else.
//!
//! One state machine, [`Raft`], with one door: [`Raft::step`] takes an
//! [`Input`] at a [`Moment`] and answers with [`Effect`]s. It has no clock, no
//! randomness of its own, no I/O, and never sees a payload byte: safety in Raft
//! depends only on which (term, index) pairs stand in a log, so it reasons
//! about a [`Trail`] of them and the host moves the bytes beside it.
//!
//! # A tour, with the paper in hand
//!
//! Have *In Search of an Understandable Consensus Algorithm (Extended Version)*
//! open at Figure 2. Every numbered rule has an id, stands in the code behind
//! `// Rule AE.3:`, and has a test named for it that fails when that line is
//! altered; `docs/paper.md` is the table.
//!
//! | where in the paper | where here |
//! |---|---|
//! | Figure 2, State | [`HardState`] and [`Trail`] persist; the rest is [`Raft`], and `match_index` and `next_index` are in [`Progress`], which only leaders have |
//! | Figure 2, AppendEntries RPC (§5.3) | `rpc/append_entries.rs`; [`Message::Append`] and its three answers |
//! | Figure 2, RequestVote RPC (§5.2, §5.4.1) | `rpc/request_vote.rs`; [`Position`]'s order *is* "at least as up-to-date" |
//! | Figure 2, Rules for Servers | `roles/`, a file for each; `commit.rs` for §5.4.2 and Figure 8 |
//! | Figure 4 | [`Role`]; `Raft::change_role` is the only way from one to another |
//! | §5.3, Figure 7 | `roles/replicate.rs`: how a leader finds where logs part |
//! | §6, joint consensus | [`change`], [`membership`], `roles/membership.rs` |
//! | Figure 13, InstallSnapshot RPC (§7) | `rpc/install_snapshot.rs`; the chunks are the host's |
//! | §8, reads | `rpc/read_index.rs` |
//!
//! What goes beyond the paper says so in its first line, and cites Ongaro's thesis:
//! leadership transfer (§3.10, `roles/transfer.rs`), changes of membership (§4),
//! snapshots and those who lag (§5, `roles/catch_up.rs`), reads and leases (§6.4,
//! `rpc/read_index.rs`, `rpc/lease.rs`), pre-vote (§9.6, `roles/pre_candidate.rs`,
//! `rpc/pre_vote.rs`), writing to the leader's disk while followers write to theirs
//! (§10.2.1).
//!
//! Three things are not in the paper, and most bugs of others lie there:
//!
//! 1. *Disks are slow.* A step asks for a record to be made durable
//!    ([`Effect::Persist`]) and goes on at once. What rests on it, a vote, an
//!    acknowledgement, a candidate's own claim, waits in `outbox.rs` until
//!    [`Input::Persisted`]. Nothing is said before it is durable.
//! 2. *Entries are large.* Where the paper sends entries, this crate gives leave to
//!    ([`Effect::SendEntries`]), and learns how far it was used ([`Input::Sent`]).
//! 3. *Hearing is not storing.* An append has two answers: `AppendHeard` at once, on
//!    which leadership, reads and leases rest, and `AppendStored` once it is durable,
//!    on which commitment does.
//!
//! The quickest way in is a story: `tests/stories/election.txt`, then `figure_7.txt`,
//! `figure_8.txt`, `slow_disk.txt`, `joint.txt`: what a few members do, told line by
//! line by the code itself, with the rule behind every decision ([`Note`]).
//!
//! What is proved, and how far: `search/` visits every state that a few members can
//! reach within bounds, in this very code, and finds each deliberately wrong variant
//! of it (`docs/verification.md`, `docs/mutations.md`).
//!
//! # An election, by hand
//!
//! ```
//! use driftless_raft::*;
//!
//! let membership = Membership::of([1, 2, 3].map(NodeId));
//! let config = Config { pre_vote: false, ..Config::new(NodeId(1)) };
//! let now = Moment { now: Time(0), random: 0 };
//! let mut member = Raft::new(config, Restored::of(membership), now)?;
//!
//! // Nobody was heard for an election timeout: it claims term 1, on disk first.
//! let mut effects = Effects::new();
//! member.step(now, Input::Campaign, &mut effects);
//! let Some(Effect::Persist(claim)) =
//!     effects.list.iter().find(|effect| matches!(effect, Effect::Persist(_)))
//! else {
//!     panic!("a candidate writes its claim");
//! };
//! assert_eq!(claim.hard_state.voted_for, Some(NodeId(1)));
//! assert!(!effects.list.iter().any(|effect| matches!(effect, Effect::Send { .. })));
//!
//! // Durable: now it may ask, and one more vote is a majority.
//! let ticket = claim.ticket;
//! let mut effects = Effects::new();
//! member.step(now, Input::Persisted { ticket }, &mut effects);
//! let asked = effects.list.iter().filter(|effect| matches!(effect, Effect::Send { .. }));
//! assert_eq!(asked.count(), 2);
//! let message = Message::VoteReply { term: Term(1), vote_granted: true };
//! member.step(now, Input::Receive { from: NodeId(2), message }, &mut Effects::new());
//! assert_eq!(member.role(), Role::Leader);
//! # Ok::<(), RestartError>(())
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "a step of the usual kind is one function, however large the compiler finds it"
)]

extern crate alloc;
// The stories speak of this crate by its name, also where the search reads them.
#[cfg(test)]
extern crate self as driftless_raft;

pub mod change;
mod commit;
pub mod effect;
pub mod input;
pub mod membership;
pub mod message;
pub mod node_set;
pub mod note;
mod outbox;
pub mod progress;
mod raft;
mod rebase;
pub mod restart;
mod roles;
mod rpc;
pub mod runs;
#[cfg(test)]
mod search;
#[cfg(test)]
mod testing;
pub mod trail;
pub mod types;

pub use change::{Change, ChangeRefusal};
pub use effect::{
    Effect, Effects, Persist, ReadRefusal, Refusal, Role, Source, TransferOutcome, TransferRefusal,
};
pub use input::{Input, SnapshotOutcome};
pub use membership::Membership;
pub use message::{DelegateReport, Message};
pub use node_set::NodeSet;
pub use note::{Note, VoteRefusal};
pub use progress::Progress;
pub use raft::Raft;
pub use restart::{RestartError, Restored};
pub use runs::{Memberships, Run, Runs};
pub use trail::{MembershipEntry, Trail};
pub use types::{
    Config, GroupId, HardState, Index, Moment, NodeId, Position, Promotion, ReadId, Round, Term,
    Ticket, Time,
};
