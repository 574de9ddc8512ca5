//! What async-nats tried while reconnecting. It hides the causes in its events, but hands its
//! list of servers, each with its last error, to a callback before every pass over them.

use std::collections::HashMap;

use crate::nats::failure::Failure;
use crate::nats::servers;

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
    /// Counts a pass made with the active generation; says what was refused once that is certain.
    pub(crate) fn count(&mut self, pass: &Pass) -> Option<(String, Failure)> {
        let Some(refusal) = pass
            .failures
            .iter()
            .find(|(_, failure)| failure.kind.is_refusal())
        else {
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
}
