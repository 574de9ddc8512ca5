//! What async-nats tried while reconnecting. It hides the causes in its events, but hands its
//! list of servers, each with its last error, to a callback before every pass over them.

use std::collections::HashMap;

use crate::nats::failure::Failure;
use crate::nats::servers::{self, ServerList};

/// Passes in a row that were refused before the material is blamed: one may be a fluke.
const REFUSED_PASSES: u32 = 2;

/// Finds the fresh failures in what the callback is given.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    failed_attempts: HashMap<String, usize>,
}

/// Counts passes in a row that were refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    in_a_row: u32,
}

/// The failures of one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Server and failure, for each server that failed since the last call.
    pub(crate) failures: Vec<(String, Failure)>,
}

impl Pass {
    /// The same without servers that only INFO named: no gate asked them, so what they refuse
    /// says nothing about the material.
    pub(crate) fn of_configured(&self, servers: &ServerList) -> Self {
        let configured = |label: &str| {
            servers
                .addresses()
                .iter()
                .any(|it| servers::label(it) == label)
        };
        let failures = self.failures.iter();
        Self {
            failures: failures
                .filter(|(label, _)| configured(label))
                .cloned()
                .collect(),
        }
    }
}

impl Passes {
    /// Takes the servers as they are before a pass, and tells how the last pass failed.
    ///
    /// A server keeps its last error until it succeeds, also over outages: only a changed number
    /// of failed attempts makes it fresh.
    pub(crate) fn handle_servers(&mut self, servers: &[async_nats::Server]) -> Pass {
        let mut failures = Vec::new();
        for server in servers {
            let label = servers::label(&server.addr);
            let before = self
                .failed_attempts
                .insert(label.clone(), server.failed_attempts)
                .unwrap_or(0);
            let fresh = server.failed_attempts > 0 && server.failed_attempts != before;
            if let Some(message) = server.last_error.as_ref().filter(|_| fresh) {
                failures.push((label, Failure::from_message(message)));
            }
        }
        Pass { failures }
    }
}

impl Refusals {
    /// Counts a pass over the configured servers, made with the active generation; says what was
    /// refused once that is certain. A pass in which any of them was merely unavailable is an
    /// outage: the one that would accept may be the one that is down.
    pub(crate) fn count(&mut self, pass: &Pass) -> Option<(String, Failure)> {
        let refused = pass
            .failures
            .iter()
            .all(|(_, failure)| failure.kind.is_refusal());
        let Some(refusal) = pass.failures.first().filter(|_| refused) else {
            self.in_a_row = 0;
            return None;
        };
        self.in_a_row += 1;
        (self.in_a_row >= REFUSED_PASSES).then(|| refusal.clone())
    }

    /// The connection is up, or is tried with another generation.
    pub(crate) fn forget(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(failed_attempts: usize, error: Option<&str>) -> async_nats::Server {
        async_nats::Server {
            addr: "tls://a:4222".parse().unwrap(),
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: error.map(str::to_owned),
        }
    }

    const EXPIRED: Option<&str> = Some("IO error: received fatal alert: CertificateExpired");

    #[test]
    fn only_fresh_failures_count() {
        let mut passes = Passes::default();
        assert!(
            passes
                .handle_servers(&[server(0, None)])
                .failures
                .is_empty()
        );
        assert_eq!(
            passes.handle_servers(&[server(1, EXPIRED)]).failures.len(),
            1
        );
        assert!(
            passes
                .handle_servers(&[server(1, EXPIRED)])
                .failures
                .is_empty()
        );
        assert_eq!(
            passes.handle_servers(&[server(2, EXPIRED)]).failures.len(),
            1
        );
    }

    #[test]
    fn a_refusal_is_certain_after_two_passes_in_a_row() {
        let mut refusals = Refusals::default();
        let refused = Passes::default().handle_servers(&[server(1, EXPIRED)]);
        let outage =
            Passes::default().handle_servers(&[server(1, Some("IO error: connection refused"))]);
        assert_eq!(refusals.count(&refused), None);
        assert_eq!(refusals.count(&outage), None);
        assert_eq!(refusals.count(&refused), None);
        assert!(refusals.count(&refused).is_some());
        refusals.forget();
        assert_eq!(refusals.count(&refused), None);
    }

    #[test]
    fn a_pass_with_an_outage_or_over_discovered_servers_alone_blames_nobody() {
        let failed = |name: &str, message: &str| (name.to_owned(), Failure::from_message(message));
        let refused = failed("b:4222", EXPIRED.unwrap());
        let mixed = Pass {
            failures: vec![
                failed("a:4222", "IO error: connection refused"),
                refused.clone(),
            ],
        };
        let mut refusals = Refusals::default();
        for _ in 0..5 {
            assert_eq!(refusals.count(&mixed), None);
        }
        let servers = ServerList::parse(["tls://a"]).unwrap();
        let discovered = Pass {
            failures: vec![refused],
        }
        .of_configured(&servers);
        assert_eq!(
            discovered,
            Pass {
                failures: Vec::new()
            }
        );
        for _ in 0..5 {
            assert_eq!(refusals.count(&discovered), None);
        }
    }
}
