//! `HOST:PORT`, with brackets around an IPv6 host.

use std::fmt;
use std::str::FromStr;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Text that is not `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not HOST:PORT")]
pub struct AddressError {
    /// The text as given.
    pub text: String,
}

impl HostPort {
    /// An address from its parts.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare {
            Some(inner) if inner.contains(':') => Ok(Self::new(inner, port)),
            None if !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']) => {
                Ok(Self::new(host, port))
            }
            Some(_) | None => Err(error()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["localhost:9092", "my-nodes-0.my-nodes.ns.svc:9090", "[::1]:9092", "127.0.0.1:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:1".parse::<HostPort>().unwrap().host, "::1");
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", "host", ":9092", "host:", "host:port", "host:65536", "::1:9092", "[host]:1", "PLAIN://h:1"]
        {
            let error = text.parse::<HostPort>().unwrap_err();
            assert_eq!(error.to_string(), format!("\"{text}\" is not HOST:PORT"));
        }
    }
}
