//! Host and port, listeners, and lists of controllers, as properties files write them.

use std::fmt;
use std::str::FromStr;

use crate::ids::{DirectoryId, NodeId};

/// A host (name, IPv4 or IPv6 address) and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Without brackets. Empty where the address is one to listen on: all interfaces.
    pub host: String,
    /// 0 where the address is one to listen on: any free port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text in which no address, listener or controller can be seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {wanted}")]
pub struct BadAddress {
    text: String,
    wanted: &'static str,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { text: text.to_owned(), wanted: "HOST:PORT" };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '%');
        if !host.chars().all(|c| legal(c) || (c == ':' && bracketed.is_some())) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| bad())? })
    }
}

/// The name of a listener, in capitals as Kafka compares them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerName(String);

impl ListenerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ListenerName {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if text.is_empty() || !text.chars().all(legal) {
            let wanted = "a listener name (letters, digits, '-', '_', '.')";
            return Err(BadAddress { text: text.to_owned(), wanted });
        }
        Ok(Self(text.to_ascii_uppercase()))
    }
}

/// `NAME://HOST:PORT`, an entry of `listeners` or `advertised.listeners`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerAddress {
    /// The listener's name.
    pub name: ListenerName,
    /// Where it is.
    pub address: Address,
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

impl FromStr for ListenerAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { text: text.to_owned(), wanted: "NAME://HOST:PORT" };
        let (name, address) = text.split_once("://").ok_or_else(bad)?;
        Ok(Self { name: name.parse().map_err(|_| bad())?, address: address.parse().map_err(|_| bad())? })
    }
}

/// How bytes travel on a listener. The numbers are Kafka's, and those of broker registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityProtocol {
    /// As they are.
    Plaintext,
    /// Over TLS.
    Ssl,
    /// As they are, after a login.
    SaslPlaintext,
    /// Over TLS, after a login.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's number of the protocol.
    pub fn code(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    /// Kafka's name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl FromStr for SecurityProtocol {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| BadAddress {
                text: text.to_owned(),
                wanted: "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
            })
    }
}

/// `ID@HOST:PORT`, an entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticVoter {
    /// The controller.
    pub node_id: NodeId,
    /// Where its controller listener is reached.
    pub address: Address,
}

impl FromStr for StaticVoter {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { text: text.to_owned(), wanted: "ID@HOST:PORT" };
        let (id, address) = text.split_once('@').ok_or_else(bad)?;
        let node_id = node_id(id).ok_or_else(bad)?;
        Ok(Self { node_id, address: reachable(address).ok_or_else(bad)? })
    }
}

/// `ID@HOST:PORT:DIRECTORY`, an entry of `--initial-controllers` (KIP-853): a first voter of a new quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialController {
    /// The controller.
    pub node_id: NodeId,
    /// The directory that will hold its metadata log.
    pub directory_id: DirectoryId,
    /// Where its controller listener is reached.
    pub address: Address,
}

impl fmt::Display for InitialController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.node_id, self.address, self.directory_id)
    }
}

impl FromStr for InitialController {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { text: text.to_owned(), wanted: "ID@HOST:PORT:DIRECTORY_ID" };
        let (id, rest) = text.split_once('@').ok_or_else(bad)?;
        let (address, directory_id) = rest.rsplit_once(':').ok_or_else(bad)?;
        Ok(Self {
            node_id: node_id(id).ok_or_else(bad)?,
            directory_id: directory_id.parse().map_err(|_| bad())?,
            address: reachable(address).ok_or_else(bad)?,
        })
    }
}

fn node_id(text: &str) -> Option<NodeId> {
    text.parse().ok().filter(|id| *id >= 0).map(NodeId)
}

/// An address that one can connect to.
pub(super) fn reachable(text: &str) -> Option<Address> {
    text.parse().ok().filter(|address: &Address| !address.host.is_empty() && address.port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port) in [
            ("a.b-c_d:9092", "a.b-c_d", 9092),
            (":8090", "", 8090),
            ("[::1]:9092", "::1", 9092),
            ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
            ("127.0.0.1:0", "127.0.0.1", 0),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in
            ["", "a", "a:", "a:b", "a:-1", "a:65536", "::1:9092", "a b:1", "http://a:1", "[::1:1", "a,b:1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn listeners_have_names_in_capitals() {
        let listener: ListenerAddress = "plain://:9092".parse().expect("a listener");
        assert_eq!(listener.to_string(), "PLAIN://:9092");
        for bad in ["://a:1", "PLAIN:a:1", "PLAIN://a", "PL AIN://a:1"] {
            let error = bad.parse::<ListenerAddress>().expect_err(bad).to_string();
            assert_eq!(error, format!("\"{bad}\" is not NAME://HOST:PORT"));
        }
    }

    #[test]
    fn controllers_are_read_and_written() {
        let text = "3@[::1]:9090:AAAAAAAAAAAAAAAAAAAAAQ";
        let controller: InitialController = text.parse().expect("a controller");
        assert_eq!(controller.to_string(), text);
        assert_eq!(controller.address.host, "::1");
        let voter: StaticVoter = "3@host:9090".parse().expect("a voter");
        assert_eq!(voter.node_id, NodeId(3));
        for bad in ["host:9090", "-1@host:9090", "x@host:9090", "3@:9090", "3@host:0"] {
            assert!(bad.parse::<StaticVoter>().is_err(), "{bad}");
            assert!(format!("{bad}:AAAAAAAAAAAAAAAAAAAAAQ").parse::<InitialController>().is_err(), "{bad}");
        }
        assert!("3@host:9090:short".parse::<InitialController>().is_err());
    }
}
