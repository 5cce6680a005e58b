//! Length-prefixed messages: a byte that says whether the message is
//! compressed, four bytes of length, the message.

use crate::status::{Code, Status};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// The largest message taken from a client: etcd's 1.5 MiB for a request and
/// its 512 KiB for what surrounds it.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;

const PREFIX_BYTES: usize = 5;

/// What is set aside for a message that has only been announced.
const RESERVED_MAX: usize = 64 << 10;

/// A message in its frame, in one buffer of the right size.
pub fn encode(message: &impl Message) -> Bytes {
    frame_parts(message, &[])
}

/// A message and, behind it, fields of it that are already encoded, in one frame.
pub fn frame_parts(message: &impl Message, fields: &[Bytes]) -> Bytes {
    let length = message.encoded_len() + fields.iter().map(Bytes::len).sum::<usize>();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message
        .encode(&mut frame)
        .expect("the buffer has room: the length was just computed from the same message");
    for field in fields {
        frame.extend_from_slice(field);
    }
    frame.freeze()
}

/// Cuts messages out of a request's body, in whatever pieces it arrives.
/// Holds one message at most.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    /// The usual case: the piece that arrived last, shared.
    piece: Bytes,
    /// A message that spans pieces, being put together.
    partial: BytesMut,
}

impl MessageBuffer {
    /// Takes the next piece. Call [`Self::next_message`] until it has nothing left
    /// before the next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.partial.is_empty() {
            debug_assert!(self.piece.is_empty(), "pieces are taken apart as they come");
            self.piece = piece;
        } else {
            self.partial.extend_from_slice(&piece);
        }
    }

    /// The next whole message, if it is there. Where it arrived in one piece,
    /// it shares that piece's memory.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, Status> {
        if !self.partial.is_empty() {
            let Some(length) = message_length(&self.partial)? else { return Ok(None) };
            if self.partial.len() < PREFIX_BYTES + length {
                // Promised, not come: room for all of it is not made at once.
                let missing = PREFIX_BYTES + length - self.partial.len();
                self.partial.reserve(missing.min(RESERVED_MAX));
                return Ok(None);
            }
            let mut all = std::mem::take(&mut self.partial).freeze();
            all.advance(PREFIX_BYTES);
            let message = all.split_to(length);
            self.piece = all;
            return Ok(Some(message));
        }
        if self.piece.is_empty() {
            return Ok(None);
        }
        match message_length(&self.piece)? {
            Some(length) if self.piece.len() >= PREFIX_BYTES + length => {
                self.piece.advance(PREFIX_BYTES);
                Ok(Some(self.piece.split_to(length)))
            }
            _ => {
                self.partial = BytesMut::from(&self.piece[..]);
                self.piece = Bytes::new();
                Ok(None)
            }
        }
    }

    /// Whether a message has begun and not ended.
    pub fn is_mid_message(&self) -> bool {
        !self.partial.is_empty() || !self.piece.is_empty()
    }
}

/// The one message of a unary request, if the whole body came in one piece.
pub fn unframe_unary(body: &[u8]) -> Result<&[u8], Status> {
    let length = message_length(body)?
        .ok_or(Status::new(Code::Internal, "the request ended before its message"))?;
    if body.len() != PREFIX_BYTES + length {
        return Err(Status::new(
            Code::Internal,
            "a unary request must hold exactly one whole message",
        ));
    }
    Ok(&body[PREFIX_BYTES..])
}

/// The length that a prefix promises, bounded; `None` while the prefix is not whole.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::new(
            Code::Unimplemented,
            "grpc: compressed messages are not supported; send with grpc-encoding identity",
        ));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Status::with(
            Code::ResourceExhausted,
            format!("grpc: received message larger than max ({length} vs. {MESSAGE_BYTES_MAX})"),
        ));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            out.push(0);
            out.extend_from_slice(&(message.len() as u32).to_be_bytes());
            out.extend_from_slice(message);
        }
        out
    }

    #[test]
    fn messages_come_out_however_the_body_is_cut() {
        let messages: [&[u8]; 4] = [b"one", b"", b"three three", b"4"];
        let body = framed(&messages);
        for cut in 1..=body.len() {
            let mut buffer = MessageBuffer::default();
            let mut found = Vec::new();
            for piece in body.chunks(cut) {
                buffer.push(Bytes::copy_from_slice(piece));
                while let Some(message) = buffer.next_message().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "pieces of {cut} bytes");
            assert!(!buffer.is_mid_message());
        }
    }

    #[test]
    fn a_promised_length_is_bounded_before_it_is_believed() {
        let mut buffer = MessageBuffer::default();
        buffer.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(buffer.next_message().unwrap_err().code, Code::ResourceExhausted);
        assert_eq!(unframe_unary(&[0, 0, 0x20, 0, 1]).unwrap_err().code, Code::ResourceExhausted);
    }

    #[test]
    fn compressed_short_and_overlong_requests_are_refused() {
        assert_eq!(unframe_unary(&[1, 0, 0, 0, 0]).unwrap_err().code, Code::Unimplemented);
        for body in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 0, 7]] {
            assert_eq!(unframe_unary(body).unwrap_err().code, Code::Internal);
        }
    }
}
