//! What an RPC answers when it does not answer: a gRPC code and etcd's text.
//!
//! Clients match the text, so it is etcd's to the letter
//! (`api/v3rpc/rpctypes/error.go`). They retry reads on [`Code::Unavailable`]
//! alone; hence a write whose outcome is unknown is `Unavailable`, and one that
//! was surely not done is not, but for the two texts that etcd itself answers so.

use driftless::RequestError;
use driftless_kv::check::CheckError;
use driftless_kv::{ApplyError, ReadError};
use std::borrow::Cow;
use std::fmt;

/// The gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// The caller went away.
    Canceled = 1,
    /// Anything else; etcd leaks some of its errors so.
    Unknown = 2,
    /// The request is wrong whatever the state.
    InvalidArgument = 3,
    /// The caller's time is up.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// Somebody else was faster.
    Aborted = 10,
    /// Beyond what there is.
    OutOfRange = 11,
    /// This server has no such method.
    Unimplemented = 12,
    /// The message is broken.
    Internal = 13,
    /// Not now; the outcome may be unknown.
    Unavailable = 14,
    /// Something is lost.
    DataLoss = 15,
    /// The caller did not say who it is.
    Unauthenticated = 16,
}

impl Code {
    /// How many there are.
    pub const COUNT: usize = 17;

    /// Its name, as metrics bear it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Canceled => "Canceled",
            Self::Unknown => "Unknown",
            Self::InvalidArgument => "InvalidArgument",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Aborted => "Aborted",
            Self::OutOfRange => "OutOfRange",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::DataLoss => "DataLoss",
            Self::Unauthenticated => "Unauthenticated",
        }
    }

    /// All codes, in order.
    pub fn all() -> [Self; Self::COUNT] {
        [
            Self::Ok,
            Self::Canceled,
            Self::Unknown,
            Self::InvalidArgument,
            Self::DeadlineExceeded,
            Self::NotFound,
            Self::AlreadyExists,
            Self::PermissionDenied,
            Self::ResourceExhausted,
            Self::FailedPrecondition,
            Self::Aborted,
            Self::OutOfRange,
            Self::Unimplemented,
            Self::Internal,
            Self::Unavailable,
            Self::DataLoss,
            Self::Unauthenticated,
        ]
    }
}

/// Why an RPC was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A status with a fixed text.
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    /// A status with a text made for the occasion.
    pub fn with(code: Code, message: String) -> Self {
        Self { code, message: Cow::Owned(message) }
    }

    /// `grpc-timeout` ran out.
    pub const DEADLINE_EXCEEDED: Self =
        Self::new(Code::DeadlineExceeded, "context deadline exceeded");
    /// A key is empty.
    pub const EMPTY_KEY: Self = Self::new(Code::InvalidArgument, "etcdserver: key is not provided");
    /// `ignore_value` or `ignore_lease` without a key, and an empty operation.
    pub const KEY_NOT_FOUND: Self = Self::new(Code::InvalidArgument, "etcdserver: key not found");
    /// A value beside `ignore_value`.
    pub const VALUE_PROVIDED: Self =
        Self::new(Code::InvalidArgument, "etcdserver: value is provided");
    /// A lease beside `ignore_lease`.
    pub const LEASE_PROVIDED: Self =
        Self::new(Code::InvalidArgument, "etcdserver: lease is provided");
    /// A transaction over the limit.
    pub const TOO_MANY_OPS: Self =
        Self::new(Code::InvalidArgument, "etcdserver: too many operations in txn request");
    /// A transaction that writes a key twice.
    pub const DUPLICATE_KEY: Self =
        Self::new(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
    /// A sort order or target that does not exist.
    pub const INVALID_SORT_OPTION: Self =
        Self::new(Code::InvalidArgument, "etcdserver: invalid sort option");
    /// Over 1.5 MiB.
    pub const REQUEST_TOO_LARGE: Self =
        Self::new(Code::InvalidArgument, "etcdserver: request is too large");
    /// The revision is gone.
    pub const COMPACTED: Self =
        Self::new(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    /// The revision is not yet there.
    pub const FUTURE_REV: Self =
        Self::new(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    /// The disk or the quota is full.
    pub const NO_SPACE: Self =
        Self::new(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    /// There is no such lease.
    pub const LEASE_NOT_FOUND: Self =
        Self::new(Code::NotFound, "etcdserver: requested lease not found");
    /// Too much is in flight. The code is the one that etcd leaks.
    pub const TOO_MANY_REQUESTS: Self = Self::new(Code::Unknown, "etcdserver: too many requests");
    /// No leader is known.
    pub const NO_LEADER: Self = Self::new(Code::Unavailable, "etcdserver: no leader");
    /// No answer in time.
    pub const TIMED_OUT: Self = Self::new(Code::Unavailable, "etcdserver: request timed out");
    /// There is no such member, or it was removed.
    pub const MEMBER_NOT_FOUND: Self = Self::new(Code::NotFound, "etcdserver: member not found");
    /// A member has one of these peer URLs.
    pub const PEER_URL_EXISTS: Self =
        Self::new(Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
    /// Peer URLs that are none.
    pub const MEMBER_BAD_URLS: Self =
        Self::new(Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    /// There are as many learners as there may be.
    pub const TOO_MANY_LEARNERS: Self =
        Self::new(Code::FailedPrecondition, "etcdserver: too many learner members in cluster");
    /// Promotion of one that is no learner.
    pub const NOT_LEARNER: Self =
        Self::new(Code::FailedPrecondition, "etcdserver: can only promote a learner member");
    /// Promotion of a learner that is behind.
    pub const LEARNER_NOT_READY: Self = Self::new(
        Code::FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader",
    );
    /// Too few members have started for this change. The code is the one that etcd leaks.
    pub const NOT_ENOUGH_STARTED: Self = Self::new(
        Code::Unknown,
        "etcdserver: re-configuration failed due to not enough started members",
    );
    /// Too few members are up for this change.
    pub const UNHEALTHY: Self = Self::new(Code::Unavailable, "etcdserver: unhealthy cluster");
    /// Asked of another member than the leader.
    pub const NOT_LEADER: Self = Self::new(Code::FailedPrecondition, "etcdserver: not leader");
    /// Leadership for one that cannot have it.
    pub const BAD_TRANSFEREE: Self =
        Self::new(Code::FailedPrecondition, "etcdserver: bad leader transferee");
    /// Leadership did not go over in time.
    pub const TRANSFER_TIMED_OUT: Self = Self::new(
        Code::Unavailable,
        "etcdserver: request timed out, leader transfer took too long",
    );
    /// A learner is asked for what it does not serve.
    pub const LEARNER: Self =
        Self::new(Code::FailedPrecondition, "etcdserver: rpc not supported for learner");
    /// A witness is asked for what takes data. Reads may be tried elsewhere on this code.
    pub const WITNESS: Self = Self::new(
        Code::Unavailable,
        "driftless: this member is a witness, which votes and holds no data: \
         ask a member that keeps data",
    );
    /// Promotion of a witness.
    pub const WITNESS_STAYS: Self = Self::new(
        Code::FailedPrecondition,
        "driftless: the member is a witness, which holds no data and cannot become another kind of \
         member: add one that keeps data, then remove the witness",
    );
    /// Leadership for a witness.
    pub const WITNESS_CANNOT_LEAD: Self = Self::new(
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee: the member is a witness, which holds no data and cannot \
         lead",
    );
    /// A change after which data could be lost with all who hold it.
    pub const TOO_MANY_WITNESSES: Self = Self::new(
        Code::FailedPrecondition,
        "driftless: a majority could then consist of witnesses, which hold no data: \
         add members that keep data, or remove a witness first",
    );
    /// A witness that is to be added without a name.
    pub const WITNESS_NAMELESS: Self = Self::new(
        Code::InvalidArgument,
        "driftless: a witness is added with its name, for it cannot say it itself",
    );
    /// A member cannot be both.
    pub const LEARNER_OR_WITNESS: Self = Self::new(
        Code::InvalidArgument,
        "driftless: a member is added as a learner or as a witness, not as both",
    );
    /// The server is going.
    pub const STOPPED: Self = Self::new(Code::Unavailable, "etcdserver: server stopped");
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Status {}

impl From<CheckError> for Status {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::KeyNotProvided => Self::EMPTY_KEY,
            CheckError::ValueProvided => Self::VALUE_PROVIDED,
            CheckError::LeaseProvided => Self::LEASE_PROVIDED,
            CheckError::TooManyOps => Self::TOO_MANY_OPS,
            CheckError::DuplicateKey => Self::DUPLICATE_KEY,
            CheckError::InvalidSortOption => Self::INVALID_SORT_OPTION,
            other => Self::with(Code::InvalidArgument, format!("etcdserver: {other}")),
        }
    }
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Compacted => Self::COMPACTED,
            ApplyError::FutureRev => Self::FUTURE_REV,
            ApplyError::LeaseNotFound => Self::LEASE_NOT_FOUND,
            ApplyError::KeyNotFound => Self::KEY_NOT_FOUND,
            other => Self::with(Code::Unknown, format!("etcdserver: {other}")),
        }
    }
}

impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        ApplyError::from(error).into()
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Busy => Self::TOO_MANY_REQUESTS,
            RequestError::TooLarge { .. } => Self::REQUEST_TOO_LARGE,
            RequestError::DiskFull => Self::NO_SPACE,
            RequestError::NoLeader => Self::NO_LEADER,
            RequestError::TimedOut => Self::TIMED_OUT,
            RequestError::Stopped => Self::STOPPED,
            RequestError::Witness => Self::WITNESS,
            other => Self::with(Code::Unavailable, format!("etcdserver: {other}")),
        }
    }
}
