//! What people put before nats-server today: byte tunnels that speak plain text to the client and mutual TLS to the
//! server. Run from a configuration of our own on loopback, with the defaults of the package wherever nothing else is said.
//!
//! Must not know what is measured. `scripts/peers` installs what is missing.

mod config;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::load::{Client, Endpoint, Hello};
use crate::pki::Identity;
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// A program that tunnels bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// One thread for each connection.
    Stunnel,
    /// Its first thread has the one connection.
    Haproxy,
    /// Its stream module, with one process.
    Nginx,
}

/// What a tunnel presents and whom it trusts.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// The client certificate and its key.
    pub identity: &'a Identity,
    /// For the server's certificate.
    pub roots_pem: &'a str,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stunnel, Self::Haproxy, Self::Nginx];

    /// For tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stunnel => "stunnel",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where it is installed, if it is.
    #[must_use]
    pub fn binary(self) -> Option<PathBuf> {
        let names: &[&str] = match self {
            Self::Stunnel => &["stunnel4", "stunnel"],
            Self::Haproxy => &["haproxy"],
            Self::Nginx => &["nginx"],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps daemons out of an ordinary user's path.
        let folders: Vec<_> = std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
            .collect();
        let mut candidates = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        candidates.find(|candidate| candidate.is_file())
    }
}

/// A tunnel at work. Killed on drop.
#[derive(Debug)]
pub struct Tunnel {
    port: u16,
    // Before the directory, so that the process has ended when its files go away.
    process: Process,
    _directory: TempDir,
}

impl Tunnel {
    /// Starts it before the server at `upstream`, a port of 127.0.0.1 where TLS comes first, and waits until a client
    /// gets through.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub async fn start(
        peer: Peer,
        binary: &Path,
        upstream: u16,
        credentials: &Credentials<'_>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let Credentials {
            identity,
            roots_pem,
        } = credentials;
        fs::write(path.join(config::CERTIFICATE), identity.chain_pem())?;
        fs::write(path.join(config::KEY), identity.key_pem())?;
        // haproxy wants both in one file.
        let both = format!("{}{}", identity.chain_pem(), identity.key_pem());
        fs::write(path.join(config::COMBINED), both)?;
        fs::write(path.join(config::ROOTS), roots_pem)?;
        let file = path.join("tunnel.conf");
        fs::write(&file, config::render(peer, path, port, upstream))?;
        let mut command = Command::new(binary);
        command.current_dir(path);
        match peer {
            Peer::Stunnel => command.arg(&file),
            Peer::Haproxy => command.args(["-db", "-f"]).arg(&file),
            Peer::Nginx => command
                .args(["-e", "stderr", "-p"])
                .arg(path)
                .arg("-c")
                .arg(&file),
        };
        let process = Process::start(peer.name(), &mut command, path)?;
        let tunnel = Self {
            port,
            process,
            _directory: directory,
        };
        let endpoint = tunnel.endpoint();
        eventually(PATIENCE, "a client gets through the tunnel", || async {
            let process = &tunnel.process;
            ensure!(process.exit_status()?.is_none(), "{}", process.stderr());
            Client::connect(&endpoint, &Hello::named("first"))?;
            Ok(Some(()))
        })
        .await?;
        Ok(tunnel)
    }

    /// For a raw client.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::plain(self.port)
    }

    /// The id of its one process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }
}
