//! What async-nats tried while reconnecting. It hides the causes in its events, but hands its
//! list of servers, each with its last error, to a callback before every pass over them.

use std::collections::HashMap;

use crate::nats::cause::Cause;
use crate::nats::failure::Failure;
use crate::nats::servers::{self, ServerList};
use crate::store::Generation;

/// Passes in a row that were refused before the material is blamed: one may be a fluke.
const REFUSED_PASSES: u32 = 2;

/// Finds the fresh failures in what the callback is given.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    /// Of the servers that the client knows now; it discovers and forgets some.
    failed_attempts: HashMap<String, usize>,
    /// How the pass began that is told about next.
    began: Option<Moment>,
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
    /// What every handshake of it presented; none if there was a publish in between, or no
    /// handshake at all.
    pub(crate) generation: Option<Generation>,
    /// Whether one of the servers let the client in: what others refused kept nobody out.
    pub(crate) came_up: bool,
}

/// What is published, what was presented and how often the client came up, at the moment of the
/// callback: by the time anybody reads of the pass, all of it may have changed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    pub(crate) published: Option<Generation>,
    pub(crate) presented: Option<Generation>,
    pub(crate) connects: u64,
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
            generation: self.generation,
            came_up: self.came_up,
        }
    }

    /// Why the client is still down, if a server refused it, also if others did not answer. A pass
    /// that ended well is told when the next outage begins, and says nothing about that one.
    pub(crate) fn refused_for(&self) -> Option<Cause> {
        let mut causes = self.failures.iter();
        let refusal = causes.find_map(|(_, failure)| Cause::of_failure(failure.kind));
        refusal.filter(|_| !self.came_up)
    }
}

impl Passes {
    /// Takes the servers as they are before a pass, and tells how the last pass failed.
    ///
    /// A server keeps its last error until it succeeds, also over outages: only a changed number
    /// of failed attempts makes it fresh.
    pub(crate) fn handle_servers(
        &mut self,
        servers: &[async_nats::Server],
        moment: Moment,
    ) -> Pass {
        let mut failures = Vec::new();
        let mut known = HashMap::with_capacity(servers.len());
        for server in servers {
            let label = servers::label(&server.addr);
            let before = self.failed_attempts.get(&label).copied().unwrap_or(0);
            let fresh = server.failed_attempts > 0 && server.failed_attempts != before;
            if let Some(message) = server.last_error.as_ref().filter(|_| fresh) {
                failures.push((label.clone(), Failure::from_message(message)));
            }
            known.insert(label, server.failed_attempts);
        }
        self.failed_attempts = known;
        let began = self.began.replace(moment).unwrap_or_default();
        Pass {
            failures,
            // Generations only grow: the same at both ends is the same all the way.
            generation: moment
                .presented
                .filter(|last| began.published == Some(*last)),
            came_up: moment.connects != began.connects,
        }
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

    fn server(name: &str, failed_attempts: usize, error: Option<&str>) -> async_nats::Server {
        async_nats::Server {
            addr: format!("tls://{name}:4222").parse().unwrap(),
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: error.map(str::to_owned),
        }
    }

    fn generation(number: u64) -> Generation {
        (0..number).fold(Generation::NONE, |generation, _| generation.next())
    }

    fn moment(published: u64, presented: u64) -> Moment {
        Moment {
            published: Some(generation(published)),
            presented: Some(generation(presented)),
            connects: 1,
        }
    }

    fn told(passes: &mut Passes, failed_attempts: usize, error: Option<&str>) -> Pass {
        passes.handle_servers(&[server("a", failed_attempts, error)], moment(1, 1))
    }

    fn pass(failures: &[(&str, &str)]) -> Pass {
        let failures = failures.iter();
        let failures =
            failures.map(|(name, message)| ((*name).to_owned(), Failure::from_message(message)));
        Pass {
            failures: failures.collect(),
            generation: Some(generation(1)),
            came_up: false,
        }
    }

    const EXPIRED: &str = "IO error: received fatal alert: CertificateExpired";
    const OUTAGE: &str = "IO error: connection refused";

    #[test]
    fn only_fresh_failures_count() {
        let mut passes = Passes::default();
        let mut fresh = |attempts, error| told(&mut passes, attempts, error).failures.len();
        assert_eq!(fresh(0, None), 0);
        assert_eq!(fresh(1, Some(EXPIRED)), 1);
        assert_eq!(fresh(1, Some(EXPIRED)), 0);
        assert_eq!(fresh(2, Some(EXPIRED)), 1);
    }

    #[test]
    fn servers_that_the_client_forgot_are_forgotten() {
        let mut passes = Passes::default();
        for number in 0..1000 {
            let discovered = format!("pod-{number}");
            let servers = [server("a", 0, None), server(&discovered, 1, Some(OUTAGE))];
            assert_eq!(
                passes.handle_servers(&servers, moment(1, 1)).failures.len(),
                1
            );
        }
        assert_eq!(passes.failed_attempts.len(), 2);
    }

    #[test]
    fn a_pass_belongs_to_the_generation_of_all_its_handshakes() {
        let mut passes = Passes::default();
        let mut generation_of = |published, presented| {
            let servers = [server("a", 1, Some(EXPIRED))];
            let pass = passes.handle_servers(&servers, moment(published, presented));
            pass.generation.map(Generation::number)
        };
        // Nobody saw how the first pass began.
        assert_eq!(generation_of(1, 1), None);
        assert_eq!(generation_of(1, 1), Some(1));
        // Published at the very end of the pass: it was made with the one before all the same.
        assert_eq!(generation_of(2, 1), Some(1));
        // The pass after it began with the second, and so did each of its handshakes.
        assert_eq!(generation_of(2, 2), Some(2));
        // Published in the middle: nobody knows which server saw what.
        assert_eq!(generation_of(3, 3), None);
        // No server was reached, so the last handshake is an old one.
        assert_eq!(generation_of(4, 3), Some(3));
        assert_eq!(generation_of(4, 3), None);
    }

    #[test]
    fn a_refusal_keeps_the_client_down_unless_another_server_let_it_in() {
        let mut passes = Passes::default();
        let mut refused_for = |attempts, connects| {
            let servers = [server("a", attempts, Some(EXPIRED)), server("b", 0, None)];
            let moment = Moment {
                connects,
                ..moment(1, 1)
            };
            passes.handle_servers(&servers, moment).refused_for()
        };
        assert_eq!(refused_for(0, 1), None);
        assert_eq!(refused_for(1, 1), Some(Cause::Tls));
        // Told at the beginning of the next outage.
        assert_eq!(refused_for(2, 2), None);
        assert_eq!(refused_for(3, 2), Some(Cause::Tls));
        let mixed = pass(&[("a:4222", OUTAGE), ("b:4222", EXPIRED)]);
        assert_eq!(mixed.refused_for(), Some(Cause::Tls));
        assert_eq!(pass(&[("a:4222", OUTAGE)]).refused_for(), None);
    }

    #[test]
    fn a_refusal_is_certain_after_two_passes_in_a_row() {
        let mut refusals = Refusals::default();
        let refused = pass(&[("a:4222", EXPIRED)]);
        let outage = pass(&[("a:4222", OUTAGE)]);
        assert_eq!(refusals.count(&refused), None);
        assert_eq!(refusals.count(&outage), None);
        assert_eq!(refusals.count(&refused), None);
        assert!(refusals.count(&refused).is_some());
        refusals.forget();
        assert_eq!(refusals.count(&refused), None);
    }

    #[test]
    fn a_pass_with_an_outage_or_over_discovered_servers_alone_blames_nobody() {
        let mixed = pass(&[("a:4222", OUTAGE), ("b:4222", EXPIRED)]);
        let mut refusals = Refusals::default();
        for _ in 0..5 {
            assert_eq!(refusals.count(&mixed), None);
        }
        let servers = ServerList::parse(["tls://a"]).unwrap();
        let discovered = pass(&[("b:4222", EXPIRED)]).of_configured(&servers);
        assert_eq!(discovered.failures, []);
        for _ in 0..5 {
            assert_eq!(refusals.count(&discovered), None);
        }
    }
}
