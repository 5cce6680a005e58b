//! The head of a request: its header fields, checked and boiled down to what
//! matters here. RFC 9113 section 8.

use super::hpack::Field;
use crate::grpc::{self, CallMetadata, Method};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) verb: Verb,
    pub(super) target: Target,
    /// By its content type.
    pub(super) is_grpc: bool,
    pub(super) metadata: CallMetadata,
    /// How long the body is said to be.
    pub(super) content_length: Option<u64>,
}

/// HTTP's methods, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Head,
    Post,
    Other,
}

/// `:path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// That of a method.
    Method(Method),
    /// Any other, with its query.
    Path(Box<str>),
}

/// Why a header block is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// It breaks the rules of section 8.
    Malformed,
    /// It is longer than we take.
    TooLarge,
}

/// What is known of a head while its fields come.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct HeadBuilder {
    bytes: usize,
    is_malformed: bool,
    /// A regular field has come: no pseudo-header may follow.
    is_regular: bool,
    verb: Option<Verb>,
    target: Option<Target>,
    has_scheme: bool,
    has_authority: bool,
    is_grpc: bool,
    metadata: CallMetadata,
    content_length: Option<u64>,
}

impl HeadBuilder {
    /// The next field. Beyond `bytes_max` of them nothing more is kept.
    pub(super) fn take(&mut self, field: Field<'_>, bytes_max: usize) {
        self.bytes = self.bytes.saturating_add(field.bytes());
        if self.bytes > bytes_max || self.is_malformed {
            return;
        }
        let fits = if field.name.starts_with(b":") {
            !self.is_regular && self.take_pseudo(field)
        } else {
            self.is_regular = true;
            self.take_regular(field)
        };
        self.is_malformed |= !(fits && field.is_well_formed);
    }

    /// The head, if all of it has come.
    pub(super) fn finish(self, bytes_max: usize) -> Result<RequestHead, NoRequest> {
        if self.is_malformed {
            return Err(NoRequest::Malformed);
        }
        if self.bytes > bytes_max {
            return Err(NoRequest::TooLarge);
        }
        match (self.verb, self.target) {
            (Some(verb), Some(target)) if self.has_scheme => Ok(RequestHead {
                verb,
                target,
                is_grpc: self.is_grpc,
                metadata: self.metadata,
                content_length: self.content_length,
            }),
            _ => Err(NoRequest::Malformed),
        }
    }

    /// Section 8.3.1; whether it may stand here. Each comes once.
    fn take_pseudo(&mut self, field: Field<'_>) -> bool {
        match field.name {
            b":method" => {
                let verb = match field.value {
                    b"GET" => Verb::Get,
                    b"HEAD" => Verb::Head,
                    b"POST" => Verb::Post,
                    _ => Verb::Other,
                };
                self.verb.replace(verb).is_none()
            }
            b":path" => {
                let Some(target) = target(field.value) else { return false };
                self.target.replace(target).is_none()
            }
            b":scheme" => !std::mem::replace(&mut self.has_scheme, true),
            b":authority" => !std::mem::replace(&mut self.has_authority, true),
            _ => false,
        }
    }

    /// Whether it may stand in a request, section 8.2.2.
    fn take_regular(&mut self, field: Field<'_>) -> bool {
        match field.name {
            b"content-type" => self.is_grpc = field.value.starts_with(b"application/grpc"),
            b"content-length" => {
                let length = decimal(field.value);
                let before = std::mem::replace(&mut self.content_length, length);
                return length.is_some() && (before.is_none() || before == length);
            }
            b"te" => return field.value.eq_ignore_ascii_case(b"trailers"),
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => return false,
            name => self.metadata.heed(name, field.value),
        }
        true
    }
}

fn target(path: &[u8]) -> Option<Target> {
    let path = std::str::from_utf8(path).ok()?;
    if let Some(method) = grpc::find_method(path) {
        return Some(Target::Method(method));
    }
    // `*` is for OPTIONS, which nobody asks here.
    (path.starts_with('/') || path == "*").then(|| Target::Path(path.into()))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether these fields may be a request's trailers: they hold no pseudo-header.
pub(super) fn may_trail(field: Field<'_>) -> bool {
    field.is_well_formed && !field.name.starts_with(b":")
}
