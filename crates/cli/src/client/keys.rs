//! `get`, `put` and `del`.

use super::Connection;
use crate::failure::{Context, Failure};
use crate::output::{Table, insert_bytes, print, print_bytes, print_json, readable};
use bytes::Bytes;
use clap::Args;
use driftless_server::pb;
use driftless_server::pb::client::KvClient;
use serde_json::{Map, Value, json};
use std::io::Read as _;

/// Read a key, or all keys with a prefix
#[derive(Args)]
#[command(after_help = "\
Examples:
  driftless get greeting                 the key, its value and where it stands in history
  driftless get greeting --value-only    the bytes of the value and nothing else
  driftless get --prefix app/            all keys that begin with app/
  driftless get --prefix '' --count      how many keys there are
  driftless get greeting --rev 7         as it was at revision 7")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct GetArguments {
    /// The key
    key: String,
    /// All keys that begin with KEY; all keys there are if it is empty
    #[arg(long)]
    prefix: bool,
    /// As of this revision rather than now
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// At most this many keys
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    limit: i64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Only say how many keys there are
    #[arg(long, conflicts_with_all = ["keys_only", "limit"])]
    count: bool,
    /// Print the bytes of each value, each followed by a line's end, and nothing else
    #[arg(long, conflicts_with_all = ["keys_only", "count", "json"])]
    value_only: bool,
    /// What this one member has, however old: quicker, and works without a majority
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Store a value
#[derive(Args)]
#[command(after_help = "\
Examples:
  driftless put greeting hello
  driftless put -- key --value-with-dashes
  driftless put config - < config.json   the value from standard input")]
pub(crate) struct PutArguments {
    /// The key
    key: String,
    /// The value; `-` reads it from standard input
    value: String,
    /// Print what was there before
    #[arg(long)]
    prev_kv: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Delete a key, or all keys with a prefix
#[derive(Args)]
#[command(after_help = "\
Examples:
  driftless del greeting
  driftless del --prefix app/")]
pub(crate) struct DelArguments {
    /// The key
    key: String,
    /// All keys that begin with KEY; all keys there are if it is empty
    #[arg(long)]
    prefix: bool,
    /// Print what was deleted
    #[arg(long)]
    prev_kv: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn get(arguments: &GetArguments) -> Result<(), Failure> {
    let cluster = arguments.connection.cluster()?;
    let (key, range_end) = range(&arguments.key, arguments.prefix);
    let request = pb::RangeRequest {
        key,
        range_end,
        limit: arguments.limit,
        revision: arguments.rev,
        serializable: arguments.serializable,
        keys_only: arguments.keys_only,
        count_only: arguments.count,
        ..Default::default()
    };
    let what = format!("get {}", arguments.key);
    let answer = cluster
        .read(&what, async |channel| {
            let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
            client.range(cluster.request(request.clone())).await
        })
        .await?
        .into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);

    if arguments.connection.json {
        let kvs: Vec<Value> = answer.kvs.iter().map(kv_json).collect();
        print_json(&json!({
            "revision": revision, "count": answer.count, "more": answer.more, "kvs": kvs
        }))?;
    } else if arguments.count {
        print(&format!("{}\n", answer.count))?;
    } else if arguments.value_only {
        for kv in &answer.kvs {
            print_bytes(&kv.value)?;
            print("\n")?;
        }
    } else if arguments.keys_only {
        for kv in &answer.kvs {
            print(&format!("{}\n", readable(&kv.key)))?;
        }
    } else if !answer.kvs.is_empty() {
        print(&table(&answer.kvs).render(""))?;
        if answer.more {
            let left = answer.count - answer.kvs.len() as i64;
            print(&format!("and {left} more; --limit stops here\n"))?;
        }
    } else if arguments.prefix {
        print("no keys\n")?;
    }
    if answer.kvs.is_empty() && !arguments.prefix && !arguments.count {
        let key = &arguments.key;
        return Err(Failure::Absent(format!("there is no key {key:?} (at revision {revision})")));
    }
    Ok(())
}

pub(super) async fn put(arguments: PutArguments) -> Result<(), Failure> {
    let cluster = arguments.connection.cluster()?;
    let value = if arguments.value == "-" {
        let mut value = Vec::new();
        std::io::stdin().read_to_end(&mut value).context("cannot read standard input")?;
        value
    } else {
        arguments.value.into_bytes()
    };
    let what = format!("put {}", arguments.key);
    let request = pb::PutRequest {
        key: arguments.key.into_bytes().into(),
        value: value.into(),
        prev_kv: arguments.prev_kv,
        ..Default::default()
    };
    let answer = cluster
        .write(&what, async |channel| {
            KvClient::new(channel).put(cluster.request(request.clone())).await
        })
        .await?
        .into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    if arguments.connection.json {
        let mut object = Map::new();
        object.insert("revision".to_owned(), revision.into());
        if let Some(previous) = &answer.prev_kv {
            object.insert("prev_kv".to_owned(), kv_json(previous));
        }
        return print_json(&object);
    }
    print(&format!("stored, at revision {revision}\n"))?;
    match &answer.prev_kv {
        Some(previous) => {
            print(&format!("before:\n{}", table(std::slice::from_ref(previous)).render("  ")))
        }
        None => Ok(()),
    }
}

pub(super) async fn del(arguments: &DelArguments) -> Result<(), Failure> {
    let cluster = arguments.connection.cluster()?;
    let (key, range_end) = range(&arguments.key, arguments.prefix);
    let request = pb::DeleteRangeRequest { key, range_end, prev_kv: arguments.prev_kv };
    let what = format!("del {}", arguments.key);
    let answer = cluster
        .write(&what, async |channel| {
            let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
            client.delete_range(cluster.request(request.clone())).await
        })
        .await?
        .into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    if arguments.connection.json {
        let mut object = Map::new();
        object.insert("revision".to_owned(), revision.into());
        object.insert("deleted".to_owned(), answer.deleted.into());
        if arguments.prev_kv {
            object.insert("prev_kvs".to_owned(), answer.prev_kvs.iter().map(kv_json).collect());
        }
        return print_json(&object);
    }
    print(&format!("{} deleted, at revision {revision}\n", answer.deleted))?;
    if answer.prev_kvs.is_empty() { Ok(()) } else { print(&table(&answer.prev_kvs).render("  ")) }
}

/// `key` and `range_end` of a request.
pub(super) fn range(key: &str, prefix: bool) -> (Bytes, Bytes) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    match (prefix, key.is_empty()) {
        (false, _) => (key, Bytes::new()),
        // etcd's way to say "all": from the smallest key on.
        (true, true) => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        (true, false) => {
            let end = range_end_of_prefix(&key);
            (key, end)
        }
    }
}

/// The first key behind all that begin with `prefix`; `\0`, etcd's "no end", if
/// there is none.
pub(crate) fn range_end_of_prefix(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|byte| *byte < 0xff) else {
        return Bytes::from_static(b"\0");
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

fn table(kvs: &[pb::KeyValue]) -> Table {
    let mut table = Table::new(["KEY", "VALUE", "CREATED AT", "CHANGED AT", "VERSION"]);
    for kv in kvs {
        table.row([
            readable(&kv.key),
            readable(&kv.value),
            kv.create_revision.to_string(),
            kv.mod_revision.to_string(),
            kv.version.to_string(),
        ]);
    }
    table
}

pub(super) fn kv_json(kv: &pb::KeyValue) -> Value {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", &kv.key);
    insert_bytes(&mut object, "value", &kv.value);
    object.insert("create_revision".to_owned(), kv.create_revision.into());
    object.insert("mod_revision".to_owned(), kv.mod_revision.into());
    object.insert("version".to_owned(), kv.version.into());
    if kv.lease != 0 {
        object.insert("lease".to_owned(), kv.lease.into());
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::{range, range_end_of_prefix};

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(range_end_of_prefix(b"app/"), b"app0".as_slice());
        assert_eq!(range_end_of_prefix(&[b'a', 0xff, 0xff]), b"b".as_slice());
        assert_eq!(range_end_of_prefix(&[0xff, 0xff]), b"\0".as_slice());
        assert_eq!(range("", true), (b"\0".as_slice().into(), b"\0".as_slice().into()));
        assert!(range("a", false).1.is_empty());
    }
}
