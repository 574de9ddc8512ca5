//! Promise 9: no log line, error or status at any level holds key bytes or credentials, whatever
//! happens to the files. One test, because a process has one log.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls::nats::{Authentication, Secret, ServerList};
use nats_mtls::{CertificateManager, ConnectSettings, StartupPolicy};
use nats_mtls_tests::files::{Contents, KubernetesVolume, Part, PlainFiles};
use nats_mtls_tests::logs::LogCapture;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::service::{NAME, builder};
use nats_mtls_tests::wait::{PATIENCE, eventually};

const PASSWORD: &str = "correct-horse-battery-staple";
const WRONG_PASSWORD: &str = "wrong-horse-battery-staple";
const TOKEN: &str = "token-that-must-not-be-seen";

#[tokio::test]
async fn whatever_happens_to_the_files_and_the_server() -> Result<()> {
    let logs = LogCapture::install()?;
    let mut said = String::new();

    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(NAME));
    let other = authority.renew(&identity);
    let foreign = Authority::new("foreign").issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let mut server = NatsServer::start(
        ServerSettings::new(&authority)
            .verify(Verify::Required)
            .password_user("alice", PASSWORD),
    )
    .await?;
    let manager = builder(&volume).settle(Duration::ZERO).build().await?;

    // Credentials in a URL, right and wrong, and given to a private relay, which has a secret besides.
    let address = server.url().replace("tls://", "");
    let url = format!("tls://alice:{PASSWORD}@{address}");
    let settings = ConnectSettings::new().component("relayed").handover();
    let relayed = manager.connect(url, settings).await?;
    let (client, report) = (relayed.client(), relayed.report());
    said.push_str(&format!("{client:?} {report:?} {relayed:?}"));
    for (name, password) in [("wrong", WRONG_PASSWORD), (NAME, PASSWORD)] {
        let settings = ConnectSettings::new()
            .component(name)
            .startup(StartupPolicy::FailFast);
        let url = format!("tls://alice:{password}@{address}");
        match manager.connect(url, settings).await {
            Ok(connection) => {
                let (client, report) = (connection.client(), connection.report());
                said.push_str(&format!("{client:?} {report:?} {connection:?}"));
                rotate_through_everything(
                    &manager,
                    &mut volume,
                    &authority,
                    [&identity, &other, &foreign],
                    &mut server,
                    &mut said,
                )
                .await?;
            }
            Err(error) => said.push_str(&format!("{error} {error:?}")),
        }
    }
    for url in [
        "wss://u:token-that-must-not-be-seen@a",
        "tls://token-that-must-not-be-seen@a:99999",
    ] {
        let error = ServerList::parse([url]).unwrap_err();
        said.push_str(&format!("{error} {error:?}"));
    }
    let secret = Authentication::Token(Secret::new(TOKEN));
    said.push_str(&format!(
        "{secret:?} {:?}",
        ConnectSettings::new().authentication(secret.clone())
    ));
    start_on_swapped_files(&identity, &authority, &mut said).await?;

    ensure!(
        said.len() > 5_000 && logs.text().len() > 50_000,
        "nothing was captured"
    );
    for (where_, text) in [
        ("an error, status or Debug", &said),
        ("the log", &logs.text()),
    ] {
        for key in [&identity, &other, &foreign] {
            let leak = key.leak_in(text);
            ensure!(leak.is_none(), "{where_} holds a key: {leak:?}");
        }
        for secret in [PASSWORD, WRONG_PASSWORD, TOKEN] {
            ensure!(!text.contains(secret), "{where_} holds {secret}");
        }
        ensure!(
            !text.contains("auth_token\":\""),
            "{where_} holds the secret of a relay"
        );
    }
    Ok(())
}

/// Every kind of trouble, with what the library says about it.
async fn rotate_through_everything(
    manager: &CertificateManager,
    volume: &mut KubernetesVolume,
    authority: &Authority,
    [identity, other, foreign]: [&Identity; 3],
    server: &mut NatsServer,
    said: &mut String,
) -> Result<()> {
    let roots = authority.root_pem();
    let good = Contents::new(identity, &roots);
    let swapped = |certificate: &str, key: &str, roots: &str| Contents {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        roots: roots.to_owned(),
    };
    let key = identity.key_pem();
    let half = key.get(..key.len() / 2).unwrap_or_default();
    for contents in [
        swapped(identity.chain_pem(), other.key_pem(), &roots),
        swapped(key, key, &roots),
        swapped(key, identity.chain_pem(), &roots),
        swapped(identity.chain_pem(), key, key),
        swapped(identity.chain_pem(), half, &roots),
        swapped(
            identity.chain_pem(),
            &format!("{key}{}", other.key_pem()),
            &roots,
        ),
        swapped(identity.chain_pem(), &key.replace('A', "*"), &roots),
        swapped(
            identity.chain_pem(),
            &key.replace("-----BEGIN", " -----BEGIN"),
            &roots,
        ),
        swapped(
            identity.chain_pem(),
            &key.replace("-----END", "----END"),
            &roots,
        ),
        swapped(
            identity.chain_pem(),
            &key.replace("PRIVATE KEY", "CERTIFICATE"),
            &roots,
        ),
        Contents::new(foreign, &roots),
        Contents::new(other, &roots),
        good.clone(),
    ] {
        volume.update(&contents)?;
        let outcome = manager.reload().await?;
        said.push_str(&format!(
            "{outcome:?} {}",
            serde_json::to_string(&manager.status())?
        ));
        said.push_str(&format!(
            "{:?} {manager:?} {:?}",
            manager.status(),
            manager.snapshot()
        ));
    }
    server.restart().await?;
    eventually(PATIENCE, "the connection is back", || async {
        let status = manager.status();
        ensure!(status.ready, "{:?}", status.connections);
        Ok(Some(()))
    })
    .await
}

/// A start that fails, with the key where the certificate should be.
async fn start_on_swapped_files(
    identity: &Identity,
    authority: &Authority,
    said: &mut String,
) -> Result<()> {
    let files = PlainFiles::new(&Contents {
        certificate: identity.key_pem().to_owned(),
        key: identity.chain_pem().to_owned(),
        roots: authority.root_pem(),
    })?;
    let error = CertificateManager::builder()
        .files(nats_mtls::Files::new(
            files.path(Part::Certificate),
            files.path(Part::Key),
            files.path(Part::Roots),
        ))
        .startup(StartupPolicy::FailFast)
        .build()
        .await
        .expect_err("there is no certificate");
    said.push_str(&format!("{error} {error:?}"));
    Ok(())
}
