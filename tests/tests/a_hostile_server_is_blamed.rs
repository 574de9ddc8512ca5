//! Whatever a server does instead of speaking NATS, the client of the relay is told within the connect
//! limit, and log and status blame that server. The causes themselves are in
//! `relay_blames_the_right_side`; here it is a real agent, as far as the PONG.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::impostor::{INFO, Impostor, Script};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::stranger::{self, CONNECT, Stranger};
use nats_mtls_tests::wait::throughout;

/// `--connect-timeout`.
const LIMIT: Duration = Duration::from_millis(500);
/// As often up to INFO, which makes the patience with NATS, and once up to the PONG.
const ATTEMPTS: u32 = 2 + 1;
/// Of a machine that does other things.
const SLOW: Duration = Duration::from_secs(4);

struct Scene {
    authority: Authority,
    impostor: Impostor,
    agent: Agent,
    port: u16,
    _volume: KubernetesVolume,
}

impl Scene {
    async fn start() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("legacy"));
        let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
        let impostor = Impostor::start().await?;
        let agent = AgentCommand::new("run")
            .volume(&volume)
            .flag("--server", impostor.url())
            .flag("--listen", "127.0.0.1:0")
            .flag("--connect-timeout", "500ms")
            .flag("--startup-passes", "2")
            .flag("--startup-margin", "0s")
            .http()?
            .start()
            .await?;
        let address = agent.relay_address().await?;
        let port = address.rsplit(':').next().context("no port")?.parse()?;
        Ok(Self {
            authority,
            impostor,
            agent,
            port,
            _volume: volume,
        })
    }

    fn itself(&self) -> Identity {
        self.authority.issue(&LeafSpec::server())
    }

    /// A client is told `answer`, and everybody else `cause`.
    async fn is_blamed(&self, script: Script, answer: &str, cause: &str) -> Result<()> {
        self.impostor.plays(script);
        let before = self.agent.stderr().len();
        let told = stranger::answer(self.port, format!("{CONNECT}PING\r\n")).await?;
        ensure!(
            told.said == [format!("-ERR '{answer}'")],
            "{cause}: {told:?}"
        );
        ensure!(told.after < LIMIT * ATTEMPTS + SLOW, "{cause}: {told:?}");
        let log = self.agent.stderr();
        let news = log.get(before..).unwrap_or_default();
        let blamed = news.lines().find(|line| line.contains("no upstream"));
        let blamed = blamed.with_context(|| format!("{cause}: nothing in the log:\n{news}"))?;
        let status = self.agent.status().await?["relay"].take();
        let failure = status["last_failure"]["detail"].as_str();
        for told in [blamed, failure.context("no failure")?] {
            ensure!(told.contains(&self.impostor.label()), "{cause}: {told}");
            ensure!(told.contains(cause), "{cause}: {told}");
        }
        Ok(())
    }
}

fn plain(plain: &[u8]) -> Script {
    Script {
        plain: plain.to_vec(),
        ..Script::default()
    }
}

fn inside(identity: &Identity, inside: impl Into<Vec<u8>>) -> Script {
    Script {
        plain: INFO.to_vec(),
        tls: Some(identity.clone()),
        inside: inside.into(),
    }
}

#[tokio::test]
async fn whatever_it_does_before_the_pong() -> Result<()> {
    let scene = Scene::start().await?;
    let nobody = "no NATS server is available";
    let itself = scene.itself();
    let stranger = Authority::new("stranger").issue(&LeafSpec::server());
    let elsewhere = scene
        .authority
        .issue(&LeafSpec::client("x").dns("elsewhere"));
    let junk: Vec<u8> = (0..=u8::MAX).rev().cycle().take(100_000).collect();
    let endless = format!("INFO {{\"a\":\"{}", "a".repeat(300_000));
    let late = "no answer in time";
    let not_nats = "not the NATS protocol";
    let cases = [
        (plain(&junk), "does not speak NATS"),
        (plain(b"INFO nonsense\r\n"), "INFO"),
        (plain(endless.as_bytes()), "does not end"),
        (plain(b""), late),
        (plain(INFO), late),
        (plain(&[INFO, b"HTTP/1.1 400\r\n\r\n"].concat()), "TLS"),
        (inside(&stranger, "PONG\r\n"), "unknown issuer"),
        (inside(&elsewhere, "PONG\r\n"), "not trusted"),
        (inside(&itself, ""), late),
        (inside(&itself, junk.clone()), not_nats),
        (inside(&itself, "INFO nonsense\r\n"), "INFO"),
        (inside(&itself, "MSG a 1 2\r\nhi\r\n"), "before the PONG"),
        (
            inside(&itself, "+OK\r\n".repeat(60_000)),
            "does not come to the PONG",
        ),
        (inside(&itself, endless.clone()), not_nats),
    ];
    for (script, cause) in cases {
        scene.is_blamed(script, nobody, cause).await?;
    }
    // Its own words are passed on.
    for words in ["Authorization Violation", "maximum connections exceeded"] {
        let refuses = inside(&itself, format!("-ERR '{words}'\r\n"));
        scene.is_blamed(refuses, words, words).await?;
        let at_once = plain(&[INFO, format!("-ERR '{words}'\r\n").as_bytes()].concat());
        scene.is_blamed(at_once, words, words).await?;
    }
    Ok(())
}

/// It is let in, and then the server goes mad each time: the relay connects again, but not in a hurry.
#[tokio::test]
async fn a_server_that_goes_mad_behind_the_pong_is_not_stormed() -> Result<()> {
    const LONG: Duration = Duration::from_secs(3);
    /// More than the backoff allows, and far fewer than a loop makes.
    const MOST: usize = 15;
    let scene = Scene::start().await?;
    let script = inside(&scene.itself(), "PONG\r\nnonsense\r\n");
    scene.impostor.plays(script);
    let mut client = Stranger::connect(scene.port).await?;
    client.say(format!("{CONNECT}PING\r\n")).await?;
    // Of the relay alone: the agent's own connection goes to the same server.
    throughout(LONG, "few connects", || async {
        let log = scene.agent.stderr();
        Ok(log.matches("relay: upstream lost").count() < MOST)
    })
    .await?;
    let log = scene.agent.stderr();
    let blamed = log.lines().find(|line| line.contains("upstream lost"));
    let blamed = blamed.with_context(|| log.clone())?;
    ensure!(blamed.contains(&scene.impostor.label()), "{blamed}");
    ensure!(blamed.contains("not NATS"), "{blamed}");
    Ok(())
}
