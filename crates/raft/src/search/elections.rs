//! Suite A, elections and replication: the scenes, their bounds, what must be met
//! in them, and the mutants that they must catch.

use super::mutant::Mutant;
use super::scene::{ANY, Bounds, Rules, disk};
use super::suite::{
    COMMITTED, COMMITTED_OLD, EARLY, LOST, PROPOSED, REJECTED, RIVALS, TRUNCATED, catches, holds,
    holds_deep,
};
use super::world::{Action, World};
use crate::{Membership, NodeId, Run};
use alloc::vec;
use alloc::vec::Vec;

fn of_three(
    disks: [(u64, Option<u64>, &[Run]); 3],
    bounds: Bounds,
    mutant: Option<Mutant>,
) -> World {
    let membership = Membership::of([1, 2, 3].map(NodeId));
    let disks = disks.map(|(term, vote, log)| disk(&membership, term, vote, log));
    World::new(disks.into(), bounds, Rules { mutant, ..Rules::default() })
}

/// From empty disks.
fn beginning(bounds: Bounds, mutant: Option<Mutant>) -> World {
    of_three([(0, None, &[]); 3], bounds, mutant)
}

/// Figure 8 with three members: 1 led term 2 and 3 led term 3, each wrote its
/// first entry, and nobody else has either; 1 has heard of term 3.
fn figure_8(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let (one, three) = ([Run::new(2, 1, 1)], [Run::new(3, 1, 1)]);
    let disks: [(u64, Option<u64>, &[Run]); 3] =
        [(3, None, &one), (3, Some(3), &[]), (3, Some(3), &three)];
    of_three(disks, bounds, mutant)
}

/// 1 led term 1 and wrote entries that nobody else has; 2 led term 2.
fn diverged(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let (one, two) = ([Run::new(1, 1, 2)], [Run::new(2, 1, 1)]);
    let disks: [(u64, Option<u64>, &[Run]); 3] =
        [(1, Some(1), &one), (2, Some(2), &two), (2, Some(2), &[])];
    of_three(disks, bounds, mutant)
}

/// The same, and 2 leads term 3 by the vote of 3; 1 knows nothing of it.
fn unheard(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let world = diverged(Bounds { term_max: 3, campaigns: 1, ..BOUNDS }, None);
    let rules = (*world.rules).clone();
    let world = world.ruled(Rules { links: vec![(1, 2)], ..rules.clone() });
    let world = world.after(Action::Campaign(1)).settled();
    world.ruled(rules).bounded(bounds).wrong(mutant)
}

const BOUNDS: Bounds = Bounds { term_max: 2, campaigns: 3, ..Bounds::NOTHING };

#[test]
fn three_elections_from_empty_disks() {
    holds("elections", &beginning(BOUNDS, None), &[COMMITTED, EARLY, REJECTED, RIVALS, TRUNCATED]);
}

#[test]
fn two_elections_and_a_crash() {
    let bounds = Bounds { campaigns: 2, crashes: 1, ..BOUNDS };
    holds("a crash", &beginning(bounds, None), &[COMMITTED, EARLY, LOST, RIVALS, TRUNCATED]);
}

#[test]
fn two_elections_and_a_message_twice() {
    let bounds = Bounds { campaigns: 2, repeats: 1, ..BOUNDS };
    holds("a message twice", &beginning(bounds, None), &[COMMITTED, EARLY, REJECTED, RIVALS]);
}

#[test]
fn a_leader_with_a_proposal_a_crash_and_a_message_twice() {
    let bounds =
        Bounds { term_max: 1, campaigns: 1, proposals: 1, crashes: 1, repeats: 1, ..BOUNDS };
    holds("a leader", &beginning(bounds, None), &[COMMITTED, EARLY, LOST, REJECTED, PROPOSED]);
}

#[test]
fn two_elections_after_figure_8() {
    let bounds = Bounds { term_max: 5, campaigns: 2, ..BOUNDS };
    let met = [COMMITTED, COMMITTED_OLD, EARLY, REJECTED, RIVALS, TRUNCATED];
    holds("figure 8", &figure_8(bounds, None), &met);
}

#[test]
fn two_elections_over_diverged_logs() {
    let bounds = Bounds { term_max: 4, campaigns: 2, ..BOUNDS };
    let met = [COMMITTED, COMMITTED_OLD, EARLY, REJECTED, RIVALS, TRUNCATED];
    holds("diverged", &diverged(bounds, None), &met);
}

macro_rules! caught {
    ($($name:ident: $mutant:ident in $world:ident with $bounds:expr, by $check:literal;)*) => {
        $(#[test]
        fn $name() {
            catches(&$world($bounds, Some(Mutant::$mutant)), $check, 400_000);
        })*
    };
}

const ONE: Bounds = Bounds { term_max: 1, campaigns: 1, ..BOUNDS };
const ONE_AND_A_CRASH: Bounds = Bounds { crashes: 1, ..ONE };

caught! {
    mutant_1_commit_counts_entries_of_older_terms: CommitsOldTerm in figure_8
        with Bounds { term_max: 5, campaigns: 2, ..BOUNDS }, by "leader completeness";
    mutant_2_vote_said_before_it_is_durable: VoteNotDurable in beginning
        with ONE_AND_A_CRASH, by "promises are kept";
    mutant_3_term_not_durable: TermNotDurable in unheard
        with Bounds { term_max: 3, campaigns: 0, beats: 2, crashes: 1, ..BOUNDS }, by "promises are kept";
    mutant_4_entries_acknowledged_before_they_are_durable: AcknowledgesVolatile in beginning
        with ONE, by "acknowledgements are true";
    mutant_5_leader_counts_itself_before_its_disk: CountsItselfVolatile in beginning
        with ONE, by "committed is durable on a quorum";
    mutant_6_empty_append_acknowledged_before_the_disk: EmptyAcknowledgesVolatile in beginning
        with Bounds { beats: 1, ..ONE }, by "acknowledgements are true";
    mutant_7_append_cuts_without_conflict: CutsWithoutConflict in beginning
        with Bounds { proposals: 1, repeats: 1, ..ONE }, by "acknowledgements are true";
    mutant_8_follower_acknowledges_its_own_last: AcknowledgesOwnLast in diverged
        with Bounds { term_max: 4, campaigns: 2, ..BOUNDS }, by "acknowledgements are true";
    mutant_9_rejection_moves_match: RejectionMatches in diverged
        with Bounds { term_max: 3, campaigns: 1, ..BOUNDS }, by "acknowledgements are true";
    mutant_10_follower_commits_without_bound: CommitsWithoutMin in diverged
        with Bounds { term_max: 3, campaigns: 1, beats: 1, ..BOUNDS }, by "state machine safety";
    mutant_11_logs_compared_by_length: ComparesLengths in diverged
        with Bounds { term_max: 4, campaigns: 2, ..BOUNDS }, by "leader completeness";
    mutant_12_two_votes_in_a_term: VotesTwice in beginning
        with Bounds { campaigns: 2, ..ONE }, by "persisted state goes back";
    mutant_26_completion_matched_by_index: CompletesByIndex in diverged
        with Bounds { term_max: 4, campaigns: 2, ..BOUNDS }, by "applied is durable";
    mutant_27_completion_overtakes_an_older_write: CompletesOutOfOrder in beginning
        with Bounds { proposals: 1, ..ONE }, by "acknowledgements are true";
    mutant_29_median_of_unsorted_indexes: MedianUnsorted in beginning
        with ONE, by "committed is durable on a quorum";
    mutant_37_votes_asked_before_the_disk: AsksBeforeDurable in beginning
        with ONE_AND_A_CRASH, by "promises are kept";
    mutant_38_applied_before_it_is_durable_here: AppliesVolatile in beginning
        with ONE, by "applied is durable";
}

/// As many elections and proposals as terms and logs have room for.
const WIDE: Bounds = Bounds { term_max: 3, log_max: 3, campaigns: ANY, proposals: ANY, ..BOUNDS };

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_three_terms_three_entries_and_two_crashes() {
    let bounds = Bounds { proposals: 0, crashes: 2, ..WIDE };
    let met = [COMMITTED, COMMITTED_OLD, EARLY, LOST, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: three terms, two crashes", &beginning(bounds, None), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_three_terms_and_what_a_client_brings() {
    let bounds = Bounds { campaigns: 3, proposals: 1, ..WIDE };
    let met = [COMMITTED, COMMITTED_OLD, EARLY, PROPOSED, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: three terms, a proposal", &beginning(bounds, None), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_two_terms_all_proposals_and_two_crashes() {
    let bounds = Bounds { term_max: 2, log_max: 2, crashes: 2, ..WIDE };
    let met = [COMMITTED, EARLY, LOST, PROPOSED, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: two terms, all proposals", &beginning(bounds, None), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_messages_again_and_again() {
    let bounds = Bounds { term_max: 2, log_max: 2, proposals: 0, crashes: 1, ..WIDE };
    let world = beginning(bounds, None);
    let rules = Rules { stays: true, ..(*world.rules).clone() };
    let met = [COMMITTED, EARLY, LOST, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: messages that stay", &world.ruled(rules), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_entries_sent_later_than_they_may_be() {
    let bounds = Bounds { term_max: 2, log_max: 2, proposals: 0, crashes: 1, ..WIDE };
    let world = beginning(bounds, None);
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    let met = [COMMITTED, EARLY, LOST, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: entries sent late", &world.ruled(rules), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_diverged_logs() {
    let bounds = Bounds { term_max: 4, campaigns: 2, crashes: 1, ..BOUNDS };
    let met = [COMMITTED, COMMITTED_OLD, EARLY, LOST, REJECTED, RIVALS, TRUNCATED];
    holds_deep("deep: diverged", &diverged(bounds, None), &met);
}

/// Scenes with a wrong variant each, for `story_tests`.
pub(crate) fn told() -> Vec<World> {
    let two = |term_max| Bounds { term_max, campaigns: 2, ..BOUNDS };
    vec![
        figure_8(two(5), Some(Mutant::CommitsOldTerm)),
        diverged(two(4), Some(Mutant::CompletesByIndex)),
        beginning(Bounds { proposals: 1, repeats: 1, ..ONE }, Some(Mutant::CutsWithoutConflict)),
        unheard(
            Bounds { term_max: 3, campaigns: 0, beats: 2, crashes: 1, ..BOUNDS },
            Some(Mutant::TermNotDurable),
        ),
        beginning(ONE_AND_A_CRASH, Some(Mutant::VoteNotDurable)),
    ]
}
