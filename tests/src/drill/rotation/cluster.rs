//! The nodes: their certificates, whom they trust, whom they let in, and what their logs complain
//! about.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::NODES;
use super::view::{Departure, Laggard, View};
use crate::agent::AgentCommand;
use crate::files::{Contents, PlainFiles};
use crate::pki::{Authority, Identity, LeafSpec};
use crate::server::{NatsServer, ServerSettings};
use crate::wait::PATIENCE;

pub(super) struct Cluster {
    nodes: Vec<NatsServer>,
    /// The CA that the fleet began with.
    pub(super) old: Authority,
    pub(super) new: Authority,
    /// How much of each node's log was looked at.
    read: Vec<usize>,
    /// Connections that are known to have ended.
    gone: BTreeSet<(usize, u64)>,
}

impl Cluster {
    pub(super) async fn start() -> Result<Self> {
        let old = Authority::new("drill root 1");
        let nodes = NatsServer::start_cluster(ServerSettings::new(&old), NODES).await?;
        let read = nodes.iter().map(|node| node.log().len()).collect();
        Ok(Self {
            nodes,
            old,
            new: Authority::new("drill root 2"),
            read,
            gone: BTreeSet::new(),
        })
    }

    /// All of them, for clients.
    pub(super) fn urls(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    pub(super) async fn view(&self) -> Result<View> {
        View::of(&self.nodes).await
    }

    /// Old and new root, for the time between.
    pub(super) fn both_roots(&self) -> String {
        format!("{}{}", self.old.root_pem(), self.new.root_pem())
    }

    /// Changes one node and lets it reload.
    pub(super) async fn change(&mut self, node: usize, change: &Change) -> Result<()> {
        let roots = match change {
            Change::TrustBoth => self.both_roots(),
            Change::TrustNewAlone => self.new.root_pem(),
            Change::PresentNew => String::new(),
        };
        let identity = self.new.issue(&LeafSpec::server());
        let server = self.nodes.get_mut(node).context("no such node")?;
        match change {
            Change::PresentNew => server.write_identity(&identity)?,
            _ => server.write_client_roots(&roots)?,
        }
        server.reload().await
    }

    /// Whether a node lets in a client with this certificate and roots, tried with a whole NATS
    /// handshake by the agent's `check`.
    pub(super) async fn lets_in(
        &self,
        node: usize,
        identity: &Identity,
        roots: &str,
    ) -> Result<bool> {
        let server = self.nodes.get(node).context("no such node")?;
        let files = PlainFiles::new(&Contents::new(identity, roots))?;
        let answer = AgentCommand::new("check")
            .plain_files(&files)
            .flag("--server", server.url())
            .flag("--component", "drill")
            .run(PATIENCE)
            .await?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            code => bail!("check ended with {code:?}: {}", answer.stderr),
        }
    }

    /// How many nodes let in a client that holds this certificate.
    pub(super) async fn letting_in(&self, identity: &Identity) -> Result<usize> {
        let mut count = 0;
        for node in 0..self.nodes.len() {
            // Whichever CA the node's own certificate comes from.
            let roots = self.both_roots();
            count += usize::from(self.lets_in(node, identity, &roots).await?);
        }
        Ok(count)
    }

    /// What the nodes logged as a warning or an error since it was asked last.
    /// How busy the machine is does not count.
    pub(super) fn complaints(&mut self) -> Vec<Laggard> {
        let mut complaints = Vec::new();
        for (number, (node, read)) in (1..).zip(self.nodes.iter().zip(&mut self.read)) {
            let log = node.log();
            let news = log.get(*read..).unwrap_or_default();
            *read = log.len();
            let lines = news.lines().filter(|line| is_complaint(line));
            complaints.extend(lines.map(|line| Laggard::new(&format!("node {number}"), line)));
        }
        complaints
    }

    /// Which connections ended that were not judged yet, and what the nodes say why.
    pub(super) async fn departures(&self) -> Result<Vec<Departure>> {
        let mut departures = Vec::new();
        for (node, server) in (1..).zip(&self.nodes) {
            let closed = server.closed_connections().await?;
            let closed = closed.into_iter().map(|connection| Departure {
                node,
                cid: connection.cid,
                name: connection.name,
                reason: connection.reason,
            });
            departures.extend(closed.filter(|one| !self.gone.contains(&(node, one.cid))));
        }
        Ok(departures)
    }

    /// From now on only what ends later counts.
    pub(super) fn judged(&mut self, departures: &[Departure]) {
        let gone = departures.iter().map(|one| (one.node, one.cid));
        self.gone.extend(gone);
    }
}

/// What nats-server warns of when its machine is slow: nothing that a rotation does.
const OF_A_SLOW_MACHINE: [&str; 2] = ["Readloop processing time: ", " took too long: "];

fn is_complaint(line: &str) -> bool {
    let is_slow = || OF_A_SLOW_MACHINE.iter().any(|words| line.contains(words));
    line.contains("[ERR]") || line.contains("[WRN]") && !is_slow()
}

/// What a CA rotation changes on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    TrustBoth,
    PresentNew,
    TrustNewAlone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_is_no_complaint_and_all_else_is() {
        for (line, expected) in [
            (
                "[7] 2026/11/27 10:00:00 [INF] Reloaded server configuration",
                false,
            ),
            (
                "[7] 2026/11/27 10:00:00 [WRN] 127.0.0.1:1 - cid:9 - Readloop processing time: 2.1s",
                false,
            ),
            (
                "[7] 2026/11/27 10:00:00 [WRN] Internal subscription on \"$SYS.a\" took too long: 3s",
                false,
            ),
            (
                "[7] 2026/11/27 10:00:00 [WRN] Plaintext passwords detected",
                true,
            ),
            (
                "[7] 2026/11/27 10:00:00 [ERR] 127.0.0.1:1 - cid:9 - TLS handshake error: EOF",
                true,
            ),
            (
                "[7] 2026/11/27 10:00:00 [ERR] a route took too long: Readloop processing time: 2s",
                true,
            ),
        ] {
            assert_eq!(is_complaint(line), expected, "{line}");
        }
    }
}
