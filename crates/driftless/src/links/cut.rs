//! Cuts a stream into frames, as slices of the buffer it was read into.

use bytes::{Bytes, BytesMut};
use driftless_node::codec::frame::{FrameError, HEADER_BYTES, frame_len};
use std::fmt;

/// What is read from a link and not yet handed on.
#[derive(Default)]
pub(crate) struct Cutter {
    buffer: BytesMut,
    /// The first frame is a greeting from somebody not yet known, and small.
    greeted: bool,
}

/// Room that one read should find.
const READ_BYTES: usize = 256 << 10;

/// Less room than this is not worth a system call.
const READ_BYTES_MIN: usize = 32 << 10;

/// The largest greeting.
const GREETING_BYTES_MAX: usize = 64 << 10;

/// Why a stream cannot be cut any further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CutError {
    /// The header is none.
    Header(FrameError),
    /// Somebody not yet known announced more than a greeting.
    GreetingTooLong(usize),
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::GreetingTooLong(bytes) => {
                write!(
                    f,
                    "the first frame has {bytes} bytes, at most {GREETING_BYTES_MAX} are taken before the handshake"
                )
            }
        }
    }
}

impl Cutter {
    /// Where the next bytes go. Has room; grows only as bytes arrive, never by
    /// what a header promises.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
        }
        &mut self.buffer
    }

    /// The next whole frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let bytes = frame_len(header).map_err(CutError::Header)?;
        if !self.greeted && bytes > GREETING_BYTES_MAX {
            return Err(CutError::GreetingTooLong(bytes));
        }
        if self.buffer.len() < bytes {
            return Ok(None);
        }
        self.greeted = true;
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use driftless_node::codec::frame::FRAME_BYTES_MAX;

    fn header(bytes: usize) -> Vec<u8> {
        let mut header = Vec::new();
        header.put_u32_le(u32::try_from(bytes).unwrap());
        header.resize(HEADER_BYTES, 0);
        header
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = header(HEADER_BYTES + body.len());
        frame.extend_from_slice(body);
        frame
    }

    fn feed(cutter: &mut Cutter, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = cutter.room();
            let n = bytes.len().min(room.capacity() - room.len());
            assert!(n > 0);
            room.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
    }

    #[test]
    fn frames_come_whole_however_the_stream_is_cut() {
        let bodies: Vec<Vec<u8>> =
            [0, 1, 3, 500, 70_000, 2, 300_000, 0].iter().map(|&n| vec![n as u8; n]).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        for step in [1, 2, 5, 1_000, 65_536, stream.len()] {
            let mut cutter = Cutter::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                feed(&mut cutter, piece);
                while let Some(frame) = cutter.next().unwrap() {
                    seen.push(frame[HEADER_BYTES..].to_vec());
                }
            }
            assert_eq!(seen, bodies, "in steps of {step}");
        }
    }

    #[test]
    fn frames_of_one_read_share_its_buffer() {
        let mut cutter = Cutter::default();
        feed(&mut cutter, &[frame(b"one"), frame(b"two")].concat());
        let one = cutter.next().unwrap().unwrap();
        let two = cutter.next().unwrap().unwrap();
        assert_eq!(two.as_ptr() as usize - one.as_ptr() as usize, one.len());
    }

    #[test]
    fn a_promised_length_allocates_nothing() {
        let mut cutter = Cutter::default();
        feed(&mut cutter, &frame(b"hello"));
        cutter.next().unwrap().unwrap();
        feed(&mut cutter, &header(FRAME_BYTES_MAX));
        assert_eq!(cutter.next(), Ok(None));
        assert!(cutter.room().capacity() < FRAME_BYTES_MAX);
    }

    #[test]
    fn too_long_is_refused() {
        let mut cutter = Cutter::default();
        feed(&mut cutter, &header(100_000));
        assert_eq!(cutter.next(), Err(CutError::GreetingTooLong(100_000)));

        let mut cutter = Cutter::default();
        feed(&mut cutter, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
        assert!(matches!(cutter.next(), Err(CutError::Header(FrameError::Length(_)))));
    }
}
