//! Which subscriptions a server means when it says that there is one too many. It names none, so they are found by what
//! had been written before the PINGs around that answer: a server judges in order, and as long as none ends, the last ones
//! are the ones it has no room for.

use std::ops::RangeInclusive;

/// What had been written to a server when it was asked something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// The number of the newest subscription.
    pub(crate) newest: u64,
    /// Operations behind which it is not known how many subscriptions the server has.
    pub(crate) others: u64,
}

/// What the server of one connection refused since its last PONG.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    confirmed: Written,
    too_many: u64,
    is_unclear: bool,
}

impl Refusals {
    /// The newest subscription that was judged when the last PONG came.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.newest
    }

    /// A subscription was one too many.
    pub(super) fn one_too_many(&mut self) {
        self.too_many += 1;
    }

    /// How many were one too many since the last PONG.
    pub(super) fn take_too_many(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.too_many)).unwrap_or(usize::MAX)
    }

    /// A subscription ended, or was refused for a reason of its own.
    pub(super) fn blur(&mut self) {
        self.is_unclear = true;
    }

    /// A PING was answered; the numbers of what was one too many since the one before, where that is certain.
    pub(super) fn answered(&mut self, written: Written) -> Option<RangeInclusive<u64>> {
        let too_many = std::mem::take(&mut self.too_many);
        let is_unclear = std::mem::take(&mut self.is_unclear);
        let before = std::mem::replace(&mut self.confirmed, written);
        let new = written.newest.saturating_sub(before.newest);
        let is_certain = !is_unclear && before.others == written.others && too_many <= new;
        (too_many > 0 && is_certain).then(|| written.newest - too_many + 1..=written.newest)
    }
}
