//! In which order servers and their addresses are tried, and which server an address belongs to.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// As many peers are remembered: more than one relay ever has servers.
const REMEMBERED: usize = 256;

/// Which peers are wanted, and which are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// This one first: a handover on the same server is exact and fast.
    pub(crate) first: Option<SocketAddr>,
    /// This one only if there is no other: it is about to shut down.
    pub(crate) avoid: Option<SocketAddr>,
}

/// Which configured server was dialled to get to a peer.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: VecDeque<(SocketAddr, usize)>,
}

impl Peers {
    pub(super) fn remember(&mut self, peer: SocketAddr, server: usize) {
        self.known.retain(|(known, _)| *known != peer);
        self.known.push_front((peer, server));
        self.known.truncate(REMEMBERED);
    }

    pub(super) fn server_of(&self, peer: SocketAddr) -> Option<usize> {
        let mut all = self.known.iter();
        let (_, server) = all.find(|(known, _)| *known == peer)?;
        Some(*server)
    }

    /// Every server once: shuffled, the one to be avoided last.
    pub(super) fn order(&self, servers: usize, wish: &Wish) -> Vec<usize> {
        let mut order: Vec<_> = (0..servers).collect();
        fastrand::shuffle(&mut order);
        if let Some(avoided) = wish.avoid.and_then(|peer| self.server_of(peer)) {
            order.sort_by_key(|server| *server == avoided);
        }
        order
    }
}

/// The addresses of one server: shuffled, the one to be avoided last. What was tried first is not
/// tried again.
pub(super) fn addresses(
    resolved: impl Iterator<Item = SocketAddr>,
    wish: &Wish,
) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = resolved.collect();
    addresses.sort_unstable();
    addresses.dedup();
    fastrand::shuffle(&mut addresses);
    addresses.retain(|address| Some(*address) != wish.first);
    addresses.sort_by_key(|address| Some(*address) == wish.avoid);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_avoided_server_is_last_and_none_is_left_out() {
        let mut peers = Peers::default();
        for server in 0..4 {
            peers.remember(peer(server), usize::from(server));
        }
        let wish = Wish {
            avoid: Some(peer(2)),
            ..Wish::default()
        };
        for _ in 0..64 {
            let mut order = peers.order(4, &wish);
            assert_eq!(order.last(), Some(&2));
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
        let firsts: std::collections::HashSet<_> =
            (0..64).map(|_| peers.order(4, &wish)[0]).collect();
        assert_eq!(firsts.len(), 3, "always the same first: {firsts:?}");
    }

    #[test]
    fn addresses_of_one_name_are_ordered_alike() {
        let wish = Wish {
            first: Some(peer(1)),
            avoid: Some(peer(2)),
        };
        let resolved = [1, 2, 3, 3].map(peer);
        assert_eq!(
            addresses(resolved.into_iter(), &wish),
            [3, 2].map(peer),
            "the first is tried before all others"
        );
    }

    #[test]
    fn peers_are_remembered_but_not_without_end() {
        let mut peers = Peers::default();
        for port in 0..1000 {
            peers.remember(peer(port), 0);
            peers.remember(peer(port), 1);
        }
        assert_eq!(peers.known.len(), REMEMBERED);
        assert_eq!(peers.server_of(peer(999)), Some(1));
        assert_eq!(peers.server_of(peer(1)), None);
    }
}
