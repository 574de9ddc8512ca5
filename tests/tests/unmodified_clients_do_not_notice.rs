//! Promise 7, as a legacy service sees it: unmodified nats-py and nats.js say and hear the same
//! through the relay as they do directly, with a rotation in the middle of every scenario, and
//! their libraries notice nothing.
//!
//! When the *server* restarts a direct client notices, and a quiet one behind the relay does not: what
//! the libraries told of their connections is the same in every scenario but that one.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::clients::{Ask, Language, Transcript, Transcripts};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::{Places, Relay, places};
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::wait::{PATIENCE, eventually};

/// The scenario of a service that runs for a while.
const STEADY: &str = "steady";

/// A server without TLS, and the client beside it.
struct Direct {
    server: NatsServer,
}

/// A server that demands certificates, and an agent between it and the client.
struct Relayed {
    authority: Authority,
    server: [NatsServer; 1],
    relay: Relay,
    renewals: u32,
}

impl Direct {
    async fn start() -> Result<Self> {
        let settings = ServerSettings::new(&Authority::new("unused"));
        let settings = settings.verify(Verify::PlainText).jet_stream();
        Ok(Self {
            server: NatsServer::start(settings).await?,
        })
    }

    async fn run(&mut self, language: Language, scenarios: &[&str]) -> Result<Transcripts> {
        let url = format!("nats://127.0.0.1:{}", self.server.port());
        let on_ask = async |_: &str, ask| match ask {
            Ask::Rotate => Ok(()),
            Ask::Restart => self.server.restart().await,
        };
        language.run(&url, scenarios, on_ask).await
    }
}

impl Relayed {
    async fn start() -> Result<Self> {
        let authority = Authority::new("root");
        let server = [NatsServer::start(ServerSettings::new(&authority).jet_stream()).await?];
        Ok(Self {
            relay: Relay::start(&authority, &server, |agent| agent).await?,
            authority,
            server,
            renewals: 0,
        })
    }

    async fn run(&mut self, language: Language, scenarios: &[&str]) -> Result<Transcripts> {
        let url = self.relay.url();
        let on_ask = async |scenario: &str, ask| match ask {
            Ask::Rotate if scenario == STEADY => self.renew(scenario).await,
            Ask::Rotate => self.rotate(scenario).await,
            Ask::Restart => self.server[0].restart().await,
        };
        language.run(&url, scenarios, on_ask).await
    }

    /// The leaf at first, the authority each second time.
    async fn renew(&mut self, scenario: &str) -> Result<()> {
        self.renewals += 1;
        if self.renewals.is_multiple_of(2) {
            self.renew_authority(scenario).await
        } else {
            self.rotate(scenario).await
        }
    }

    /// With an overlap, as operators do it: everybody trusts both, new leaves, everybody trusts the new
    /// one alone. Every step moves every session.
    async fn renew_authority(&mut self, scenario: &str) -> Result<()> {
        let next = Authority::new("next root");
        let both = self.authority.root_pem() + &next.root_pem();
        self.server[0].write_client_roots(&both)?;
        self.server[0].reload().await?;
        self.trust(scenario, &both).await?;
        self.authority = next;
        self.rotate(scenario).await?;
        let identity = self.authority.issue(&LeafSpec::server());
        self.server[0].write_identity(&identity)?;
        self.server[0].reload().await?;
        let root = self.authority.root_pem();
        self.trust(scenario, &root).await?;
        self.server[0].write_client_roots(&root)?;
        self.server[0].reload().await
    }

    async fn trust(&mut self, scenario: &str, roots: &str) -> Result<()> {
        let before = self.places(scenario).await?;
        self.relay.trust(roots)?;
        self.relay.moved(&self.server, &before, PATIENCE).await?;
        Ok(())
    }

    async fn rotate(&mut self, scenario: &str) -> Result<()> {
        let before = self.places(scenario).await?;
        self.relay.renew(&self.authority)?;
        self.relay.moved(&self.server, &before, PATIENCE).await?;
        Ok(())
    }

    /// Where the sessions of a scenario are, once each has one connection.
    async fn places(&self, scenario: &str) -> Result<Places> {
        let mut names: Vec<_> = self.server[0]
            .connections()
            .await?
            .into_iter()
            .map(|connection| connection.name)
            .filter(|name| name.starts_with(&format!("{scenario}-")))
            .collect();
        names.sort();
        ensure!(
            !names.is_empty(),
            "the server knows no session of {scenario}"
        );
        // A handover that went before is over.
        eventually(PATIENCE, "all is quiet", || async {
            places(&self.server, &names, None).await.map(Some)
        })
        .await
    }
}

fn went_well(transcript: &Transcript) -> bool {
    let bad = ["failed:", "False", "false"];
    transcript.ended
        && !transcript.said.is_empty()
        && !transcript
            .said
            .iter()
            .any(|line| bad.iter().any(|word| line.contains(word)))
}

async fn same_transcripts(language: Language) -> Result<()> {
    let (mut direct, mut relayed) = (Direct::start().await?, Relayed::start().await?);
    let (direct, through) = tokio::try_join!(
        direct.run(language, &["all"]),
        relayed.run(language, &["all"])
    )?;
    assert_eq!(direct.len(), 15, "{:?}", direct.keys());
    assert_eq!(
        direct.keys().collect::<Vec<_>>(),
        through.keys().collect::<Vec<_>>()
    );
    for (scenario, transcript) in &direct {
        assert!(went_well(transcript), "{scenario}, direct: {transcript:#?}");
        assert_eq!(transcript.noticed, [""; 0], "{scenario}, direct");
        assert_eq!(&through[scenario], transcript, "{scenario} of {language:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nats_py_has_the_same_transcripts() -> Result<()> {
    same_transcripts(Language::Python).await
}

#[tokio::test]
async fn nats_js_has_the_same_transcripts() -> Result<()> {
    same_transcripts(Language::Node).await
}

#[tokio::test]
async fn a_server_that_restarts_is_not_noticed_by_quiet_clients() -> Result<()> {
    for (language, scenario) in [
        (Language::Python, "server_restarts"),
        (Language::Node, "serverRestarts"),
    ] {
        let (mut direct, mut relayed) = (Direct::start().await?, Relayed::start().await?);
        let only = [scenario];
        let (direct, through) =
            tokio::try_join!(direct.run(language, &only), relayed.run(language, &only))?;
        let (direct, through) = (&direct[scenario], &through[scenario]);
        assert!(went_well(direct), "{direct:#?}");
        assert_eq!(direct.said, through.said, "{through:#?}");
        let disconnects = |transcript: &Transcript| {
            let told = transcript.noticed.iter();
            told.filter(|what| what.starts_with("disconnect")).count()
        };
        assert!(disconnects(direct) > 0, "{direct:#?}");
        assert_eq!(through.noticed, [""; 0], "{language:?}");
    }
    Ok(())
}

/// Two services in other languages beside one agent, as a pod has them: they know nothing of
/// certificates, and go on answering through three rotations, one of them of the authority.
#[tokio::test]
async fn services_beside_the_agent_are_untouched_by_rotations() -> Result<()> {
    for language in Language::ALL {
        let mut relayed = Relayed::start().await?;
        let transcripts = relayed.run(language, &[STEADY]).await?;
        let steady = transcripts.get(STEADY).context("nothing was said")?;
        assert!(went_well(steady), "{language:?}: {steady:#?}");
        assert_eq!(steady.noticed, [""; 0], "{language:?}");
    }
    Ok(())
}
