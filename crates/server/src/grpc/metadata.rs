//! What a call's headers say, and how a status' text stands in them.

use std::time::Duration;

/// What this server heeds in a call's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallMetadata {
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
    /// etcd's `hasleader: true`: fail rather than serve without a leader.
    pub require_leader: bool,
}

impl CallMetadata {
    /// Takes what matters of a header field. A timeout that cannot be read is no timeout.
    pub fn heed(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"grpc-timeout" => self.timeout = parse_timeout(value),
            b"hasleader" => self.require_leader = value == b"true",
            _ => {}
        }
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A text as `grpc-message` bears it: printable ASCII but `%` stays.
pub fn percent_encode(message: &str) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_the_protocol_writes_them() {
        assert_eq!(parse_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse_timeout(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in [&b""[..], b"S", b"5", b"123456789S", b"-1S", b"5X", b"1.5S"] {
            assert_eq!(parse_timeout(wrong), None);
        }
    }

    #[test]
    fn a_message_survives_any_text() {
        assert_eq!(percent_encode("50% of \u{fc}ber\n"), b"50%25 of %C3%BCber%0A");
    }

    #[test]
    fn of_the_headers_two_matter() {
        let mut metadata = CallMetadata::default();
        metadata.heed(b"user-agent", b"true");
        assert_eq!(metadata, CallMetadata::default());
        metadata.heed(b"grpc-timeout", b"3S");
        metadata.heed(b"hasleader", b"true");
        let timeout = Some(Duration::from_secs(3));
        assert_eq!(metadata, CallMetadata { timeout, require_leader: true });
    }
}
