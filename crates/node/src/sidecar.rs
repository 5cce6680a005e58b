//! The node's own part of the replicated state, as bytes that the machine keeps
//! with its own: sessions, and who the members are.

use crate::roster::Roster;
use crate::sessions::Sessions;
use bytes::{BufMut, Bytes, BytesMut};
use driftless_codec::wire::{DecodeError, Reader};

const VERSION: u8 = 2;

/// No apply may be under way, unless both are as of its end.
pub(crate) fn encode(sessions: &Sessions, roster: &Roster) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    sessions.put(&mut out);
    roster.put(&mut out);
    out.freeze()
}

/// Reads what [`encode`] wrote; there is none before anything was applied.
pub(crate) fn decode(sidecar: &Bytes) -> Result<Option<(Sessions, Roster)>, DecodeError> {
    if sidecar.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(sidecar.clone());
    let version = reader.u8("the version of the sidecar")?;
    if version != VERSION {
        let what = "the version of the sidecar";
        return Err(DecodeError::Invalid { what, value: u64::from(version) });
    }
    let both = (Sessions::take(&mut reader)?, Roster::take(&mut reader)?);
    reader.end()?;
    Ok(Some(both))
}
