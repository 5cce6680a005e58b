//! The repeated chores of this workspace.
fn main() {}
