//! Deliberately wrong variants, for tests that show which check catches which
//! mistake (`safety.md`, mutations). Outside of tests every one is off.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// 30: what does not verify is taken for a torn tail, wherever it is.
    EveryDamageIsATornTail,
    /// 32: records of a segment's former life are believed: neither incarnation
    /// nor chain is compared.
    RecycledWithoutIncarnation,
    /// 33: a sync that failed is tried again, and believed the second time.
    SyncRetried,
    /// 34: a new segment's name is not made durable.
    DirectoryNotSynced,
    /// 34: nor are those that recycled segments take, one by one.
    RecycledNamesNotSynced,
}

#[cfg(test)]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether the code is to go wrong in this way.
#[cfg(test)]
pub(crate) fn on(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

/// Whether the code is to go wrong in this way: never.
#[cfg(not(test))]
pub(crate) const fn on(_: Mutation) -> bool {
    false
}

/// Runs `test` with `mutation` on, in this thread.
#[cfg(test)]
pub(crate) fn with<T>(mutation: Mutation, test: impl FnOnce() -> T) -> T {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(None);
        }
    }
    let _off = Off;
    ON.set(Some(mutation));
    test()
}
