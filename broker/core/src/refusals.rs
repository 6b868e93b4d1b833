//! What probes of a process say: whether nobody listens there any more.
//!
//! A probe opens a connection. Only a refusal says something, and several in a row are needed; whatever else comes of
//! it, or nothing, begins the count anew.

/// So many refusals in a row are believed: a process that is being replaced on the spot listens again soon.
const REFUSALS_MIN: u32 = 2;

/// The probes of one process. One is on its way at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refusals {
    /// The probe on its way.
    probe: Option<u64>,
    in_a_row: u32,
}

impl Refusals {
    /// Whether a probe is on its way.
    pub(crate) fn is_asking(self) -> bool {
        self.probe.is_some()
    }

    /// A probe goes out under this number.
    pub(crate) fn ask(&mut self, number: u64) {
        self.probe = Some(number);
    }

    /// Whether it is the probe on its way that has this number.
    pub(crate) fn awaits(self, number: u64) -> bool {
        self.probe == Some(number)
    }

    /// The probe on its way came back.
    pub(crate) fn answered(&mut self, refused: bool) {
        self.probe = None;
        self.in_a_row = if refused { self.in_a_row.saturating_add(1) } else { 0 };
    }

    /// Whether the last probe was refused.
    pub(crate) fn any(self) -> bool {
        self.in_a_row > 0
    }

    /// Whether so many were refused in a row that nobody listens there.
    pub(crate) fn are_enough(self) -> bool {
        self.in_a_row >= REFUSALS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;

    #[test]
    fn only_refusals_in_a_row_are_believed() {
        let mut refusals = Refusals::default();
        let told: Vec<(bool, bool)> = [true, false, true, true, false]
            .map(|refused| {
                refusals.ask(1);
                refusals.answered(refused);
                (refusals.any(), refusals.are_enough())
            })
            .to_vec();
        assert_eq!(told, [(true, false), (false, false), (true, false), (true, true), (false, false)]);
    }
}
