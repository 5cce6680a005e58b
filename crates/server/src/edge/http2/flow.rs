//! Flow control, RFC 9113 section 5.2: how much may still be sent, either way.

/// No window may exceed this.
pub(super) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What every window is at first.
pub(super) const WINDOW_AT_FIRST: u32 = 65_535;

/// A window would exceed [`WINDOW_MAX`], or was overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfBounds;

/// How much we may send. It may be below zero, when the peer has made it smaller
/// than what is under way already (section 6.9.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    pub(super) fn left(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Sends so much of what is [`Self::left`].
    pub(super) fn take(&mut self, bytes: usize) {
        assert!(bytes <= self.left());
        self.0 -= bytes as i64;
    }

    /// The peer gives more; or less, if it shrinks the windows that streams begin with.
    pub(super) fn add(&mut self, bytes: i64) -> Result<(), OutOfBounds> {
        // Far from overflow: both are numbers of 32 bits.
        let sum = self.0 + bytes;
        if sum > i64::from(WINDOW_MAX) {
            return Err(OutOfBounds);
        }
        self.0 = sum;
        Ok(())
    }
}

/// How much the peer may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    size: u32,
    left: u32,
    /// Received, done with, and not yet given back.
    owed: u32,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { size, left: size, owed: 0 }
    }

    /// The peer has sent so much.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        let bytes = u32::try_from(bytes).map_err(|_| OutOfBounds)?;
        self.left = self.left.checked_sub(bytes).ok_or(OutOfBounds)?;
        Ok(())
    }

    /// We are done with so much of what was received; says what to give back to
    /// the peer, once it is worth a frame.
    pub(super) fn done_with(&mut self, bytes: usize) -> Option<u32> {
        let received = self.size - self.left;
        let owed = u64::from(self.owed) + bytes as u64;
        self.owed = u32::try_from(owed).unwrap_or(u32::MAX).min(received);
        if self.owed <= self.size / 2 {
            return None;
        }
        self.left += self.owed;
        Some(std::mem::take(&mut self.owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_never_exceeds_the_bound_and_may_be_less_than_nothing() {
        let mut window = SendWindow::new(WINDOW_AT_FIRST);
        window.take(65_535);
        assert_eq!(window.left(), 0);
        window.add(-65_535).unwrap();
        assert_eq!(window.left(), 0);
        window.add(65_536).unwrap();
        assert_eq!(window.left(), 1);
        assert_eq!(window.add(i64::from(WINDOW_MAX)), Err(OutOfBounds));
        window.add(i64::from(WINDOW_MAX) - 1).unwrap();
        assert_eq!(window.left(), WINDOW_MAX as usize);
    }

    #[test]
    fn what_was_received_is_given_back_in_lumps_and_only_once() {
        let mut window = ReceiveWindow::new(100);
        window.take(60).unwrap();
        assert_eq!(window.done_with(50), None);
        assert_eq!(window.done_with(10), Some(60));
        assert_eq!(window.done_with(1_000), None, "nothing more was received");
        window.take(100).unwrap();
        assert_eq!(window.take(1), Err(OutOfBounds));
        assert_eq!(window.done_with(usize::MAX), Some(100));
        assert_eq!(window.take(usize::MAX), Err(OutOfBounds));
    }
}
