//! Several servers as one cluster, routed over loopback without TLS: each to each, or through
//! tunnels that can make a route long.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::config::Cluster;
use super::{NatsServer, ServerSettings};
use crate::http;
use crate::load::tunnel::Tunnel;
use crate::wait::{PATIENCE, eventually};

const ATTEMPTS: u32 = 3;

/// Nothing listens there.
const NOWHERE: u16 = 1;

/// The tunnels between the servers of a cluster. Dropped, they cut the routes.
#[derive(Debug)]
pub struct Routes(BTreeMap<(usize, usize), Tunnel>);

impl NatsServer {
    /// Starts `size` servers as a cluster and waits until each has a route to each other.
    ///
    /// # Errors
    /// When one does not come up. Route ports must be known before the servers start, so another
    /// process can take one in between; that is tried again a few times.
    pub async fn start_cluster(settings: ServerSettings, size: usize) -> Result<Vec<Self>> {
        let mut attempt = 1;
        loop {
            let ports = reserve(size)?;
            let clusters = ports.iter().map(|&port| Cluster {
                name: "harness".to_owned(),
                port,
                routes: ports.clone(),
                advertise: None,
            });
            match start_all(&settings, clusters.collect()).await {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.context("cluster"),
            }
        }
    }

    /// The same with a tunnel for each pair of servers, at first without a delay.
    ///
    /// # Errors
    /// As [`Self::start_cluster`].
    pub async fn start_tunnelled_cluster(
        settings: ServerSettings,
        size: usize,
    ) -> Result<(Vec<Self>, Routes)> {
        let mut attempt = 1;
        loop {
            let ports = reserve(size)?;
            let (mut tunnels, mut clusters) = (BTreeMap::new(), Vec::new());
            for (from, &port) in ports.iter().enumerate() {
                let mut routes = Vec::new();
                for (to, &target) in ports.iter().enumerate().take(from) {
                    let target = (Ipv4Addr::LOCALHOST, target).into();
                    let tunnel = Tunnel::open(target, Duration::ZERO).await?;
                    routes.push(tunnel.port());
                    tunnels.insert((to, from), tunnel);
                }
                clusters.push(Cluster {
                    name: "harness".to_owned(),
                    port,
                    routes,
                    // Or the servers would tell each other of ways around the tunnels.
                    advertise: Some(NOWHERE),
                });
            }
            match start_all(&settings, clusters).await {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                outcome => return Ok((outcome.context("cluster")?, Routes(tunnels))),
            }
        }
    }
}

impl Routes {
    /// Holds back what two servers send each other from now on for `delay`, each way.
    ///
    /// # Panics
    /// When there are no such two.
    pub fn delay(&self, one: usize, other: usize, delay: Duration) {
        self.0[&(one.min(other), one.max(other))].set_delay(delay);
    }
}

/// Ports that are free now.
fn reserve(size: usize) -> Result<Vec<u16>> {
    // All at once, so that they differ.
    let reserved = (0..size)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    reserved
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

async fn start_all(settings: &ServerSettings, clusters: Vec<Cluster>) -> Result<Vec<NatsServer>> {
    let size = clusters.len();
    let mut servers = Vec::new();
    for cluster in clusters {
        servers.push(NatsServer::start_in_cluster(settings.clone(), Some(cluster)).await?);
    }
    for server in &servers {
        let url = server.monitoring_url("/routez");
        eventually(PATIENCE, "the cluster is complete", || async {
            let routes: RouteList = http::get(&url).await?.json()?;
            let mut others: Vec<_> = routes
                .routes
                .into_iter()
                .map(|route| route.remote_id)
                .collect();
            others.sort();
            others.dedup();
            Ok((others.len() == size - 1).then_some(()))
        })
        .await?;
    }
    Ok(servers)
}

#[derive(Deserialize)]
struct RouteList {
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    remote_id: String,
}
