//! How many files and sockets this process may have open, and who may have how many of them.
//!
//! The limit is one for all, and whoever comes last is refused: without shares a crowd of connections would take
//! away what a log needs to be read and rolled. So the limit is divided once, before anything is opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// More than this many files of logs are not kept open even where the limit is higher.
const LOG_FILES_MAX: usize = 16_384;

/// The metadata log has few files, and appends to one of them.
const METADATA_FILES: usize = 16;

/// Standard streams, the runtime's own, listeners, locks, connections to other nodes, and those to the HTTP
/// endpoint.
const OWN: usize = 32 + crate::http::CONNECTIONS_MAX;

/// Of each log directory, beside its share: a directory is open while it is listed or synced, by each thread that
/// may do so.
const PASSING: usize = 8;

/// What anybody gets, also where the limit is too low for all.
const LEAST: usize = 8;

/// With less than this a node serves few connections.
const LIMIT_LOW: usize = 1024;

/// Who may have how many descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// Of each log directory.
    pub(crate) log_directory: usize,
    /// Of the metadata log.
    pub(crate) metadata_log: usize,
    /// Connections on the listeners that `max.connections` counts.
    pub(crate) clients: usize,
    /// Connections on the others, where brokers and controllers meet.
    pub(crate) peers: usize,
}

impl OpenFiles {
    /// Raises the limit as far as this process may, as JVMs do, and divides it.
    pub(crate) fn claim(log_directories: usize) -> Self {
        let limit = raise_limit();
        let shares = Self::divided(limit, log_directories);
        let Self { log_directory, clients, peers, .. } = shares;
        if limit < LIMIT_LOW {
            warn!(
                limit,
                log_directory, clients, peers, "the limit of open files is low; raise it (ulimit -n)"
            );
        } else {
            info!(limit, log_directory, clients, peers, "open files divided");
        }
        shares
    }

    /// Divides a limit: half to files, half to sockets, and of these two thirds to clients.
    fn divided(limit: usize, log_directories: usize) -> Self {
        let directories = log_directories.max(1);
        let left = limit.saturating_sub(OWN + METADATA_FILES + PASSING * directories);
        let log_directory = ((left / 2).min(LOG_FILES_MAX) / directories).max(LEAST);
        let sockets = left.saturating_sub(log_directory * directories);
        let peers = (sockets / 3).max(LEAST);
        let clients = sockets.saturating_sub(peers).max(LEAST);
        Self { log_directory, metadata_log: METADATA_FILES, clients, peers }
    }
}

/// Sets the soft limit to the hard one, and gives what it is then.
fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Refused only by what confines this process beyond the limit itself.
    let limit = if raised.is_ok() { maximum } else { current };
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shares: OpenFiles, log_directories: usize) -> usize {
        let OpenFiles { log_directory, metadata_log, clients, peers } = shares;
        log_directories * (log_directory + PASSING) + metadata_log + clients + peers + OWN
    }

    #[test]
    fn the_shares_of_all_are_within_the_limit() {
        for limit in [256, 1024, 4096, 65_536, 1 << 20] {
            for directories in [1, 2, 5] {
                let shares = OpenFiles::divided(limit, directories);
                assert!(all(shares, directories) <= limit, "{limit}, {directories}: {shares:?}");
                assert!(all(shares, directories) >= limit - directories, "{limit}: none is left over");
            }
        }
    }

    #[test]
    fn a_thousand_clients_and_a_directory_fit_where_kafka_asks_for_more() {
        let OpenFiles { log_directory, clients, peers, .. } = OpenFiles::divided(4096, 1);
        assert!(log_directory > 1900 && clients > 1300 && peers > 600, "{log_directory} {clients} {peers}");
    }

    #[test]
    fn more_directories_do_not_take_from_sockets() {
        let [one, four] = [1, 4].map(|directories| OpenFiles::divided(65_536, directories));
        assert!(four.log_directory * 4 <= one.log_directory);
        assert!(four.clients + 3 * PASSING >= one.clients);
    }

    #[test]
    fn nobody_gets_nothing() {
        let OpenFiles { log_directory, metadata_log, clients, peers } = OpenFiles::divided(0, 3);
        assert!([log_directory, metadata_log, clients, peers].iter().all(|share| *share >= LEAST));
    }
}
