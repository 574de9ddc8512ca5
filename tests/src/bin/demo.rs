//! `scripts/demo`: a small service under load while its certificates are renewed, torn, swapped
//! for bad ones and its CA is rotated. Prints one timeline and ends non-zero if nats-server's own
//! view ever differs from what the timeline claims.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nats_mtls_tests::files::{Contents, KubernetesVolume, Part};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::process::{Process, Signal, be_quiet};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::eventually;
use serde_json::Value;

/// The name of the service's connection.
const NAME: &str = "orders";
const DEADLINE: Duration = Duration::from_secs(15);
/// Between a certificate and its key, when a careless writer writes them one after the other.
const TORN: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> ExitCode {
    match demonstrate().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate() -> Result<()> {
    let service = env::args_os()
        .nth(1)
        .context("usage: demo PATH-OF-THE-EXAMPLE-order_service")?;
    let mut stage = Stage::set(Path::new(&service)).await?;

    stage.heading();
    stage.begin().await?;
    for _ in 0..3 {
        stage.renew_leaf().await?;
    }
    stage.renew_torn().await?;
    stage.rotate_authority().await?;
    stage.drop_in_bad_material().await?;
    stage.renew_leaf().await?;
    stage.finish().await
}

/// What nats-server must show after a step, and what the service must say about its files.
struct Expected<'a> {
    certificate: &'a Identity,
    verdict: &'a str,
    reason: Option<&'a str>,
    /// Whether the step makes a new generation.
    moves: bool,
}

struct Stage {
    began: Instant,
    authority: Authority,
    identity: Identity,
    volume: KubernetesVolume,
    server: NatsServer,
    service: Process,
    generation: u64,
    cid: u64,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn set(service: &Path) -> Result<Self> {
        let authority = Authority::new("demo root 1");
        let identity = authority.issue(&LeafSpec::client(NAME).dns("orders.example.com"));
        let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        let directory = tempfile::tempdir()?;
        let began = Instant::now();
        let service = Process::start(
            "order_service",
            Command::new(service)
                .env("NATS_URL", server.url())
                .env("NATS_TLS_CERT", volume.path(Part::Certificate))
                .env("NATS_TLS_KEY", volume.path(Part::Key))
                .env("NATS_TLS_CA", volume.path(Part::Roots)),
            directory.path(),
        )?;
        Ok(Self {
            began,
            authority,
            identity,
            volume,
            server,
            service,
            generation: 0,
            cid: 0,
            _directory: directory,
        })
    }

    fn heading(&self) {
        println!(
            "nats-server on {}, mutual TLS; the service publishes, subscribes and requests all the time.\n",
            self.server.url()
        );
        println!(
            "{:>7}  {:<45} {:<26} {:>10} {:>9}  /connz shows",
            "time", "what changed", "verdict", "generation", "seen in"
        );
    }

    async fn begin(&mut self) -> Result<()> {
        let identity = self.identity.clone();
        self.expect("the service starts", Instant::now(), &accepted(&identity))
            .await
    }

    async fn renew_leaf(&mut self) -> Result<()> {
        let next = self.authority.renew(&self.identity);
        self.publish(&next)?;
        self.expect(
            "leaf renewed (Kubernetes ..data)",
            Instant::now(),
            &accepted(&next),
        )
        .await
    }

    async fn renew_torn(&mut self) -> Result<()> {
        let next = self.authority.renew(&self.identity);
        std::fs::write(self.volume.path(Part::Certificate), next.chain_pem())?;
        tokio::time::sleep(TORN).await;
        ensure!(
            self.status()?["disk"]["verdict"] == "settling",
            "a half-written set must be given time"
        );
        std::fs::write(self.volume.path(Part::Key), next.key_pem())?;
        let what = "leaf in place, the key 300 ms after it";
        self.expect(what, Instant::now(), &accepted(&next)).await
    }

    /// Old and new roots everywhere, then the leaves, then the new root alone.
    async fn rotate_authority(&mut self) -> Result<()> {
        let old_root = self.authority.root_pem();
        let authority = Authority::new("demo root 2");
        let both = format!("{old_root}{}", authority.root_pem());
        let identity = self.identity.clone();

        self.server.write_client_roots(&both)?;
        self.server.reload().await?;
        self.volume.update(&Contents::new(&identity, &both))?;
        self.expect(
            "CA overlap: old and new root",
            Instant::now(),
            &accepted(&identity),
        )
        .await?;

        let removed_early = Contents::new(&identity, &authority.root_pem());
        self.volume.update(&removed_early)?;
        let refused = rejected(&identity, "server_untrusted");
        self.expect("old root removed too early", Instant::now(), &refused)
            .await?;
        self.volume.update(&Contents::new(&identity, &both))?;
        self.expect("old root put back", Instant::now(), &unchanged(&identity))
            .await?;

        self.server
            .write_identity(&authority.issue(&LeafSpec::server()))?;
        self.server.reload().await?;
        let next = authority.issue(identity.spec());
        self.volume.update(&Contents::new(&next, &both))?;
        self.expect("leaf from the new CA", Instant::now(), &accepted(&next))
            .await?;

        self.server.write_client_roots(&authority.root_pem())?;
        self.server.reload().await?;
        self.volume
            .update(&Contents::new(&next, &authority.root_pem()))?;
        self.expect("new root alone", Instant::now(), &accepted(&next))
            .await?;
        self.authority = authority;
        Ok(())
    }

    async fn drop_in_bad_material(&mut self) -> Result<()> {
        let current = self.identity.clone();
        let roots = self.authority.root_pem();
        let expired = self.authority.issue(&current.spec().clone().expired());
        let other = self.authority.renew(&current);
        let foreign = Authority::new("nobody's root").issue(current.spec());
        let mismatched = Contents {
            key: other.key_pem().to_owned(),
            ..Contents::new(&current, &roots)
        };
        let bad = [
            ("expired leaf", Contents::new(&expired, &roots), "expired"),
            ("key of another certificate", mismatched, "key_mismatch"),
            (
                "leaf of a foreign CA",
                Contents::new(&foreign, &roots),
                "server_refused",
            ),
        ];
        for (what, contents, reason) in bad {
            self.volume.update(&contents)?;
            self.expect(what, Instant::now(), &rejected(&current, reason))
                .await?;
        }
        Ok(())
    }

    fn publish(&mut self, identity: &Identity) -> Result<()> {
        let contents = Contents::new(identity, &self.authority.root_pem());
        self.volume.update(&contents)
    }

    /// Waits for the service's verdict and the server's view, checks both and prints the row.
    async fn expect(
        &mut self,
        what: &str,
        changed: Instant,
        expected: &Expected<'_>,
    ) -> Result<()> {
        let generation = self.generation + u64::from(expected.moves);
        let fingerprint = expected.certificate.fingerprint();
        // A move shows as another connection, also where only the CA changed.
        let seen = eventually(DEADLINE, what, || async {
            let seen = self.server.sees(NAME, fingerprint, DEADLINE).await?;
            Ok((!expected.moves || seen.cid > self.cid).then_some(seen))
        })
        .await?;
        let seen_in = changed.elapsed();
        let status = eventually(DEADLINE, what, || async {
            let status = self.status()?;
            let disk = &status["disk"];
            let settled = status["generation"] == generation
                && disk["verdict"] == expected.verdict
                && disk["reason"].as_str() == expected.reason;
            ensure!(settled, "the service says {disk}");
            Ok(Some(status))
        })
        .await?;
        // A connection that was moved again, or never should have been, shows here.
        let after = self.server.sees(NAME, fingerprint, DEADLINE).await?;
        let claimed = &status["active"]["leaf"]["fingerprint_sha256"];
        ensure!(
            claimed == fingerprint,
            "{what}: the service claims {claimed}, nats-server shows {fingerprint}"
        );
        ensure!(
            expected.moves || after.cid == seen.cid,
            "{what}: the connection was moved for nothing"
        );
        let verdict = match expected.reason {
            Some(reason) => format!("{}: {reason}", expected.verdict),
            None if expected.moves => "published".to_owned(),
            None => expected.verdict.to_owned(),
        };
        println!(
            "{:>6.2}s  {what:<45} {verdict:<26} {generation:>10} {:>9}  {}…",
            self.began.elapsed().as_secs_f64(),
            if expected.moves {
                format!("{} ms", seen_in.as_millis())
            } else {
                "-".into()
            },
            fingerprint.get(..16).unwrap_or(fingerprint),
        );
        self.generation = generation;
        self.cid = after.cid;
        self.identity = expected.certificate.clone();
        Ok(())
    }

    /// The last whole line that the service printed.
    fn status(&self) -> Result<Value> {
        let output = self.service.stdout();
        let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let line = whole.lines().last().unwrap_or_default();
        if let Some(ended) = self.service.exit_status()? {
            bail!("the service ended ({ended}):\n{}", self.service.stderr());
        }
        serde_json::from_str(line).with_context(|| format!("the service printed {line:?}"))
    }

    async fn finish(self) -> Result<()> {
        self.service.signal(Signal::TERM)?;
        let ended = self.service.wait(DEADLINE).await?;
        ensure!(ended.success(), "the service ended with {ended}");
        let output = self.service.stdout();
        let totals: Value = serde_json::from_str(output.lines().last().unwrap_or_default())?;
        println!(
            "\nthe service was never restarted: {} messages published, {} received, {} requests answered, {} not",
            totals["published"], totals["received"], totals["answered"], totals["unanswered"]
        );
        println!("a reconnect may lose core messages that are in flight; JetStream does not");
        be_quiet();
        println!(
            "every row above is what nats-server itself showed in /connz; {:.0} s in total",
            self.began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

fn accepted(certificate: &Identity) -> Expected<'_> {
    Expected {
        certificate,
        verdict: "active",
        reason: None,
        moves: true,
    }
}

fn unchanged(certificate: &Identity) -> Expected<'_> {
    Expected {
        moves: false,
        ..accepted(certificate)
    }
}

fn rejected<'a>(still: &'a Identity, reason: &'a str) -> Expected<'a> {
    Expected {
        certificate: still,
        verdict: "rejected",
        reason: Some(reason),
        moves: false,
    }
}
