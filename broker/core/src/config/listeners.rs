//! Listeners: their addresses, protocols, and the rules about which one serves whom.

use std::fmt;
use std::str::FromStr;

use super::address::{Address, BadAddress, ListenerAddress, ListenerName, SecurityProtocol};
use super::broker::Roles;
use super::file::CheckedFile;

/// A listener with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens, or where it is reached.
    pub address: Address,
    /// How bytes travel on it.
    pub protocol: SecurityProtocol,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

/// `NAME:PROTOCOL`, an entry of `listener.security.protocol.map`.
struct Mapping {
    name: ListenerName,
    protocol: SecurityProtocol,
}

impl FromStr for Mapping {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (name, protocol) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { name: name.parse()?, protocol: protocol.parse()? })
    }
}

/// The listeners of one node.
pub(super) struct Listeners {
    pub(super) bound: Vec<Listener>,
    pub(super) advertised: Vec<Listener>,
    pub(super) controller: ListenerName,
    pub(super) inter_broker: Option<ListenerName>,
}

impl Listeners {
    /// Resolves them. What is wrong is noted in `file`; None if nothing sensible can be made of it.
    pub(super) fn resolve(file: &mut CheckedFile<'_>, roles: Roles, host_name: &str) -> Option<Self> {
        let controllers: Vec<ListenerName> = file.entries("controller.listener.names");
        if controllers.is_empty() {
            file.rule("controller.listener.names", "wanted the name of the listener that controllers use");
        }
        let controller = controllers.first()?.clone();
        let mappings: Vec<Mapping> = file.entries("listener.security.protocol.map");
        let is_controller = |name: &ListenerName| controllers.contains(name);
        let protocol_of = |name: &ListenerName| {
            mappings
                .iter()
                .find(|mapping| mapping.name == *name)
                .map(|mapping| mapping.protocol)
                .or_else(|| is_controller(name).then_some(SecurityProtocol::Plaintext))
        };
        let bound: Vec<ListenerAddress> = file.entries("listeners");
        check_ports(file, &bound);
        check_roles(file, roles, &bound, &controllers);
        let bound = with_protocols(file, "listeners", bound, protocol_of);
        let advertised = advertised(file, &bound, roles, &controllers, host_name);
        let inter_broker =
            if roles.is_broker() { inter_broker(file, &advertised, &controllers) } else { None };
        Some(Self { bound, advertised, controller, inter_broker })
    }
}

/// Two listeners on one port would leave the second unbound. An IPv4 and an IPv6 address may share one.
fn check_ports(file: &mut CheckedFile<'_>, listeners: &[ListenerAddress]) {
    let is_v6 = |listener: &ListenerAddress| listener.address.host.contains(':');
    for (index, listener) in listeners.iter().enumerate() {
        for earlier in &listeners[..index] {
            if earlier.name == listener.name {
                file.rule("listeners", format!("listener {} is there twice", listener.name));
            }
            let port = listener.address.port;
            if port != 0 && port == earlier.address.port && is_v6(listener) == is_v6(earlier) {
                file.rule(
                    "listeners",
                    format!("{} and {} have the same port {port}", earlier.name, listener.name),
                );
            }
        }
    }
}

/// Which listeners a node of this kind must and must not have.
fn check_roles(
    file: &mut CheckedFile<'_>,
    roles: Roles,
    listeners: &[ListenerAddress],
    controllers: &[ListenerName],
) {
    let serves_controller = listeners.iter().find(|listener| controllers.contains(&listener.name));
    let serves_clients = listeners.iter().find(|listener| !controllers.contains(&listener.name));
    match (roles, serves_controller, serves_clients) {
        (Roles::Broker, Some(listener), _) => file.rule(
            "listeners",
            format!(
                "{} is a controller listener; a node that is no controller must not listen on it",
                listener.name
            ),
        ),
        (Roles::Controller | Roles::Combined, None, _) => {
            file.rule("listeners", "a controller must listen on one of controller.listener.names".to_owned())
        }
        (Roles::Controller, Some(_), Some(listener)) => file.rule(
            "listeners",
            format!(
                "{} is not in controller.listener.names; a node that is no broker must not listen on it",
                listener.name
            ),
        ),
        (Roles::Combined, Some(_), None) => {
            file.rule("listeners", "a broker must listen on more than controller.listener.names".to_owned());
        }
        (Roles::Broker, None, _)
        | (Roles::Controller, Some(_), None)
        | (Roles::Combined, Some(_), Some(_)) => {}
    }
}

fn with_protocols(
    file: &mut CheckedFile<'_>,
    key: &'static str,
    listeners: Vec<ListenerAddress>,
    protocol_of: impl Fn(&ListenerName) -> Option<SecurityProtocol>,
) -> Vec<Listener> {
    let mut known = Vec::new();
    for ListenerAddress { name, address } in listeners {
        match protocol_of(&name) {
            Some(protocol @ SecurityProtocol::Plaintext) => known.push(Listener { name, address, protocol }),
            Some(protocol) => file.rule(
                "listener.security.protocol.map",
                format!(
                    "listener {name} asks for {}, which is not built yet: only PLAINTEXT works",
                    protocol.name()
                ),
            ),
            None => {
                let rule = format!("listener {name} has no entry in listener.security.protocol.map");
                file.rule(key, rule);
            }
        }
    }
    known
}

/// What others are told: `advertised.listeners`, or `listeners` with the machine's name where no host is
/// given. A broker's registration carries client listeners; that of a controller its controller listener,
/// which is therefore added where `advertised.listeners` leaves it out (Kafka before 3.9 forbade it there).
fn advertised(
    file: &mut CheckedFile<'_>,
    bound: &[Listener],
    roles: Roles,
    controllers: &[ListenerName],
    host_name: &str,
) -> Vec<Listener> {
    let key = if file.is_set("advertised.listeners") { "advertised.listeners" } else { "listeners" };
    let with_host = |address: &Address| match address.host.as_str() {
        "" => Address { host: host_name.to_owned(), port: address.port },
        _ => address.clone(),
    };
    let entries: Vec<ListenerAddress> = file.entries("advertised.listeners");
    let mut advertised: Vec<Listener> = Vec::new();
    for ListenerAddress { name, address } in entries {
        match bound.iter().find(|listener| listener.name == name) {
            Some(listener) if advertised.iter().all(|earlier| earlier.name != name) => {
                advertised.push(Listener { name, address: with_host(&address), protocol: listener.protocol });
            }
            Some(_) => file.rule(key, format!("listener {name} is there twice")),
            None => file.rule(key, format!("listener {name} is not in listeners")),
        }
    }
    let nothing_said = !file.is_set("advertised.listeners");
    for listener in bound {
        let left_out = advertised.iter().all(|other| other.name != listener.name);
        let needed = roles.is_controller() && controllers.contains(&listener.name);
        if left_out && (nothing_said || needed) {
            advertised.push(Listener { address: with_host(&listener.address), ..listener.clone() });
        }
    }
    for listener in &advertised {
        if ["0.0.0.0", "::"].contains(&listener.address.host.as_str()) {
            file.rule(
                key,
                format!(
                    "{listener} cannot be reached from elsewhere: set advertised.listeners to a name or address of this machine"
                ),
            );
        }
    }
    advertised
}

fn inter_broker(
    file: &mut CheckedFile<'_>,
    advertised: &[Listener],
    controllers: &[ListenerName],
) -> Option<ListenerName> {
    const KEY: &str = "inter.broker.listener.name";
    let Some(text) = file.text(KEY) else {
        let first = advertised.iter().find(|listener| {
            listener.protocol == SecurityProtocol::Plaintext && !controllers.contains(&listener.name)
        });
        if first.is_none() && !file.has_problems() {
            file.rule(KEY, "no PLAINTEXT listener is left that brokers could use among themselves");
        }
        return first.map(|listener| listener.name.clone());
    };
    let name: ListenerName = match text.parse() {
        Ok(name) => name,
        Err(error) => {
            file.rule(KEY, format!("{error}"));
            return None;
        }
    };
    if controllers.contains(&name) {
        file.rule(KEY, format!("{name} is a controller listener; brokers need another one"));
    } else if advertised.iter().all(|listener| listener.name != name) {
        file.rule(KEY, format!("{name} is not in listeners and advertised.listeners"));
    }
    Some(name)
}
