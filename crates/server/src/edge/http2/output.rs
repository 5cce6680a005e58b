//! Bytes on their way to the socket.

/// A buffer larger than this is not kept once it is empty.
const KEPT_BYTES: usize = 32 << 10;

/// What was sent already is cut off in pieces of at least this.
const CUT_BYTES: usize = 32 << 10;

/// What is written together, and how much of it is out.
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    sent: usize,
}

impl Output {
    /// The end to write at.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What waits to be sent.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// So much of the rest is out.
    pub(super) fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len());
        self.sent += bytes;
        if self.sent == self.buffer.len() {
            if self.buffer.capacity() > KEPT_BYTES {
                self.buffer = Vec::new();
            } else {
                self.buffer.clear();
            }
            self.sent = 0;
        } else if self.sent >= CUT_BYTES {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_takes_no_room_however_it_leaves() {
        let mut output = Output::default();
        let mut expected = 0_u8;
        let mut next = 0_u8;
        for round in 0..10_000 {
            for _ in 0..97 {
                output.buffer().push(next);
                next = next.wrapping_add(1);
            }
            let out = (round % 195).min(output.len());
            for byte in &output.rest()[..out] {
                assert_eq!(*byte, expected);
                expected = expected.wrapping_add(1);
            }
            output.advance(out);
        }
        assert!(output.buffer.len() <= output.len() + CUT_BYTES);
        output.advance(output.len());
        assert_eq!((output.len(), output.sent), (0, 0));
    }
}
