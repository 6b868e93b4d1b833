//! A server that runs as an [`Attached`] process.

use std::ffi::OsString;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::attached::Attached;

/// An attached process and where it is reached.
#[derive(Debug)]
pub struct Server {
    process: Attached,
    address: String,
}

impl Server {
    /// A server that will listen on `address` and write both outputs to `log`; it does not run yet.
    #[must_use]
    pub fn new(
        name: &str,
        program: PathBuf,
        arguments: Vec<OsString>,
        address: String,
        log: PathBuf,
    ) -> Self {
        Self { process: Attached::new(name, program, arguments, log), address }
    }

    /// Where its clients reach it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts it and waits until it accepts connections; gives up at once when it has ended.
    pub fn start(&mut self) -> Result<()> {
        self.process.spawn()?;
        let address = self.address.clone();
        self.process.wait_until("listens", || TcpStream::connect(&address).map(drop).context("connect"))
    }
}

impl Deref for Server {
    type Target = Attached;

    fn deref(&self) -> &Attached {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Attached {
        &mut self.process
    }
}
