//! Frames, RFC 9113 sections 4 and 6, and the codes of section 7.

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 9;

/// The largest payload of a frame that we take: what the protocol begins with,
/// and we ask for no more.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16_384;

/// What every connection of a client begins with, section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Stream numbers have 31 bits.
pub(super) const STREAM_MAX: u32 = (1 << 31) - 1;

/// The kinds of frames.
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// The flags of frames; one bit means different things in different kinds.
pub(super) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
}

/// The settings, section 6.5.2.
pub(super) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends, section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum ErrorCode {
    NoError = 0,
    ProtocolError = 1,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the payload.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// 0 is the connection.
    pub(super) stream: u32,
}

impl FrameHeader {
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            // The highest bit is reserved and ignored, section 4.1.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the header of a frame.
pub(super) fn put_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]);
}

pub(super) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_header(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn put_settings_ack(out: &mut Vec<u8>) {
    put_header(out, 0, kind::SETTINGS, flag::ACK, 0);
}

pub(super) fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    put_header(out, payload.len(), kind::PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put_header(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_header(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn put_go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, reason: &str) {
    put_header(out, 8 + reason.len(), kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// The settings that a payload holds, in order; its length is a multiple of six.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let (settings, _) = payload.as_chunks::<6>();
    settings.iter().map(|[n0, n1, v0, v1, v2, v3]| {
        (u16::from_be_bytes([*n0, *n1]), u32::from_be_bytes([*v0, *v1, *v2, *v3]))
    })
}

/// The four bytes of a `RST_STREAM` or `WINDOW_UPDATE` without the reserved bit;
/// `None` if there are more or fewer.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// A payload without its padding, section 6.1; `None` if the padding is said to be
/// longer than what there is.
pub(super) fn without_padding(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        for (length, stream) in [(0, 0), (1, 1), (PAYLOAD_BYTES_MAX, STREAM_MAX), (0xff_ffff, 7)] {
            let mut out = Vec::new();
            put_header(&mut out, length, kind::DATA, flag::END_STREAM, stream);
            let header = FrameHeader::parse(out[..].try_into().unwrap());
            assert_eq!(header, FrameHeader { length, kind: kind::DATA, flags: 1, stream });
        }
        let reserved = FrameHeader::parse(&[0, 0, 0, 0, 0, 0x80, 0, 0, 3]);
        assert_eq!(reserved.stream, 3);
    }

    #[test]
    fn padding_is_believed_only_where_it_fits() {
        let padded = FrameHeader { length: 0, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(without_padding(padded, &[2, b'a', 0, 0]), Some(&b"a"[..]));
        assert_eq!(without_padding(padded, &[2, 0, 0]), Some(&b""[..]));
        assert_eq!(without_padding(padded, &[3, 0, 0]), None);
        assert_eq!(without_padding(padded, &[]), None);
        let plain = FrameHeader { flags: 0, ..padded };
        assert_eq!(without_padding(plain, &[3, 0, 0]), Some(&[3, 0, 0][..]));
    }
}
