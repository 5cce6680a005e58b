//! What can be broken, and how a check says so.

use std::fmt;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// At most one leader a term (§5.2).
    ElectionSafety,
    /// A leader never overwrites or deletes entries of its log (§5.3).
    LeaderAppendOnly,
    /// Logs that agree on an entry agree on everything before it (§5.3).
    LogMatching,
    /// A committed entry is in the log of every later leader (§5.4).
    LeaderCompleteness,
    /// All members apply the same commands in the same order (§5.4.3).
    StateMachineSafety,
    /// What is committed is durable on a quorum.
    CommittedIsDurable,
    /// A log holds at most one membership that is not committed.
    OneMembershipOpen,
    /// Every member goes by the newest membership in its log.
    MembershipInForce,
    /// A change of members that was answered for is there, and no other was made.
    ChangeIsDone,
    /// A member that lost what it had made durable votes for nobody, until the
    /// group has taken it in again.
    NoAmnesia,
    /// While a leader holds a lease nobody leads in a later term.
    OneLease,
    /// Term, vote and commit index never go back.
    HardStateMonotonic,
    /// Nothing is applied that is not committed and locally durable.
    AppliedIsDurable,
    /// What was acknowledged as durable is there after a crash.
    DurableSurvives,
    /// A command is applied at most as often as it was asked for.
    AppliedAtMostOnce,
    /// No vote waits behind entries that a full disk has no room for.
    AppendsFit,
    /// A request is answered once, and never left open.
    AnsweredOnce,
    /// A read sees all that was committed before it was asked.
    ReadIsFresh,
    /// Client histories are linearizable.
    Linearizable,
    /// Once faults stop, the world is whole again in bounded time.
    Liveness,
    /// All members end in the same state.
    SameState,
    /// Every data directory verifies.
    LogVerifies,
    /// The machine's own examination (see `Workload::examine`).
    Machine,
    /// A member could not start from what it had made durable.
    Starts,
    /// No panic, ever.
    NoPanic,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub property: Property,
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { property, at_us, detail } = self;
        write!(f, "{property:?} broken at {:.6} s: {detail}", *at_us as f64 / 1e6)
    }
}

impl std::error::Error for Failure {}

/// A check's outcome before the world adds the time.
pub(crate) type Check = Result<(), Breach>;

/// A [`Failure`] without its time.
#[derive(Debug)]
pub(crate) struct Breach(pub(crate) Property, pub(crate) String);

/// Fails with a property and a formatted reason unless the condition holds.
macro_rules! hold {
    ($condition:expr, $property:ident, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::property::Breach(
                $crate::property::Property::$property,
                format!($($reason)+),
            ));
        }
    };
}
pub(crate) use hold;
