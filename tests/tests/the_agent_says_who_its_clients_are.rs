//! Clients that say nothing of themselves act as the user whose credentials the agent holds, also on
//! the connection that a handover moves them to: what has to be signed is signed anew. Clients that
//! say who they are keep it.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::jwt::Operator;
use nats_mtls_tests::load::inbox::{Book, Inbox};
use nats_mtls_tests::load::publisher::{Plan, Publisher};
use nats_mtls_tests::load::{Clock, Conversation, Hello, Pace, Topic};
use nats_mtls_tests::pki::Authority;
use nats_mtls_tests::relay::{Relay, places};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tempfile::TempDir;

const RATE: f64 = 1_000.0;
const SIZE: usize = 128;

/// An agent with a secret, and its server.
struct Scene {
    authority: Authority,
    servers: [NatsServer; 1],
    relay: Relay,
    _secrets: TempDir,
}

impl Scene {
    /// The secret is in a file; `flags` are told where.
    async fn start(
        line: &str,
        secret: &str,
        flags: impl FnOnce(AgentCommand, PathBuf) -> AgentCommand,
    ) -> Result<Self> {
        let authority = Authority::new("root");
        let settings = ServerSettings::new(&authority).line(line);
        let servers = [NatsServer::start(settings).await?];
        let secrets = tempfile::tempdir()?;
        let file = secrets.path().join("secret");
        std::fs::write(&file, secret)?;
        let relay = Relay::start(&authority, &servers, |agent| flags(agent, file)).await?;
        Ok(Self {
            authority,
            servers,
            relay,
            _secrets: secrets,
        })
    }

    /// Renews the certificate; the server then shows these sessions under it, each on another
    /// connection and as `user`.
    async fn rotate(&mut self, names: &[String], user: &str) -> Result<()> {
        let before = places(
            &self.servers,
            names,
            Some(self.relay.identity.fingerprint()),
        )
        .await?;
        self.is(names, user).await?;
        self.relay.renew(&self.authority)?;
        self.relay.moved(&self.servers, &before, PATIENCE).await?;
        self.is(names, user).await?;
        let handovers = eventually(PATIENCE, "all are counted", || async {
            let handovers = self.relay.agent.status().await?["relay"]["handovers"].take();
            Ok((handovers["ok"] == names.len()).then_some(handovers))
        })
        .await?;
        ensure!(handovers["failed"] == 0, "{handovers}");
        ensure!(handovers["fallback"] == 0, "{handovers}");
        Ok(())
    }

    async fn is(&self, names: &[String], user: &str) -> Result<()> {
        for connection in self.servers[0].connections().await? {
            let is_meant = names.contains(&connection.name);
            ensure!(
                !is_meant || connection.authorized_user == user,
                "{connection:?}"
            );
        }
        Ok(())
    }

    /// Two clients that say nothing talk through a rotation.
    async fn speaks_for_the_silent(mut self, user: &str) -> Result<()> {
        let topic = Topic {
            name: "silent".to_owned(),
            rate: RATE,
            size: SIZE,
        };
        let relay = self.relay.endpoint();
        let talk = Conversation::start(&relay, &relay, &topic, Clock::start())?;
        let names = ["silent".to_owned(), "silent-peer".to_owned()];
        self.rotate(&names, user).await?;
        let verdict = talk.finish().await?;
        let (up, down) = (verdict.up, verdict.down);
        ensure!(up.wrong() + down.wrong() == 0, "up {up:?}, down {down:?}");
        ensure!(up.received > 0 && down.received > 0);
        Ok(())
    }
}

#[tokio::test]
async fn with_a_credentials_file() -> Result<()> {
    let operator = Operator::new();
    let user = operator.user()?;
    let flags = |agent: AgentCommand, file| agent.flag("--creds", file);
    let scene = Scene::start(&operator.lines()?, &user.credentials(), flags).await?;
    scene.speaks_for_the_silent(&user.public_key).await
}

#[tokio::test]
async fn with_an_nkey_seed() -> Result<()> {
    let user = nkeys::KeyPair::new_user();
    let public_key = user.public_key();
    let line = format!("authorization {{ users: [ {{ nkey: {public_key} }} ] }}");
    let flags = |agent: AgentCommand, file| agent.flag("--nkey-seed-file", file);
    let scene = Scene::start(&line, &user.seed()?, flags).await?;
    scene.speaks_for_the_silent(&public_key).await
}

#[tokio::test]
async fn with_a_user_and_a_password() -> Result<()> {
    let line = "authorization { users: [ { user: alice, password: s3cret } ] }";
    let flags =
        |agent: AgentCommand, file| agent.flag("--user", "alice").flag("--password-file", file);
    let scene = Scene::start(line, "s3cret", flags).await?;
    scene.speaks_for_the_silent("alice").await
}

#[tokio::test]
async fn with_a_token() -> Result<()> {
    let line = "authorization { token: \"t0ken\" }";
    let flags = |agent: AgentCommand, file| agent.flag("--token-file", file);
    let scene = Scene::start(line, "t0ken", flags).await?;
    // As nats-server shows every token.
    scene.speaks_for_the_silent("[REDACTED]").await
}

/// A bearer JWT signs nothing, so a client that brings one can be handed over.
#[tokio::test]
async fn a_client_with_a_bearer_token_stays_who_it_is() -> Result<()> {
    let operator = Operator::new();
    let (agent, own) = (operator.user()?, operator.bearer()?);
    let flags = |agent: AgentCommand, file| agent.flag("--creds", file);
    let mut scene = Scene::start(&operator.lines()?, &agent.credentials(), flags).await?;
    let (name, subject, clock) = ("bearer", "load.bearer", Clock::start());
    let hello = Hello {
        jwt: Some(own.jwt.clone()),
        ..Hello::named(name)
    };
    let book = Book::new(0, SIZE, clock);
    let inbox = Inbox::open(&scene.relay.endpoint(), &hello, subject, book)?;
    let plan = Plan {
        subject: subject.to_owned(),
        publisher: 0,
        size: SIZE,
        pace: Pace::Rate(RATE),
    };
    let publisher = Publisher::start(inbox.line(), plan, clock)?;
    scene.rotate(&[name.to_owned()], &own.public_key).await?;
    let sent = publisher.stop()?;
    let book = inbox.book().clone();
    eventually(PATIENCE, "all have come", || async {
        Ok((book.received() >= sent).then_some(()))
    })
    .await?;
    let tally = book.read(|ledger| ledger.tally(sent));
    ensure!(tally.wrong() == 0 && sent > 0, "{tally:?}");
    inbox.close()
}
