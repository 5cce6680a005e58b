//! The search of all states that a small group can reach, with bounds for which
//! nobody waits: `cargo xtask check --deep`. A small one runs with the tests.

use crate::workspace::Workspace;
use crate::{Failure, Findings};
use std::process::Command;

/// Runs every scene of the search, small and deep, and lets it print.
pub(crate) fn deep(workspace: &Workspace) -> Result<Findings, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace.path(""))
        .args(["test", "--package", "driftless-raft", "--lib", "search::"])
        // One after the other: each is as large as memory allows for.
        .args(["--", "--include-ignored", "--nocapture", "--test-threads=1"])
        .status()?;
    let finding = "the search found a violation, or did not come to its end: see above";
    Ok(if status.success() { Vec::new() } else { vec![finding.to_owned()] })
}
