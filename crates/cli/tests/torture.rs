//! Real processes killed and paused under load, fifty times; `driftless torture
//! --rounds 1000` does the same for longer.

mod common;

use common::{DRIFTLESS, command};

#[test]
fn nothing_acknowledged_is_lost_when_members_are_killed_and_paused() {
    // Its own words go where the test's go, the seed first of all.
    let output = command(DRIFTLESS).args(["torture", "--rounds", "50"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    println!("{told}{wrong}");
    assert!(output.status.success(), "{wrong}");
    assert!(told.contains("torture passed: 50 rounds"), "{told}");
    assert!(told.contains("5 times one was away until it needed a snapshot"), "{told}");
}
