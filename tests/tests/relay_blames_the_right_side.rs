//! When a client of the relay cannot be connected, it is told so in time, and the status names the
//! server and its true cause; and a relay's servers are asked before material is published.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::material::Reason;
use nats_mtls::relay::SessionResult;
use nats_mtls::{CertificateManager, ConnectSettings, RelaySettings, ReloadOutcome, StartupPolicy};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::builder;
use nats_mtls_tests::wait::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"name\":\"legacy\"}\r\nPING\r\n";

struct Bench {
    authority: Authority,
    volume: KubernetesVolume,
    manager: CertificateManager,
}

impl Bench {
    async fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
        Ok(Self {
            manager: builder(&volume).build().await?,
            authority,
            volume,
        })
    }

    /// Another leaf on disk, from our authority or from `issuer`.
    fn write(&mut self, issuer: Option<&Authority>) -> Result<()> {
        let issuer = issuer.unwrap_or(&self.authority);
        let identity = issuer.issue(&LeafSpec::client("orders"));
        let contents = Contents::new(&identity, &self.authority.root_pem());
        self.volume.update(&contents)
    }
}

fn settings() -> RelaySettings {
    let upstream = ConnectSettings::new()
        .connect_timeout(Duration::from_secs(2))
        .startup(StartupPolicy::FailFast);
    RelaySettings::new()
        .listen(([127, 0, 0, 1], 0).into())
        .upstream(upstream)
}

/// What a client hears that says CONNECT and PING at once, and what the status says then.
async fn tried(bench: &Bench, server: String) -> Result<(String, String, SessionResult)> {
    let relay = bench.manager.relay(server, settings()).await?;
    let before = relay.report();
    let mut stream = TcpStream::connect(relay.local_addr()).await?;
    stream.write_all(CONNECT).await?;
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await??;
    let after = relay.report();
    let counted = |result| after.results_of(result) > before.results_of(result);
    let result = SessionResult::ALL
        .into_iter()
        .find(|result| counted(*result));
    let status = bench.manager.status().relay.context("no relay")?;
    let failure = status.last_failure.context("no failure")?;
    Ok((
        String::from_utf8(said)?,
        failure.detail,
        result.context("not counted")?,
    ))
}

/// A server that says `words` and then nothing.
async fn saying(words: &'static [u8]) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(words).await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            });
        }
    });
    Ok(format!("tls://localhost:{port}"))
}

#[tokio::test]
async fn a_server_that_is_none_is_named() -> Result<()> {
    let bench = Bench::new().await?;
    let cases: [(&[u8], &str); 5] = [
        (b"\x16\x03\x01junk\n", "does not speak NATS"),
        (b"INFO nonsense\r\n", "INFO"),
        (
            b"INFO {\"tls_required\":true}\r\nHTTP/1.1 400\r\n\r\n",
            "TLS",
        ),
        (b"INFO {\"tls_required\":true}\r\n", "no answer in time"),
        (b"", "no answer in time"),
    ];
    for (words, cause) in cases {
        let server = saying(words).await?;
        let (said, failure, result) = tried(&bench, server.clone()).await?;
        ensure!(said.starts_with("-ERR '"), "{cause}: {said}");
        ensure!(failure.contains(cause), "{cause}: {failure}");
        let address = server.trim_start_matches("tls://");
        ensure!(failure.contains(address), "{address}: {failure}");
        ensure!(result == SessionResult::Unavailable, "{result:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_named_on_either_side() -> Result<()> {
    let bench = Bench::new().await?;
    let stranger = Authority::new("stranger");
    let elsewhere = bench
        .authority
        .issue(&LeafSpec::client("x").dns("elsewhere"));
    let ours = || ServerSettings::new(&bench.authority);
    let cases = [
        (
            ours().with_client_roots(&stranger.root_pem()),
            "the server refused the client certificate",
        ),
        (
            ours().with_identity(&stranger.issue(&LeafSpec::server())),
            "the server's certificate is not trusted: unknown issuer",
        ),
        (
            ours().with_identity(&elsewhere),
            "the server's certificate is not trusted",
        ),
    ];
    for (settings, cause) in cases {
        let server = NatsServer::start(settings).await?;
        let (said, failure, result) = tried(&bench, server.url()).await?;
        ensure!(said.contains("-ERR '"), "{cause}: {said}");
        ensure!(!said.contains("PONG"), "{cause}: {said}");
        ensure!(failure.contains(cause), "{cause}: {failure}");
        ensure!(result == SessionResult::Refused, "{result:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_says_is_passed_on() -> Result<()> {
    let bench = Bench::new().await?;
    let settings = ServerSettings::new(&bench.authority).password_user("alice", "s3cret");
    let server = NatsServer::start(settings).await?;
    let (said, failure, result) = tried(&bench, server.url()).await?;
    ensure!(
        said.ends_with("-ERR 'Authorization Violation'\r\n"),
        "{said}"
    );
    ensure!(failure.contains("Authorization Violation"), "{failure}");
    ensure!(result == SessionResult::Refused, "{result:?}");
    Ok(())
}

#[tokio::test]
async fn a_relay_alone_is_asked_about_new_material() -> Result<()> {
    let mut bench = Bench::new().await?;
    let server = NatsServer::start(ServerSettings::new(&bench.authority)).await?;
    let relay = bench.manager.relay(server.url(), settings()).await?;
    let client = async_nats::connect(relay.local_addr().to_string()).await?;

    bench.write(Some(&Authority::new("stranger")))?;
    let outcome = bench.manager.reload().await?;
    let ReloadOutcome::Rejected(rejection) = outcome else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(rejection.reason == Reason::ServerRefused, "{rejection}");
    bench.write(None)?;
    let outcome = bench.manager.reload().await?;
    ensure!(
        matches!(outcome, ReloadOutcome::Published(_)),
        "{outcome:?}"
    );
    client.flush().await?;
    Ok(())
}

/// The relay has no user for the server, its clients have: TLS alone can be asked about.
#[tokio::test]
async fn clients_with_users_of_their_own_do_not_hold_up_a_rotation() -> Result<()> {
    let mut bench = Bench::new().await?;
    let server = ServerSettings::new(&bench.authority).password_user("alice", "s3cret");
    let server = NatsServer::start(server).await?;
    let relay = bench.manager.relay(server.url(), settings()).await?;
    let login = async_nats::ConnectOptions::with_user_and_password("alice".into(), "s3cret".into());
    let _client = login.connect(relay.local_addr().to_string()).await?;
    bench.write(None)?;
    let outcome = bench.manager.reload().await?;
    ensure!(
        matches!(outcome, ReloadOutcome::Published(_)),
        "{outcome:?}"
    );
    bench.write(Some(&Authority::new("stranger")))?;
    let outcome = bench.manager.reload().await?;
    ensure!(matches!(outcome, ReloadOutcome::Rejected(_)), "{outcome:?}");
    Ok(())
}
