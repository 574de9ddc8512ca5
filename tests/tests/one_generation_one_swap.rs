//! Promise 2: certificate, key and roots of different sets never meet in one handshake, under
//! swaps in a tight loop, through the connector with many connections at once and through serial
//! clients.
//!
//! Every set has a CA of its own. A server that presents a certificate of set N and accepts clients
//! of every set sees a mix as a finished handshake whose client certificate is not of set N.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls::source::{Pusher, RawKey, RawMaterial, RawPart, push_source};
use nats_mtls::tls::ServerNames;
use nats_mtls::{CertificateManager, TlsVersions};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::tls;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const SETS: usize = 4;
const CONNECTIONS_AT_ONCE: usize = 8;

struct Set {
    authority: Authority,
    client: Identity,
    acceptor: TlsAcceptor,
}

impl Set {
    fn material(&self) -> RawMaterial {
        RawMaterial {
            certificate: RawPart::new("certificate", self.client.chain_pem()),
            key: RawKey::Pem(RawPart::new("key", self.client.key_pem())),
            roots: RawPart::new("roots", self.authority.root_pem()),
            crls: None,
            issuer: None,
        }
    }
}

fn sets() -> Result<Vec<Arc<Set>>> {
    let authorities: Vec<_> = (0..SETS)
        .map(|set| Authority::new(&format!("root {set}")))
        .collect();
    let every_root: String = authorities.iter().map(Authority::root_pem).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(tls::roots(&every_root)?),
        Arc::clone(&provider),
    )
    .build()?;
    authorities
        .into_iter()
        .map(|authority| {
            let server = tls::certified_key(&authority.issue(&LeafSpec::server()))?;
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .with_client_cert_verifier(Arc::clone(&verifier))
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(server)));
            // Give resumption every chance to do harm.
            config.send_tls13_tickets = 4;
            Ok(Arc::new(Set {
                client: authority.issue(&LeafSpec::client("orders")),
                acceptor: TlsAcceptor::from(Arc::new(config)),
                authority,
            }))
        })
        .collect()
}

/// Publishes the sets in turn, as fast as they are taken, until told to stop.
fn swap_in_a_tight_loop(
    manager: &CertificateManager,
    pusher: Pusher,
    sets: &[Arc<Set>],
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<u64> {
    let (manager, sets, stop) = (manager.clone(), sets.to_vec(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut generation = manager.subscribe();
        let mut swaps = 0;
        for set in sets.iter().cycle().skip(1) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            generation.mark_unchanged();
            pusher.push(set.material());
            generation.changed().await.expect("the manager lives");
            swaps += 1;
        }
        swaps
    })
}

async fn manager(versions: TlsVersions, first: &Set) -> Result<(CertificateManager, Pusher)> {
    let (pusher, source) = push_source();
    pusher.push(first.material());
    let manager = CertificateManager::builder()
        .source(source)
        .spread(Duration::ZERO)
        .tls_versions(versions)
        .build()
        .await?;
    Ok((manager, pusher))
}

/// One handshake with a server of `set`: none if it failed (the roots did not fit), else whether
/// the client's certificate is of the same set.
async fn handshake(set: &Set, config: Arc<ClientConfig>) -> Option<bool> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("localhost").expect("a DNS name");
    let client = async {
        let mut stream = TlsConnector::from(config).connect(name, near).await.ok()?;
        // In TLS 1.3 the server's verdict comes with the first byte.
        stream.read_u8().await.ok()
    };
    let server = async {
        let mut stream = set.acceptor.accept(far).await.ok()?;
        stream.write_u8(1).await.ok()?;
        stream.flush().await.ok()?;
        let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
        Some(leaf)
    };
    let (client, server) = tokio::join!(client, server);
    client?;
    let own = tls::certified_key(&set.client).expect("a good set");
    Some(server?.as_ref() == own.cert.first().expect("a leaf").as_ref())
}

struct Tally {
    matched: AtomicU64,
    refused: AtomicU64,
}

async fn run(
    versions: TlsVersions,
    configs: impl Fn(&CertificateManager, usize) -> Box<dyn Fn() -> Arc<ClientConfig> + Send>,
) -> Result<()> {
    let sets = sets()?;
    let first = sets.first().context("a set")?;
    let (manager, pusher) = manager(versions, first).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = swap_in_a_tight_loop(&manager, pusher, &sets, &stop);
    let tally = Arc::new(Tally {
        matched: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let wanted = if nats_mtls_tests::long() { 5_000 } else { 400 };
    let deadline = Instant::now() + Duration::from_secs(120);
    let clients: Vec<_> = (0..CONNECTIONS_AT_ONCE)
        .map(|number| {
            let config = configs(&manager, number);
            let (sets, tally) = (sets.clone(), Arc::clone(&tally));
            tokio::spawn(async move {
                let mut turn = number;
                while tally.matched.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
                    turn += 1;
                    match handshake(&sets[turn % SETS], config()).await {
                        Some(true) => tally.matched.fetch_add(1, Ordering::Relaxed),
                        Some(false) => panic!("roots and certificate of different sets met"),
                        None => tally.refused.fetch_add(1, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    for client in clients {
        client.await?;
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapper.await?;
    let matched = tally.matched.load(Ordering::Relaxed);
    println!(
        "{versions:?}: {swaps} swaps, {matched} handshakes of one set, {} refused",
        tally.refused.load(Ordering::Relaxed)
    );
    ensure!(matched >= wanted, "only {matched} handshakes came through");
    ensure!(swaps > wanted / 4, "only {swaps} swaps meanwhile");
    ensure!(
        tally.refused.load(Ordering::Relaxed) > 0,
        "no handshake met another set's server"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_through_the_connector() -> Result<()> {
    for versions in [TlsVersions::Tls13Only, TlsVersions::Tls12Only] {
        run(versions, |manager, _| {
            let manager = manager.clone();
            Box::new(move || manager.snapshot().client_config())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn serial_clients_that_keep_one_configuration_for_life() -> Result<()> {
    for versions in [TlsVersions::Tls13Only, TlsVersions::Tls12Only] {
        run(versions, |manager, _| {
            let serial = manager
                .serial_client_config(ServerNames::Dialled)
                .expect("a configuration");
            let config = Arc::new(serial.client_config());
            Box::new(move || Arc::clone(&config))
        })
        .await?;
    }
    Ok(())
}
