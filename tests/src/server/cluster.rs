//! Several servers as one cluster, routed over loopback without TLS.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::config::Cluster;
use super::{NatsServer, ServerSettings};
use crate::http;
use crate::wait::{PATIENCE, eventually};

const ATTEMPTS: u32 = 3;

impl NatsServer {
    /// Starts `size` servers as a cluster and waits until each has a route to each other.
    ///
    /// # Errors
    /// When one does not come up. Route ports must be known before the servers start, so another
    /// process can take one in between; that is tried again a few times.
    pub async fn start_cluster(settings: ServerSettings, size: usize) -> Result<Vec<Self>> {
        let mut attempt = 1;
        loop {
            match start_all(&settings, size).await {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.context("cluster"),
            }
        }
    }
}

async fn start_all(settings: &ServerSettings, size: usize) -> Result<Vec<NatsServer>> {
    // All at once, so that they differ.
    let reserved = (0..size)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let ports = reserved
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<Result<Vec<_>>>()?;
    drop(reserved);
    let mut servers = Vec::new();
    for &port in &ports {
        let cluster = Cluster {
            name: "harness".to_owned(),
            port,
            routes: ports.clone(),
        };
        servers.push(NatsServer::start_in_cluster(settings.clone(), Some(cluster)).await?);
    }
    for server in &servers {
        let url = server.monitoring_url("/routez");
        eventually(PATIENCE, "the cluster is complete", || async {
            let routes: Routes = http::get(&url).await?.json()?;
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
struct Routes {
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    remote_id: String,
}
