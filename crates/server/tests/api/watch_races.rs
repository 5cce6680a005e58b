//! `etcdserverpb.Watch` while everything happens at once.

use crate::support::{Server, put_command, start_with, watch_request};
use driftless_server::pb::{self, WatchCreateRequest};
use driftless_server::{Backend as _, ConnectionLimits, Limits};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A writer on a thread of its own, and streams that create and cancel watchers
/// all the time and ask how far they have come: every watcher sees every
/// revision once from its start on, and progress says what was sent, no more
/// and no less.
#[tokio::test]
async fn watchers_that_come_and_go_see_every_revision_once() {
    let limits = Limits { progress_interval: Duration::from_millis(5), ..Limits::default() };
    let server = Arc::new(start_with(limits, ConnectionLimits::default()).await);
    // Each turn of a stream has some more written.
    let (turns, more) = channel::<()>();
    let backend = server.backend.clone();
    let writer = std::thread::spawn(move || {
        for (n, ()) in more.into_iter().enumerate() {
            backend.apply_at_once(&vec![put_command("k", "v"); 1 + n % 20]);
        }
    });
    let streams: Vec<_> = (0..8)
        .map(|number| {
            let (server, turns) = (Arc::clone(&server), turns.clone());
            tokio::spawn(async move { come_and_go(number, &server, &turns).await })
        })
        .collect();
    drop(turns);
    let mut progress = 0;
    for stream in streams {
        progress += stream.await.unwrap();
    }
    writer.join().unwrap();
    assert!(progress > 50, "only {progress} responses of progress");
}

/// The turns of one stream; how often it was told of progress.
async fn come_and_go(number: i64, server: &Server, turns: &Sender<()>) -> usize {
    let mut stream = server.watch().await;
    // The next revision of each watcher, and the revision at which it goes.
    let mut watchers: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut progress = 0;
    for turn in 0..40 {
        turns.send(()).unwrap();
        let latest = server.backend.reader().revision();
        // Of the present, the past, the next revision and the near future.
        let start = match (number + turn) % 4 {
            0 => 0,
            1 => (latest - 300).max(1),
            2 => latest + 1,
            _ => latest + 40,
        };
        let request = WatchCreateRequest {
            start_revision: start,
            prev_kv: turn % 2 == 0,
            progress_notify: true,
            ..watch_request("k", "l")
        };
        stream.create(request).await;
        stream.progress().await;
        let gone = watchers.iter().find(|(_, (next, goes))| next > goes).map(|(id, _)| *id);
        if let Some(id) = gone {
            stream.cancel(id).await;
        }
        let (mut created, mut canceled) = (false, gone.is_none());
        while !created || !canceled {
            let response = stream.next().await;
            let revision = response.header.unwrap().revision;
            let id = response.watch_id;
            if response.created {
                // There is nothing at revision 1.
                let next = if start == 0 { revision + 1 } else { start.max(2) };
                watchers.insert(id, (next, next + 200));
                created = true;
            } else if response.canceled {
                assert_eq!(Some(id), gone);
                watchers.remove(&id);
                canceled = true;
            } else {
                progress += check_told(&mut watchers, id, revision, &response.events);
            }
        }
    }
    progress
}

/// Checks a response with events, or of progress; 1 for the latter.
fn check_told(
    watchers: &mut BTreeMap<i64, (i64, i64)>,
    watch_id: i64,
    revision: i64,
    events: &[pb::Event],
) -> usize {
    if events.is_empty() {
        let told = watchers.iter().filter(|(id, _)| watch_id == -1 || watch_id == **id);
        for (id, (next, _)) in told {
            assert_eq!(*next, revision + 1, "progress of {watch_id} holds for watcher {id}");
        }
        return 1;
    }
    let (next, _) = watchers.get_mut(&watch_id).expect("it was created");
    for event in events {
        let kv = event.kv.as_ref().unwrap();
        assert_eq!(kv.mod_revision, *next, "watcher {watch_id}");
        *next += 1;
    }
    assert_eq!(revision, *next - 1);
    0
}
