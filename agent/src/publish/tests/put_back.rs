//! What somebody takes away from readers while the agent runs comes back, and is told.

use std::time::Duration;

use nats_mtls::{CertificateManager, Files};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::{Access, PublishConfig};
use crate::duties::Duties;
use crate::notify::testing::news;
use crate::notify::{Feed, Notifier, Paths, Tell};
use crate::publish::{PublishReport, start};

const SOON: Duration = Duration::from_secs(61);
const LONG: Duration = Duration::from_secs(3600);

fn config(directory: &TempDir) -> PublishConfig {
    PublishConfig {
        directory: directory.path().to_owned(),
        access: Access {
            mode: 0o600,
            group: None,
        },
        with_crl: false,
        issuer: None,
    }
}

/// Whether the others are told of what was published next.
async fn is_told(feed: &mut Feed) -> bool {
    timeout(LONG, feed.changed()).await.unwrap().unwrap();
    let news = feed.borrow_and_update().clone().unwrap();
    matches!(news.tell, Tell::Now)
}

async fn result_is(report: &mut watch::Receiver<PublishReport>, result: &str) {
    let is_it = |report: &PublishReport| {
        let status = serde_json::to_value(report.status()).unwrap();
        status["result"] == result
    };
    timeout(LONG, report.wait_for(is_it))
        .await
        .unwrap()
        .unwrap();
}

fn empty(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir_all(&path))
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_comes_back_within_a_minute_and_is_told() {
    let (made, _folder) = news().await;
    let files = Files::new(&made.paths.certificate, &made.paths.key, &made.paths.roots);
    let builder = CertificateManager::builder().files(files);
    let status = builder.status_handle();
    let _manager = builder.build().await.unwrap();
    let directory = scratch();
    let path = directory.path();
    let mut duties = Duties::default();
    let (notifier, _board) = Notifier::start(None, Paths::default(), &mut duties);
    let mut feed = notifier.feed();
    let mut report = start(config(&directory), status, notifier, &mut duties);
    assert!(!is_told(&mut feed).await, "the first set");
    let key = fs::read(path.join("tls.key")).unwrap();

    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        empty,
        |path| fs::remove_file(path.join("..data")).unwrap(),
        |path| fs::write(path.join("..data/tls.key"), "of somebody else").unwrap(),
    ];
    for damage in damages {
        damage(path);
        let since = Instant::now();
        assert!(is_told(&mut feed).await);
        assert!(since.elapsed() <= SOON, "{:?}", since.elapsed());
        assert_eq!(fs::read(path.join("tls.key")).unwrap(), key);
    }

    // While it cannot be put back nobody says that it is there.
    empty(path);
    fs::write(path.join("tls.key"), "mine").unwrap();
    result_is(&mut report, "failed").await;
    fs::remove_file(path.join("tls.key")).unwrap();
    assert!(is_told(&mut feed).await);
    result_is(&mut report, "published").await;

    // To look is no news.
    report.borrow_and_update();
    let before = serde_json::to_value(report.borrow().status()).unwrap();
    assert!(timeout(LONG, feed.changed()).await.is_err());
    let after = serde_json::to_value(report.borrow().status()).unwrap();
    assert_eq!(before, after);
}
