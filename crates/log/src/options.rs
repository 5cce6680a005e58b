//! Sizes and limits of a log.

/// Writes cover whole pages, so that a recycled segment's pages need not be
/// read from disk before they are overwritten. Segments are whole pages too.
pub(crate) const PAGE: u64 = 4096;

/// Sizes and limits of a log. They may differ from one opening to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The length of a segment file. A record that does not fit in one gets a
    /// longer segment of its own.
    pub segment_bytes: u64,
    /// The length of the very first segment: short, so that a first start is
    /// quick; the next is written in full while this one fills.
    pub first_segment_bytes: u64,
    /// Room that is not claimed for entries in the last segment: for votes,
    /// terms, the empty entries of new leaders and compaction, when no further
    /// segment can be made.
    pub reserve_bytes: u64,
    /// Bytes of the disk that no new segment takes: room for a snapshot, which
    /// is what lets a full log shrink.
    pub keep_free_bytes: u64,
    /// Below this much room for entries, [`Log::low_space`](crate::Log::low_space).
    pub low_space_bytes: u64,
    /// Empty segments kept for later use; those beyond are removed.
    pub ready_segments_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 8 << 20,
            reserve_bytes: 2 << 20,
            keep_free_bytes: 64 << 20,
            low_space_bytes: 32 << 20,
            ready_segments_max: 2,
        }
    }
}

impl Options {
    /// A log in miniature, for tests and simulations: segments of
    /// `segment_bytes`, an eighth of one in reserve, nothing kept free.
    pub fn small(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            first_segment_bytes: segment_bytes,
            reserve_bytes: segment_bytes / 8,
            keep_free_bytes: 0,
            low_space_bytes: segment_bytes / 4,
            ..Self::default()
        }
    }

    /// Whole pages, and never fewer than the header's and one for records.
    pub(crate) fn segment_len(&self) -> u64 {
        whole_pages(self.segment_bytes)
    }

    pub(crate) fn first_segment_len(&self) -> u64 {
        whole_pages(self.first_segment_bytes.min(self.segment_bytes))
    }
}

pub(crate) fn whole_pages(bytes: u64) -> u64 {
    bytes.max(2 * PAGE).next_multiple_of(PAGE)
}
