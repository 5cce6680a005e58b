//! What a search finds can be told, and what is told replays: the same violation
//! with the same wrong variant, and none without it.

use super::mutant::Mutant;
use super::scene::Rules;
use super::world::World;
use super::{search, story};
use alloc::format;
use alloc::string::String;
use std::path::Path;

/// The wrong variant is found in this scene; its story shows the same again.
fn tells(scene: &World) -> String {
    let violation = search(scene, 400_000).violation.expect("the wrong variant is found");
    let told = story::of(scene, &violation);
    let again = story::replay(&told, &scene.rules).err();
    assert_eq!(again.as_ref(), Some(&violation.what), "of this story:\n{told}");
    let right = Rules { mutant: None, ..(*scene.rules).clone() };
    let without = story::replay(&told, &right).err();
    assert!(without.is_none_or(|why| why.starts_with(story::OTHERWISE)), "of this story:\n{told}");
    told
}

#[test]
fn a_violation_is_told_and_replays() {
    for scene in super::elections::told().into_iter().chain(super::members::told()) {
        tells(&scene);
    }
    for scene in super::snapshots::told().into_iter().chain(super::rejoin::told()) {
        tells(&scene);
    }
    for scene in super::reads::told() {
        tells(&scene);
    }
}

/// The stories that searches told, kept beside the others: there the right code
/// tells what it does instead. A remark in the first line says what was found.
#[test]
fn stories_that_were_found_still_show_what_was() {
    for (name, scene) in [
        ("found_old_term_counted", super::elections::told().remove(0)),
        ("found_removed_leader_counted", super::members::told().remove(0)),
        ("found_late_snapshot", super::snapshots::told().remove(0)),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_STORIES").is_some() {
            std::fs::write(&path, tells(&scene)).unwrap();
        }
        let told = std::fs::read_to_string(&path).unwrap();
        let found = told.lines().next().and_then(|line| line.strip_prefix("# "));
        assert_eq!(story::replay(&told, &scene.rules).err().as_deref(), found, "{name}");
        let mutant: Option<Mutant> = None;
        let right = Rules { mutant, ..(*scene.rules).clone() };
        let without = story::replay(&told, &right).err();
        assert!(without.is_none_or(|why| why.starts_with(story::OTHERWISE)), "{name}");
    }
}
