//! Small files of which everything depends: two checksummed copies in one file
//! that is replaced whole (write, sync, rename, sync the directory) or, if it keeps
//! its length, written over copy by copy.
//! One copy may rot; when both are bad, the file is damaged and we say so.

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, OpenError};
use crate::options::PAGE;
use std::io;

const MAGIC: &[u8; 8] = b"DRIFTtwn";
const FORMAT: u32 = 1;
const TEMPORARY: &str = ".new";
const FRAME: usize = 8 + 4 + 4 + 4;
const CONTENT_BYTES_MAX: usize = 16 << 20;

/// Replaces `name` by `content`, durably.
pub(crate) fn replace<D: Disk>(disk: &D, name: &str, content: &[u8]) -> io::Result<()> {
    let mut copy = one_copy(name, content);
    let half = copy.len();
    copy.extend_from_within(..half);

    let temporary = format!("{name}{TEMPORARY}");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&temporary)?;
    file.write_at(&copy, 0)?;
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory("")
}

/// Writes `content` over what [`replace`] wrote, which was as long: it takes no
/// room. One copy after the other, so that a crash leaves one that is whole.
pub(crate) fn rewrite<D: Disk>(disk: &D, name: &str, content: &[u8]) -> io::Result<()> {
    let copy = one_copy(name, content);
    let mut file = disk.open(name)?;
    for offset in [0, copy.len() as u64] {
        file.write_at(&copy, offset)?;
        file.sync()?;
    }
    Ok(())
}

fn one_copy(name: &str, content: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(FRAME + content.len());
    copy.extend_from_slice(MAGIC);
    copy.extend_from_slice(&FORMAT.to_le_bytes());
    copy.extend_from_slice(&(content.len() as u32).to_le_bytes());
    copy.extend_from_slice(content);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), &copy);
    copy.extend_from_slice(&checksum.to_le_bytes());
    copy.resize(copy.len().next_multiple_of(PAGE as usize), 0);
    copy
}

/// Whether this is what a crash left of a replacement.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Reads what [`replace`] wrote last.
pub(crate) fn read<D: Disk>(disk: &D, name: &str) -> Result<Vec<u8>, OpenError> {
    let mut file = disk.open(name)?;
    file.sync()?;
    let length = file.len()?;
    let damage = |offset, what| Damage { file: name.to_owned(), offset, what };
    if length > 4 * CONTENT_BYTES_MAX as u64 {
        return Err(damage(0, "it is far too long").into());
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(&mut bytes, 0)?;
    let half = (bytes.len() / 2).next_multiple_of(PAGE as usize).min(bytes.len());
    let (first, second) = bytes.split_at(half);
    match (verify(name, first), verify(name, second)) {
        (Ok(content), _) | (_, Ok(content)) => Ok(content.to_vec()),
        (Err(Bad::Newer(found)), _) | (_, Err(Bad::Newer(found))) => {
            Err(OpenError::NewerFormat { file: name.to_owned(), found, known: FORMAT })
        }
        (Err(Bad::Damaged), Err(Bad::Damaged)) => {
            Err(damage(0, "neither of its two copies verifies").into())
        }
    }
}

enum Bad {
    Damaged,
    Newer(u32),
}

fn verify<'a>(name: &str, copy: &'a [u8]) -> Result<&'a [u8], Bad> {
    let word = |at: usize| {
        let bytes = copy.get(at..at + 4).ok_or(Bad::Damaged)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    };
    if copy.get(..8) != Some(MAGIC) {
        return Err(Bad::Damaged);
    }
    let (format, length) = (word(8)?, word(12)? as usize);
    if length > CONTENT_BYTES_MAX {
        return Err(Bad::Damaged);
    }
    let end = FRAME - 4 + length;
    let claimed = word(end)?;
    if crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), &copy[..end]) != claimed {
        return Err(Bad::Damaged);
    }
    if format > FORMAT { Err(Bad::Newer(format)) } else { Ok(&copy[FRAME - 4..end]) }
}
