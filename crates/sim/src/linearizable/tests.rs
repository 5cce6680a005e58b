//! Histories that are linearizable, and histories that are not.

use super::{Model, Verdict, check, check_within};
use crate::history::{History, OperationId, Outcome};
use crate::random::Random;
use crate::register::{Access, Registers, Seen, Verb};

type Register = Registers<&'static str, u64>;
type Story = History<Access<&'static str, u64>, Seen<u64>>;

fn read(history: &mut Story, key: &'static str, from: u64, until: u64, value: u64) {
    let id = history.invoke(1, Access { key, verb: Verb::Read }, from);
    history.respond(id, Seen::Value(value), until);
}

fn write(history: &mut Story, key: &'static str, from: u64, until: u64, value: u64) {
    let id = history.invoke(2, Access { key, verb: Verb::Write(value) }, from);
    history.respond(id, Seen::Written, until);
}

fn write_unknown(history: &mut Story, key: &'static str, from: u64, value: u64) -> OperationId {
    history.invoke(3, Access { key, verb: Verb::Write(value) }, from)
}

fn verdict(story: impl FnOnce(&mut Story)) -> Verdict<Register> {
    let mut history = History::new();
    story(&mut history);
    check(&Register::new(0), &history)
}

fn good(story: impl FnOnce(&mut Story)) {
    let verdict = verdict(story);
    assert!(verdict.is_linearizable(), "{verdict:?}");
}

fn bad(story: impl FnOnce(&mut Story)) {
    let verdict = verdict(story);
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
}

#[test]
fn a_read_beside_a_write_may_see_either_value() {
    for seen in [0, 1] {
        good(|h| {
            write(h, "x", 10, 30, 1);
            read(h, "x", 20, 25, seen);
        });
    }
}

#[test]
fn a_stale_read_is_caught() {
    bad(|h| {
        write(h, "x", 10, 20, 1);
        read(h, "x", 30, 40, 0);
    });
}

#[test]
fn a_lost_write_is_caught() {
    bad(|h| {
        write(h, "x", 10, 20, 1);
        write(h, "x", 30, 40, 2);
        read(h, "x", 50, 60, 1);
    });
}

#[test]
fn a_value_from_nowhere_is_caught() {
    bad(|h| read(h, "x", 10, 20, 7));
}

#[test]
fn reads_may_not_swap_the_order_of_writes() {
    bad(|h| {
        write(h, "x", 10, 100, 1);
        write(h, "x", 10, 100, 2);
        read(h, "x", 20, 30, 1);
        read(h, "x", 40, 50, 2);
        read(h, "x", 60, 70, 1);
    });
}

#[test]
fn keys_are_independent() {
    good(|h| {
        write(h, "x", 10, 20, 1);
        read(h, "y", 30, 40, 0);
    });
}

#[test]
fn what_touches_overlaps() {
    good(|h| {
        write(h, "x", 10, 20, 1);
        read(h, "x", 20, 30, 0);
    });
}

#[test]
fn an_unknown_write_may_happen_never_late_or_at_once() {
    good(|h| {
        write_unknown(h, "x", 10, 1);
        read(h, "x", 20, 30, 0);
    });
    good(|h| {
        write_unknown(h, "x", 10, 1);
        read(h, "x", 20, 30, 0);
        write(h, "x", 40, 50, 2);
        read(h, "x", 60, 70, 1);
    });
}

#[test]
fn an_unknown_write_happens_once() {
    bad(|h| {
        write_unknown(h, "x", 10, 1);
        write(h, "x", 20, 30, 2);
        read(h, "x", 40, 50, 1);
        write(h, "x", 60, 70, 3);
        read(h, "x", 80, 90, 1);
    });
}

#[test]
fn equal_unknown_writes_happen_as_often_as_they_were_sent() {
    let story = |sent: u64| {
        move |h: &mut Story| {
            for at in 0..sent {
                write_unknown(h, "x", at, 1);
            }
            for round in 0..3 {
                write(h, "x", 100 + round * 40, 110 + round * 40, 2);
                read(h, "x", 120 + round * 40, 130 + round * 40, 1);
            }
        }
    };
    good(story(3));
    bad(story(2));
}

#[test]
fn a_refused_write_must_not_be_seen() {
    bad(|h| {
        let id = write_unknown(h, "x", 10, 1);
        h.refuse(id);
        read(h, "x", 20, 30, 1);
    });
}

#[test]
fn two_winners_of_one_comparison_are_caught() {
    bad(|h| {
        for value in [1, 2] {
            let verb = Verb::CompareAndSet { from: 0, to: value };
            let id = h.invoke(value, Access { key: "x", verb }, 10);
            h.respond(id, Seen::Compared(true), 20);
        }
    });
}

#[test]
fn a_violation_names_the_answer_and_its_surroundings() {
    let verdict = verdict(|h| {
        write(h, "x", 10, 20, 1);
        write_unknown(h, "x", 25, 5);
        read(h, "x", 30, 40, 0);
    });
    let Verdict::Violation(violation) = verdict else { panic!("{verdict:?}") };
    assert_eq!(violation.states, [1]);
    assert_eq!(violation.open.len(), 1);
    let text = violation.to_string();
    assert!(text.contains("answered Value(0) at 40 ns"), "{text}");
}

#[test]
fn past_its_bound_it_says_that_it_does_not_know() {
    let mut history = History::new();
    for value in 1..12 {
        write(&mut history, "x", 10, 100 + value, value);
    }
    let verdict = check_within(&Register::new(0), &history, 50);
    assert!(matches!(verdict, Verdict::Undecided { .. }), "{verdict:?}");
}

/// The definition, word for word: some order of the operations that agrees with
/// real time and with the model. Exponential; for small histories only.
fn naive(model: &Register, history: &Story) -> bool {
    fn extend(model: &Register, history: &Story, done: &mut Vec<usize>, state: u64) -> bool {
        let operations = history.operations();
        let left: Vec<usize> = (0..operations.len()).filter(|n| !done.contains(n)).collect();
        let returned = |n: &usize| match operations[*n].outcome {
            Outcome::Returned { at_ns, .. } => Some(at_ns),
            Outcome::Unknown | Outcome::Refused => None,
        };
        let Some(first_return) = left.iter().filter_map(returned).min() else { return true };
        left.iter().any(|&n| {
            let operation = &operations[n];
            let output = match &operation.outcome {
                Outcome::Returned { output, .. } => Some(output),
                Outcome::Unknown => None,
                Outcome::Refused => return false,
            };
            if operation.invoked_ns > first_return {
                return false;
            }
            let Some(next) = model.step(&state, &operation.input, output) else { return false };
            done.push(n);
            let explained = extend(model, history, done, next);
            done.pop();
            explained
        })
    }
    extend(model, history, &mut Vec::new(), 0)
}

#[test]
fn agrees_with_the_definition_on_random_small_histories() {
    let model = Register::new(0);
    let mut random = Random::new(1);
    let mut found = [0, 0];
    for _ in 0..4_000 {
        let mut history = History::new();
        for client in 0..random.between(2, 7) {
            let verb = match random.below(4) {
                0 => Verb::Read,
                1 => Verb::Write(random.below(3)),
                2 => Verb::Swap(random.below(3)),
                _ => Verb::CompareAndSet { from: random.below(3), to: random.below(3) },
            };
            let from = random.below(20);
            let output = match verb {
                Verb::Write(_) => Seen::Written,
                Verb::Read | Verb::Swap(_) => Seen::Value(random.below(3)),
                Verb::CompareAndSet { .. } => Seen::Compared(random.chance(1, 2)),
            };
            let id = history.invoke(client, Access { key: "x", verb }, from);
            match random.below(8) {
                0 => history.refuse(id),
                1 | 2 => {}
                _ => history.respond(id, output, from + random.below(12)),
            }
        }
        let expected = naive(&model, &history);
        let verdict = check(&model, &history);
        assert_eq!(verdict.is_linearizable(), expected, "{verdict:?} for {history:#?}");
        found[usize::from(expected)] += 1;
    }
    assert!(found.iter().all(|count| *count > 300), "one-sided: {found:?}");
}

/// A history that is linearizable because each operation took effect at some
/// instant between its ends; of every twentieth the client never heard.
fn truthful(operations: u64, clients: u64, keys: usize, random: &mut Random) -> Story {
    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    let model = Register::new(0);
    let mut planned = Vec::new();
    let mut free_at = vec![0_u64; clients as usize];
    for number in 1..=operations {
        let client = random.below(clients);
        let from = free_at[client as usize] + random.between(1, 40);
        let effect = from + random.below(100);
        let until = effect + random.below(100);
        free_at[client as usize] = until;
        let verb = match random.below(3) {
            0 => Verb::Write(number),
            1 => Verb::Swap(number),
            _ => Verb::Read,
        };
        let key = *random.pick(&KEYS[..keys]).unwrap();
        planned.push((effect, from, until, client, Access { key, verb }, random.below(20) == 0));
    }
    planned.sort_by_key(|plan| plan.0);
    let mut states = std::collections::BTreeMap::new();
    let mut history = History::new();
    for (_, from, until, client, access, unheard) in planned {
        let state = states.entry(access.key).or_insert(0);
        let id = history.invoke(client, access.clone(), from);
        let happens = !unheard || random.chance(1, 2);
        let output =
            if let Verb::Write(_) = access.verb { Seen::Written } else { Seen::Value(*state) };
        if happens {
            *state = model.step(state, &access, None).unwrap();
        }
        if !unheard {
            history.respond(id, output, until);
        }
    }
    history
}

#[test]
fn thousands_of_operations_on_few_keys_are_quick_and_a_planted_stale_read_is_found() {
    let model = Register::new(0);
    let mut random = Random::new(2);
    let honest = truthful(6_000, 24, 4, &mut random);
    let unknown = |o: &&_| matches!(o, crate::history::Operation { outcome: Outcome::Unknown, .. });
    assert!(honest.operations().iter().filter(unknown).count() > 200);
    let verdict = check(&model, &honest);
    assert!(verdict.is_linearizable(), "{verdict:?}");

    // One read, late in the history, sees what was overwritten long ago.
    let mut lying = honest.clone();
    let last = lying.operations().iter().map(|operation| operation.invoked_ns).max().unwrap();
    write(&mut lying, "a", last + 1_000, last + 1_100, 1_000_001);
    write(&mut lying, "a", last + 1_200, last + 1_300, 1_000_002);
    read(&mut lying, "a", last + 1_400, last + 1_500, 1_000_001);
    assert!(matches!(check(&model, &lying), Verdict::Violation(_)));

    // One acknowledged write is gone.
    let mut lossy = honest;
    read(&mut lossy, "b", last + 1_000, last + 1_100, 0);
    assert!(matches!(check(&model, &lossy), Verdict::Violation(_)));
}
