//! Short digests of rendered text and objects, for names and for telling change from no change.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Characters of a digest: 48 bits, enough to tell the few renderings of one cluster apart, short enough for a name.
const LENGTH: usize = 10;
/// No vowels, so that no digest spells a word.
const LETTERS: &[u8; 28] = b"bcdfghjklmnpqrstvwxz23456789";

/// The digest of bytes, usable in an object's name.
#[must_use]
pub fn digest_of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(LENGTH)
        .map(|byte| char::from(LETTERS[usize::from(byte % 28)]))
        .collect()
}

/// The digest of an object in its JSON form, whose maps are sorted.
///
/// # Errors
/// When the object has no JSON form.
pub fn digest_of(object: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(digest_of_bytes(serde_json::to_string(&serde_json::to_value(object)?)?.as_bytes()))
}
