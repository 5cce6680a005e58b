//! Events as watch streams carry them: encoded once, shared by all watchers.

use crate::convert;
use crate::grpc::frame_parts;
use crate::pb;
use bytes::{BufMut, Bytes, BytesMut};
use driftless_kv::{Event, EventKind, Reader, RevisionEvents};
use prost::Message;
use std::sync::OnceLock;

/// The keys that a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    key: Bytes,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The one key.
    Point,
    /// Everything from it on.
    Open,
    /// Everything from it to before this one.
    Before(Bytes),
}

impl Range {
    /// As etcd reads `key` and `range_end`; `None` if there is no key in it.
    pub(super) fn new(key: Bytes, range_end: Bytes) -> Option<Self> {
        // The smallest key there can be.
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        let end = match &range_end[..] {
            b"" => End::Point,
            b"\0" => End::Open,
            end if end <= &key[..] => return None,
            _ => End::Before(range_end),
        };
        Some(Self { key, end })
    }

    pub(super) fn point(&self) -> Option<&Bytes> {
        (self.end == End::Point).then_some(&self.key)
    }

    /// The prefix that all keys here have and no others; empty if they are all
    /// the keys there can be.
    pub(super) fn prefix(&self) -> Option<Bytes> {
        match &self.end {
            End::Open if self.key[..] == *b"\0" => Some(Bytes::new()),
            End::Before(end) if ends_prefix(&self.key, end) => Some(self.key.clone()),
            End::Point | End::Open | End::Before(_) => None,
        }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Point => key == self.key,
            End::Open => key >= &self.key[..],
            End::Before(end) => key >= &self.key[..] && key < &end[..],
        }
    }
}

/// Whether `end` is the first key behind all that begin with `prefix`.
fn ends_prefix(prefix: &[u8], end: &[u8]) -> bool {
    // What ends in the last byte there is has no successor of its length.
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
    let Some((last, before)) = kept.and_then(|last| prefix[..=last].split_last()) else {
        return false;
    };
    end.split_last() == Some((&(last + 1), before))
}

/// The events of a revision, each with its place on the wire.
#[derive(Debug)]
pub(super) struct SharedRevision {
    pub(super) revision: i64,
    pub(super) events: Vec<SharedEvent>,
}

impl SharedRevision {
    pub(super) fn new(revision: &RevisionEvents) -> Self {
        let events = revision.events.iter().map(|event| SharedEvent {
            event: event.clone(),
            plain: OnceLock::new(),
            with_previous: OnceLock::new(),
        });
        Self { revision: revision.revision, events: events.collect() }
    }
}

#[derive(Debug)]
pub(super) struct SharedEvent {
    event: Event,
    plain: OnceLock<Bytes>,
    with_previous: OnceLock<Bytes>,
}

/// The tag of `WatchResponse.events`: field 11, length-delimited.
const EVENTS_TAG: u8 = 11 << 3 | 2;

impl SharedEvent {
    pub(super) fn kind(&self) -> EventKind {
        self.event.kind
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.event.kv.key
    }

    /// The event as a field of a [`pb::WatchResponse`], with the key before it
    /// if `previous` is given to read it from and it is there.
    pub(super) fn field(&self, previous: Option<&Reader>) -> &Bytes {
        match previous {
            None => self.plain.get_or_init(|| self.encode(None)),
            Some(reader) => self
                .with_previous
                .get_or_init(|| self.encode(reader.prev_kv(&self.event).map(convert::key_value))),
        }
    }

    fn encode(&self, prev_kv: Option<pb::KeyValue>) -> Bytes {
        let kind = match self.event.kind {
            EventKind::Put => pb::EventType::Put,
            EventKind::Delete => pb::EventType::Delete,
        };
        let kv = Some(convert::key_value(self.event.kv.clone()));
        let event = pb::Event { r#type: kind as i32, kv, prev_kv };
        let mut field = BytesMut::with_capacity(event.encoded_len() + 6);
        field.put_u8(EVENTS_TAG);
        event.encode_length_delimited(&mut field).expect("BytesMut grows");
        field.freeze()
    }
}

/// A response with these events, framed. `head` has none.
pub(super) fn response(head: &pb::WatchResponse, events: &[Bytes]) -> Bytes {
    // Events are the last field, so this is what an encoder would write.
    frame_parts(head, events)
}

/// The size of the message that [`response`] frames.
pub(super) fn response_bytes(head: &pb::WatchResponse, events: &[Bytes]) -> usize {
    head.encoded_len() + events.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_etcds() {
        let bytes = |s: &'static [u8]| Bytes::from_static(s);
        let all = Range::new(bytes(b""), bytes(b"\0")).unwrap();
        assert!(all.contains(b"\0") && all.contains(b"\xff\xff"));
        let point = Range::new(bytes(b"a"), bytes(b"")).unwrap();
        assert!(point.contains(b"a") && !point.contains(b"a\0"));
        let prefix = Range::new(bytes(b"a"), bytes(b"b")).unwrap();
        assert!(prefix.contains(b"a") && prefix.contains(b"a\xff") && !prefix.contains(b"b"));
        assert_eq!(Range::new(bytes(b"b"), bytes(b"a")), None);
        assert_eq!(Range::new(bytes(b"b"), bytes(b"b")), None);
    }
}
