//! What a request names more than once.

use std::collections::BTreeSet;

/// Each of these that is among them more than once. A request may have hundreds of thousands.
pub(super) fn repeated<'a, T: Ord>(all: impl Iterator<Item = &'a T>) -> BTreeSet<&'a T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| !seen.insert(*one)).collect()
}
