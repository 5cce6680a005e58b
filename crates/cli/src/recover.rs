//! `driftless recover`: a cluster whose majority is lost for good goes on from one
//! survivor.

use crate::failure::Failure;
use crate::output::{print, print_json};
use clap::Args;
use driftless_server::{RecoverError, Recovered, recover};
use serde_json::json;
use std::path::PathBuf;

/// Make a cluster anew from one survivor, when its majority is lost for good
#[derive(Args)]
#[command(after_help = "\
The last resort: while a majority can still be brought back, bring it back. Stop all
members that are left; see with `driftless log verify` which of their logs ends last (the
later term first, then the higher index); run this on that one directory, and on no
other. Nothing is done to the others, but they belong to this cluster no more: never
start them again; delete their data and add them anew (`driftless member add`).

What may be lost: writes that were acknowledged by the members that are gone and had not
reached this one. What may appear: writes that this one had stored and nobody had
acknowledged. docs/recovery.md walks through it.

Example:
  driftless recover ./driftless-data/n3")]
pub(crate) struct RecoverArguments {
    /// The data directory of the survivor, whose process must not run
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(arguments: &RecoverArguments) -> Result<(), Failure> {
    let shown = arguments.dir.display();
    let recovered = recover(&arguments.dir).map_err(|error| match error {
        RecoverError::Open { .. } => Failure::new(format!("nothing was changed: {error}")),
        RecoverError::Write(_) => Failure::new(format!("{shown}: {error}")),
        error => Failure::new(format!("{shown}: nothing was changed: {error}")),
    })?;
    if arguments.json {
        return print_json(&as_json(&recovered));
    }
    print(&story(&recovered, &shown.to_string()))
}

fn as_json(recovered: &Recovered) -> serde_json::Value {
    let Recovered { node_id, cluster_id, last, commit_index, removed, at, .. } = recovered;
    json!({
        "member": format!("{:x}", node_id.0),
        "cluster_id": format!("{cluster_id:x}"),
        "last": { "term": last.term.0, "index": last.index.0 },
        "committed": commit_index.0,
        "removed": removed.iter().map(|id| format!("{:x}", id.0)).collect::<Vec<_>>(),
        "membership_at": { "term": at.term.0, "index": at.index.0 },
    })
}

fn story(recovered: &Recovered, directory: &str) -> String {
    let Recovered { node_id, cluster_id, last, commit_index, removed, .. } = recovered;
    let removed: Vec<String> = removed.iter().map(|id| format!("{:x}", id.0)).collect();
    let unsure = last.index.0.saturating_sub(commit_index.0);
    let appear = match unsure {
        0 => "Nothing appears that was not acknowledged: this member knew all that it has to be \
              committed."
            .to_owned(),
        1 => "The last entry was not known to be committed here, and is from now on.".to_owned(),
        _ => format!(
            "The last {unsure} entries were not known to be committed here, and are from now on."
        ),
    };
    format!(
        "member {:x} is the only member of cluster {cluster_id:x} from now on\n\
         Its log ends at entry {} of term {}. Writes that others acknowledged and that stand \
         behind it are lost.\n\
         {appear}\n\
         Removed: {}. They are refused from now on: never start them again; delete their data \
         and add them anew.\n\
         Next: start this member as always, with its data in {directory}, and add others with \
         `driftless member add`.\n",
        node_id.0,
        last.index.0,
        last.term.0,
        if removed.is_empty() { "nobody".to_owned() } else { removed.join(", ") },
    )
}
