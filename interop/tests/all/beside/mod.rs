//! The same calls to a member of Driftless and to etcd: every field of every
//! answer must be the same.
//!
//! Left out of the comparison, because it says who answered and not what:
//! ids of cluster and member, and the term of Raft, in the headers (that they
//! are there, or are not, is compared). Where the etcd found here means
//! something else than etcd 3.6, which we follow, the case says so by name.

mod calls;
mod cases;
mod cluster;
mod random;
mod watches;

use crate::support::{Cluster, etcd};
use calls::{Answer, Call, Member};
use std::fmt::{Debug, Write as _};

/// A member of each, and its cluster.
struct Pair {
    driftless: Member,
    etcd: Member,
    etcd_version: String,
    clusters: [Cluster; 2],
}

impl Pair {
    /// Each alone in its cluster; `None`, loudly, where there is no etcd.
    async fn start() -> Option<Self> {
        Self::start_of(1).await
    }

    /// The first of so many each.
    async fn start_of(members: usize) -> Option<Self> {
        let (program, version) = etcd()?;
        let clusters = [Cluster::driftless(members), Cluster::etcd(&program, members)];
        println!("beside etcd {version}");
        let connect =
            async |cluster: &Cluster| Member::connect(&cluster.members[0].client_url).await;
        Some(Self {
            driftless: connect(&clusters[0]).await,
            etcd: connect(&clusters[1]).await,
            etcd_version: version,
            clusters,
        })
    }

    /// What both answer, with what is left out made equal.
    async fn call(&self, call: &Call) -> (Answer, Answer) {
        tokio::join!(self.driftless.call(call), self.etcd.call(call))
    }

    /// What both answer, which must be the same.
    async fn same(&self, call: &Call, where_found: &dyn Debug) -> Answer {
        let (ours, theirs) = self.call(call).await;
        expect_same(&ours, &theirs, &format_args!("{where_found:?}\n{call:?}"));
        ours
    }
}

/// Panics with the lines that differ.
fn expect_same<T: Debug + PartialEq>(ours: &T, theirs: &T, context: &dyn Debug) {
    if ours == theirs {
        return;
    }
    let (ours, theirs) = (format!("{ours:#?}"), format!("{theirs:#?}"));
    let mut difference = String::new();
    let (mut left, mut right) = (ours.lines(), theirs.lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (ours, theirs) if ours == theirs => {
                let _ = writeln!(difference, "         {}", ours.unwrap_or_default());
            }
            (ours, theirs) => {
                let _ = writeln!(difference, "  ours > {}", ours.unwrap_or("(nothing)"));
                let _ = writeln!(difference, "  etcd > {}", theirs.unwrap_or("(nothing)"));
            }
        }
    }
    panic!("the answers differ:\n{difference}{context:?}");
}
