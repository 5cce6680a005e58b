//! What the search for wide bounds leaves out is nothing: it meets every state of
//! members and ghost that there is, and finds what is wrong as soon as the plain one.

use super::symmetry::Symmetry;
use super::world::World;
use super::{search, story, wide};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Scenes with a wrong variant each, of all suites.
fn scenes() -> Vec<World> {
    let a_and_b = super::elections::told().into_iter().chain(super::members::told());
    let c_and_d = super::snapshots::told().into_iter().chain(super::reads::told());
    let scenes = a_and_b.chain(c_and_d).chain(super::rejoin::told());
    scenes.filter(|scene| scene.members.len() <= wide::MEMBERS_MAX).collect()
}

/// Every state of members and ghost that the actions of `World` lead to, one by one.
fn all(start: &World) -> BTreeSet<u64> {
    let start = start.clone().settled_fate();
    let mut symmetry = Symmetry::of(&start);
    let mut names = BTreeSet::from([symmetry.name(&start)]);
    let mut seen = BTreeSet::from([symmetry.fingerprint(&start)]);
    let mut waiting = vec![start];
    while let Some(world) = waiting.pop() {
        for action in world.actions() {
            let reached = world.go(action, &mut BTreeMap::new()).expect("nothing is wrong");
            if seen.insert(symmetry.fingerprint(&reached)) {
                names.insert(symmetry.name(&reached));
                waiting.push(reached);
            }
        }
    }
    names
}

#[test]
fn nothing_is_left_out() {
    for scene in scenes().into_iter().chain([super::rejoin::staying()]) {
        let right = scene.wrong(None);
        let (found, all) = (wide::names(&right), all(&right));
        assert!(found == all, "{} of {} within {}", found.len(), all.len(), right.left);
    }
}

#[test]
fn what_is_wrong_is_found_as_soon() {
    let check = |what: &str| String::from(what.split(':').next().unwrap_or_default());
    for scene in scenes() {
        let plain = search(&scene, 400_000).violation.expect("the wrong variant is found");
        let found = wide::exhaust(&scene, 400_000).violation;
        let found = found.unwrap_or_else(|| panic!("not found here: {}", plain.what));
        assert_eq!(found.way.len(), plain.way.len(), "{} and {}", found.what, plain.what);
        assert_eq!(check(&found.what), check(&plain.what));
        let told = story::of(&scene, &found);
        let again = story::replay(&told, &scene.rules).err();
        assert_eq!(again.as_ref(), Some(&found.what), "of this story:\n{told}");
    }
}
