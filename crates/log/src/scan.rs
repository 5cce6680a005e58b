//! Reading all segments in order, believing what verifies, and telling a torn
//! tail from damage.
//!
//! The log ends at the first record that is missing from the chain (sequence
//! and checksum of the one before). If anything that verifies further on says,
//! by `synced_through`, that the missing record was durable, then it is not the
//! end but damage. Otherwise a crash tore what was being written, nobody was
//! ever told of it, and it is cut in silence.

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, OpenError};
use crate::mutation::{Mutation, on};
use crate::options::PAGE;
use crate::segment::{Segment, segment_name};
use driftless_codec::record::{
    Head, HeadContent, HeadError, RECORD_ALIGNMENT, Salt, Stamp, head_len_claimed,
};

/// A record in the chain.
pub(crate) struct Found<'a> {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) head: &'a Head<'a>,
    /// The payloads; those that do not verify belong to entries known to have
    /// been durable.
    pub(crate) body: &'a [u8],
    pub(crate) body_verifies: bool,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Which of the segments, counted in the order given.
    pub(crate) segment_at: usize,
    /// Where the next record goes.
    pub(crate) offset: u64,
    /// The last record's sequence.
    pub(crate) sequence: u64,
    /// The last record's checksum.
    pub(crate) previous: u32,
    /// Whether something that was being written was cut off here.
    pub(crate) torn: bool,
}

/// Reads the segments, which must have neighbouring ids, oldest first.
pub(crate) fn scan<F: DiskFile>(
    segments: &[Segment<F>],
    salt: Salt,
    mut visit: impl FnMut(&Found<'_>) -> Result<(), Damage>,
) -> Result<End, OpenError> {
    let mut bytes = Vec::new();
    let mut chain: Option<(u64, u32)> = None;
    let mut end = End { segment_at: 0, offset: PAGE, sequence: 0, previous: 0, torn: false };
    let mut proof: Option<Proof> = None;
    let mut at = 0;
    loop {
        let segment = &segments[at];
        load(segment, &mut bytes)?;
        let mut offset = PAGE as usize;
        // Follow the chain through this segment.
        let broken = loop {
            match next_in_chain(&bytes, offset, salt, segment.id, chain) {
                Next::Record { head, body, body_verifies } => {
                    if !body_verifies {
                        let known = match proof {
                            Some(proof) => proof,
                            None => *proof.insert(prove(&segments[at..], offset, salt)?),
                        };
                        if known.synced_through < head.stamp.sequence {
                            break Some("a payload does not verify");
                        }
                    }
                    let found = Found {
                        segment: segment.id,
                        offset: offset as u64,
                        head: &head,
                        body,
                        body_verifies,
                    };
                    visit(&found)?;
                    chain = Some((head.stamp.sequence, head.checksum));
                    offset += head.total_len();
                    end = End {
                        segment_at: at,
                        offset: offset as u64,
                        sequence: head.stamp.sequence,
                        previous: head.checksum,
                        torn: false,
                    };
                }
                Next::None(why) => break why,
            }
        };
        let Some((sequence, checksum)) = chain else {
            // Nothing before, nothing here: one that was too short for a record
            // and outlived those before it. Whether the log may begin later is
            // for its marks to say.
            if at + 1 < segments.len() && !prove(&segments[at..=at], offset, salt)?.any {
                at += 1;
                continue;
            }
            let what = broken.unwrap_or("the first record of the log is not there");
            let file = segment_name(segment.id);
            return Err(Damage { file, offset: offset as u64, what }.into());
        };
        // The chain goes on at the start of a later segment (one that was too
        // short for a record stays empty), or not at all.
        if let Some(next) = continuation(&segments[at + 1..], salt, (sequence, checksum))? {
            at += 1 + next;
            continue;
        }
        let proof = match proof {
            Some(proof) => proof,
            None => prove(&segments[at..], offset, salt)?,
        };
        if proof.synced_through > sequence {
            let what = broken.unwrap_or("a record that was durable is not there");
            let file = segment_name(segment.id);
            return Err(Damage { file, offset: offset as u64, what }.into());
        }
        end.torn = broken.is_some() || proof.any;
        return Ok(end);
    }
}

fn load<F: DiskFile>(segment: &Segment<F>, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    bytes.resize(segment.len as usize, 0);
    segment.file.read_at(bytes, 0)?;
    Ok(())
}

#[expect(clippy::large_enum_variant, reason = "made and taken apart in one place, per record")]
enum Next<'a> {
    Record { head: Head<'a>, body: &'a [u8], body_verifies: bool },
    None(Option<&'static str>),
}

fn next_in_chain(
    bytes: &[u8],
    offset: usize,
    salt: Salt,
    segment: u64,
    chain: Option<(u64, u32)>,
) -> Next<'_> {
    let Some(rest) = bytes.get(offset..) else { return Next::None(None) };
    let segment = if on(Mutation::RecycledWithoutIncarnation) {
        rest.get(16..24).map_or(0, |id| u64::from_le_bytes(id.try_into().expect("eight bytes")))
    } else {
        segment
    };
    let head = match Head::parse(rest, salt, segment) {
        Ok(head) => head,
        Err(HeadError::Absent) => return Next::None(None),
        Err(HeadError::Damaged(what)) => return Next::None(Some(what)),
    };
    if !continues(chain, &head.stamp) {
        return Next::None(None);
    }
    let Some(body) = rest.get(head.head_len..head.head_len + head.body_len) else {
        return Next::None(Some("it reaches beyond the end of the segment"));
    };
    let body_verifies = match &head.content {
        HeadContent::Mark { .. } => true,
        HeadContent::State(state) => state
            .entries()
            .all(|entry| entry.verifies(&body[entry.offset..entry.offset + entry.length])),
    };
    Next::Record { head, body, body_verifies }
}

fn continuation<F: DiskFile>(
    later: &[Segment<F>],
    salt: Salt,
    chain: (u64, u32),
) -> Result<Option<usize>, OpenError> {
    let mut bytes = Vec::new();
    for (at, segment) in later.iter().enumerate() {
        let space = segment.len.saturating_sub(PAGE);
        bytes.resize(space.min(PAGE) as usize, 0);
        segment.file.read_at(&mut bytes, PAGE)?;
        if let Some(head_len) = head_len_claimed(&bytes)
            && head_len > bytes.len()
        {
            bytes.resize(head_len.min(space as usize), 0);
            segment.file.read_at(&mut bytes, PAGE)?;
        }
        if Head::parse(&bytes, salt, segment.id)
            .is_ok_and(|head| continues(Some(chain), &head.stamp))
        {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn continues(chain: Option<(u64, u32)>, stamp: &Stamp) -> bool {
    on(Mutation::RecycledWithoutIncarnation)
        || chain.is_none_or(|(sequence, checksum)| {
            (stamp.sequence, stamp.previous) == (sequence + 1, checksum)
        })
}

/// What verifies beyond a place in the first of the segments, in the chain or not.
#[derive(Clone, Copy)]
struct Proof {
    /// The largest `synced_through`.
    synced_through: u64,
    /// Whether anything does.
    any: bool,
}

fn prove<F: DiskFile>(
    segments: &[Segment<F>],
    offset: usize,
    salt: Salt,
) -> Result<Proof, OpenError> {
    let mut proof = Proof { synced_through: 0, any: false };
    if on(Mutation::EveryDamageIsATornTail) {
        return Ok(proof);
    }
    let mut bytes = Vec::new();
    let mut from = offset;
    for segment in segments {
        load(segment, &mut bytes)?;
        while from < bytes.len() {
            match Head::parse(&bytes[from..], salt, segment.id) {
                Ok(head) => {
                    proof.any = true;
                    proof.synced_through = proof.synced_through.max(head.stamp.synced_through);
                    // Not beyond its body: its length may be another life's.
                    from += head.head_len.next_multiple_of(RECORD_ALIGNMENT);
                }
                Err(_) => from += RECORD_ALIGNMENT,
            }
        }
        from = PAGE as usize;
    }
    Ok(proof)
}

/// The ids of the segments that are there, ascending.
pub(crate) fn segment_ids<D: Disk>(disk: &D) -> Result<Vec<u64>, OpenError> {
    let mut ids: Vec<u64> =
        disk.list("")?.iter().filter_map(|name| crate::segment::segment_id(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}
