//! The only place where this process draws what nobody can guess.

use std::fs;
use std::io::{self, Read};

use ottla_core::ids::ClusterId;
use uuid::Uuid;

/// A random (version 4) uuid whose text begins with no `-`: tools would take it for a flag. Its first half
/// is never zero, since the version is in there.
pub(crate) fn random_uuid() -> io::Result<Uuid> {
    let mut source = fs::File::open("/dev/urandom")?;
    loop {
        let mut bytes = [0; 16];
        source.read_exact(&mut bytes)?;
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        if !ClusterId(uuid).to_string().starts_with('-') {
            return Ok(uuid);
        }
    }
}
