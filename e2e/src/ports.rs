//! Ports of this machine that nobody listens on.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Below the range that Linux gives to outgoing connections (from 32768): one of those could otherwise take the
/// port of a server that is being restarted.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// Two neighbours are handed out at a time: `ottla dev` takes the port after its own, too.
const STEP: u16 = 2;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A free port whose neighbour above is free as well. It is not handed out again by this process; others begin
/// to look elsewhere.
pub fn free() -> Result<u16> {
    let start = u16::try_from(process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or_default();
    (0..COUNT / STEP)
        .map(|_| {
            let turn = NEXT.fetch_add(STEP, Ordering::Relaxed);
            FIRST + (start / STEP * STEP + turn % COUNT) % COUNT
        })
        .find(|port| is_free(*port) && is_free(port + 1))
        .context("no free pair of ports below the ephemeral ones")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once_and_never_while_it_is_taken() {
        let first = free().unwrap();
        let taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
        assert_ne!(free().unwrap(), first);
        assert!(!is_free(first));
        drop(taken);
    }
}
