//! `watch`: every change, in order, through the loss of the member that tells.

use super::Connection;
use super::cluster::{Endpoint, connect, describe, is_silence, refused, unreachable};
use super::keys::{kv_json, range};
use crate::failure::Failure;
use crate::output::{print, print_json, readable};
use clap::Args;
use driftless_server::pb;
use driftless_server::pb::client::WatchClient;
use driftless_server::pb::watch_request::RequestUnion;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::Status;

/// See each change of a key, or of all keys with a prefix, as it happens
#[derive(Args)]
#[command(after_help = "\
Each change is one line: PUT or DELETE, the revision, the key, the value.
If the member that tells is lost, another one takes over where it stopped; no
change is left out and none is told twice.

Examples:
  driftless watch greeting
  driftless watch --prefix app/ --json
  driftless watch --prefix '' --rev 1    all of history that is not compacted, then what follows")]
pub(crate) struct WatchArguments {
    /// The key
    key: String,
    /// All keys that begin with KEY; all keys there are if it is empty
    #[arg(long)]
    prefix: bool,
    /// From this revision on rather than from now
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// With each change what was there before
    #[arg(long)]
    prev_kv: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How one member's telling ended.
enum End {
    /// Another may go on.
    Lost(String),
    Failed(Failure),
}

pub(super) async fn watch(arguments: &WatchArguments) -> Result<(), Failure> {
    let cluster = arguments.connection.cluster()?;
    let what = format!("watch {}", arguments.key);
    let mut watcher = Watcher { arguments, next_revision: arguments.rev, heard: false };
    let mut heard_at = Instant::now();
    loop {
        let mut tried = Vec::new();
        for endpoint in cluster.endpoints() {
            watcher.heard = false;
            let end = watcher.listen(&what, endpoint, cluster.timeout()).await;
            if watcher.heard {
                heard_at = Instant::now();
            }
            match end {
                End::Failed(failure) => return Err(failure),
                End::Lost(reason) => tried.push((endpoint, reason)),
            }
        }
        if watcher.next_revision == 0 || heard_at.elapsed() > cluster.timeout() {
            return Err(unreachable(&what, &tried));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

struct Watcher<'a> {
    arguments: &'a WatchArguments,
    /// Everything before it has been told; 0 before a member has said where it
    /// begins.
    next_revision: i64,
    /// Whether the present member has begun to tell.
    heard: bool,
}

impl Watcher<'_> {
    async fn listen(&mut self, what: &str, endpoint: &Endpoint, patience: Duration) -> End {
        let channel = match connect(endpoint, patience).await {
            Ok(channel) => channel,
            Err(reason) => return End::Lost(reason),
        };
        let (key, range_end) = range(&self.arguments.key, self.arguments.prefix);
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.next_revision,
            prev_kv: self.arguments.prev_kv,
            ..Default::default()
        };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = tokio_stream::once(request).chain(tokio_stream::pending());
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let mut responses = match timeout(patience, client.watch(requests)).await {
            Ok(Ok(responses)) => responses.into_inner(),
            Ok(Err(status)) => return ended(what, endpoint, &status),
            Err(_) => return End::Lost("no answer".to_owned()),
        };
        loop {
            let message = if self.heard {
                responses.message().await
            } else {
                match timeout(patience, responses.message()).await {
                    Ok(message) => message,
                    Err(_) => return End::Lost("no answer".to_owned()),
                }
            };
            match message {
                Ok(Some(response)) => {
                    if let Err(failure) = self.told(what, endpoint, &response) {
                        return End::Failed(failure);
                    }
                }
                Ok(None) => return End::Lost("it ended the stream".to_owned()),
                Err(status) => return ended(what, endpoint, &status),
            }
        }
    }

    fn told(
        &mut self,
        what: &str,
        endpoint: &Endpoint,
        response: &pb::WatchResponse,
    ) -> Result<(), Failure> {
        if response.compact_revision > 0 {
            return Err(Failure::new(format!(
                "{what}: {endpoint} has no history before revision {}: it is compacted\n\
                 Watch with --rev {0} or later.",
                response.compact_revision
            )));
        }
        if response.canceled {
            let reason = if response.cancel_reason.is_empty() {
                "it ended the watch without a reason"
            } else {
                &response.cancel_reason
            };
            return Err(Failure::new(format!("{what}: {endpoint} refuses: {reason}")));
        }
        self.heard = true;
        if response.created && self.next_revision == 0 {
            self.next_revision = response.header.map_or(0, |header| header.revision) + 1;
        }
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            self.next_revision = self.next_revision.max(kv.mod_revision + 1);
            self.print(event, kv)?;
        }
        Ok(())
    }

    fn print(&self, event: &pb::Event, kv: &pb::KeyValue) -> Result<(), Failure> {
        let is_put = event.r#type == pb::EventType::Put as i32;
        if self.arguments.connection.json {
            let mut object = Map::new();
            let kind = if is_put { "put" } else { "delete" };
            object.insert("type".to_owned(), Value::from(kind));
            object.insert("kv".to_owned(), kv_json(kv));
            if let Some(previous) = &event.prev_kv {
                object.insert("prev_kv".to_owned(), kv_json(previous));
            }
            return print_json(&object);
        }
        let kind = if is_put { "PUT   " } else { "DELETE" };
        let mut line = format!("{kind}  {}  {}", kv.mod_revision, readable(&kv.key));
        if is_put {
            line.push_str("  ");
            line.push_str(&readable(&kv.value));
        }
        if let Some(previous) = &event.prev_kv {
            let previous = readable(&previous.value);
            write!(line, "  (was {previous})").expect("a String takes everything");
        }
        line.push('\n');
        print(&line)
    }
}

fn ended(what: &str, endpoint: &Endpoint, status: &Status) -> End {
    if is_silence(status) {
        End::Lost(describe(status))
    } else {
        End::Failed(refused(what, endpoint, status))
    }
}
