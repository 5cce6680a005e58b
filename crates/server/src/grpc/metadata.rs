//! What a call's headers say, and how a status stands in them.

use crate::status::{Code, Status};
use http::{HeaderMap, HeaderName, HeaderValue};
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
    /// From a request's headers. A timeout that cannot be read is no timeout.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            timeout: headers.get("grpc-timeout").and_then(|value| parse_timeout(value.as_bytes())),
            require_leader: headers.get("hasleader").is_some_and(|value| value == "true"),
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

/// Writes a status into headers or trailers.
pub fn status_headers(status: &Status, headers: &mut HeaderMap) {
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(status.code as u16));
    if status.code != Code::Ok {
        headers.insert(HeaderName::from_static("grpc-message"), percent_encode(&status.message));
    }
}

/// gRPC's percent-encoding: printable ASCII but `%` stays.
fn percent_encode(message: &str) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    HeaderValue::from_bytes(&out).expect("only printable ASCII was written")
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
    fn a_status_survives_any_text() {
        let mut headers = HeaderMap::new();
        let status = Status::with(Code::Unknown, "50% of \u{fc}ber\n".to_owned());
        status_headers(&status, &mut headers);
        assert_eq!(headers["grpc-status"], "2");
        assert_eq!(headers["grpc-message"], "50%25 of %C3%BCber%0A");
    }
}
