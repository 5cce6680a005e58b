//! A segment file: one page of header, then records to the end.
//!
//! Its name and header carry its incarnation, a number that rises by one with
//! every segment that was ever in use. A file whose records are no longer needed
//! is used again under the next number (`free-…` in between), and its former
//! records do not verify under it.

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, OpenError};
use crate::options::PAGE;
use std::io;

const MAGIC: &[u8; 8] = b"DRIFTseg";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 4;
/// Where the header's second copy stands.
const SECOND_COPY: usize = 2048;
/// The file that is being written in full, to become a segment.
pub(crate) const FILLING: &str = "filling";
const ID_MAX: u64 = 1 << 62;
/// What one step writes: short, because an append may wait for it.
const FILL_SLICE: usize = 256 << 10;

/// An open segment.
pub(crate) struct Segment<F> {
    pub(crate) id: u64,
    pub(crate) file: F,
    /// The file's length.
    pub(crate) len: u64,
}

pub(crate) fn segment_name(id: u64) -> String {
    format!("segment-{id:016x}")
}

pub(crate) fn free_name(id: u64) -> String {
    format!("free-{id:016x}")
}

pub(crate) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (id <= ID_MAX && segment_name(id) == name).then_some(id)
}

pub(crate) fn is_free(name: &str) -> bool {
    name.starts_with("free-")
}

/// Opens segment `id`, makes what the page cache holds of it durable (unless
/// only reading), and checks its header.
pub(crate) fn open<D: Disk>(
    disk: &D,
    incarnation: u64,
    id: u64,
    read_only: bool,
) -> Result<Segment<D::File>, OpenError> {
    let name = segment_name(id);
    let mut file = disk.open(&name)?;
    if !read_only {
        file.sync()?;
    }
    let len = file.len()?;
    let damage = |what| Damage { file: name.clone(), offset: 0, what };
    if len < 2 * PAGE {
        return Err(damage("it is shorter than any segment").into());
    }
    let header =
        read_header(&file)?.ok_or_else(|| damage("neither copy of its header verifies"))?;
    if header.format > FORMAT {
        let (found, known) = (header.format, FORMAT);
        return Err(OpenError::NewerFormat { file: name, found, known });
    }
    if header.incarnation != incarnation {
        return Err(damage("it belongs to another data directory").into());
    }
    if header.id != id {
        return Err(damage("it is another segment under this name").into());
    }
    if u64::from(header.pages) * PAGE != len {
        return Err(damage("its length is not the one that it was made with").into());
    }
    Ok(Segment { id, file, len })
}

/// What the first page of a segment says.
pub(crate) struct Header {
    pub(crate) format: u32,
    /// The file's length in pages.
    pub(crate) pages: u32,
    pub(crate) incarnation: u64,
    pub(crate) id: u64,
}

/// The header, from whichever of its copies verifies.
pub(crate) fn read_header<F: DiskFile>(file: &F) -> io::Result<Option<Header>> {
    let mut page = vec![0; PAGE as usize];
    match file.read_at(&mut page, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok(verify(&page).or_else(|| verify(&page[SECOND_COPY..])))
}

fn verify(copy: &[u8]) -> Option<Header> {
    let word = |at: usize| u32::from_le_bytes(copy[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(copy[at..at + 8].try_into().expect("eight bytes"));
    let verifies = &copy[..8] == MAGIC && crc32c::crc32c(&copy[..32]) == word(32);
    verifies.then(|| Header {
        format: word(8),
        pages: word(12),
        incarnation: long(16),
        id: long(24),
    })
}

fn header_page(incarnation: u64, id: u64, len: u64) -> Vec<u8> {
    let mut copy = Vec::with_capacity(HEADER_BYTES);
    copy.extend_from_slice(MAGIC);
    copy.extend_from_slice(&FORMAT.to_le_bytes());
    copy.extend_from_slice(&((len / PAGE) as u32).to_le_bytes());
    copy.extend_from_slice(&incarnation.to_le_bytes());
    copy.extend_from_slice(&id.to_le_bytes());
    copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
    let mut page = vec![0; PAGE as usize];
    page[..HEADER_BYTES].copy_from_slice(&copy);
    page[SECOND_COPY..SECOND_COPY + HEADER_BYTES].copy_from_slice(&copy);
    page
}

/// Makes the file `from`, whose `len` bytes are all written, segment `id`. It is
/// durable under its name once the directory is synced too: only then may
/// anything in it be acknowledged.
pub(crate) fn activate<D: Disk>(
    disk: &D,
    incarnation: u64,
    (from, mut file, len): (&str, D::File, u64),
    id: u64,
) -> io::Result<Segment<D::File>> {
    file.write_at(&header_page(incarnation, id, len), 0)?;
    file.sync()?;
    disk.rename(from, &segment_name(id))?;
    Ok(Segment { id, file, len })
}

/// A file being written in full, slice by slice: overwriting written blocks is
/// several times faster than extending a file or filling holes.
pub(crate) struct Filling<F> {
    pub(crate) file: F,
    pub(crate) written: u64,
    pub(crate) len: u64,
}

impl<F: DiskFile> Filling<F> {
    pub(crate) fn begin<D: Disk<File = F>>(disk: &D, len: u64) -> io::Result<Self> {
        match disk.remove(FILLING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { file: disk.create(FILLING)?, written: 0, len })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.written >= self.len
    }

    /// Writes one more slice of zeros and makes it durable.
    pub(crate) fn advance(&mut self) -> io::Result<()> {
        let slice = (self.len - self.written).min(FILL_SLICE as u64) as usize;
        self.file.write_at(&vec![0; slice], self.written)?;
        self.file.sync()?;
        self.written += slice as u64;
        Ok(())
    }
}
