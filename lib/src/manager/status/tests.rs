//! The probes in simulated time: what an outage, an end for good and a task that is gone or stuck
//! do to them.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::time::sleep;

use super::*;
use crate::manager::CertificateManager;
use crate::nats::{ConnectSettings, ConnectionState, IntoServerList as _, Registration};
use crate::report::{Liveness, NotReady};
use crate::source::{
    RawKey, RawMaterial, RawPart, ReadError, Source, SourceFuture, WatcherMode, push_source,
};

const SECOND: Duration = Duration::from_secs(1);

fn set() -> RawMaterial {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(["orders.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &root).unwrap();
    RawMaterial {
        certificate: RawPart::new("tls.crt", leaf.pem()),
        key: RawKey::Pem(RawPart::new("tls.key", key.serialize_pem())),
        roots: RawPart::new("ca.crt", root.pem()),
        crls: None,
        issuer: None,
    }
}

async fn manager(source: impl Source) -> CertificateManager {
    let builder = CertificateManager::builder().source(source);
    builder.expect_connection().build().await.unwrap()
}

async fn with_material() -> CertificateManager {
    let (pusher, source) = push_source();
    pusher.push(set());
    manager(source).await
}

/// A connection that is whatever the test says.
fn register(manager: &CertificateManager) -> Registration {
    let servers = "tls://localhost:4222".into_server_list().unwrap();
    let registered = manager
        .inner
        .registry
        .register(servers, ConnectSettings::new());
    registered.unwrap()
}

fn turn(connection: &Registration, state: ConnectionState) {
    connection.update(|report| {
        report.state = state;
        report.connects += u64::from(state == ConnectionState::Connected);
    });
}

#[tokio::test(start_paused = true)]
async fn an_outage_never_costs_the_process_its_life_however_long_it_is() {
    let manager = with_material().await;
    let status = manager.status_handle();
    let health = || {
        let Health {
            started,
            not_ready,
            liveness,
        } = status.health();
        (started, not_ready, liveness)
    };
    assert_eq!(
        health(),
        (false, Some(NotReady::Connecting), Liveness::Alive)
    );
    let connection = register(&manager);
    for second in 0..60 {
        sleep(SECOND).await;
        let down = (false, Some(NotReady::Connecting), Liveness::Alive);
        assert_eq!(health(), down, "before the first connection, {second}");
    }
    turn(&connection, ConnectionState::Connected);
    assert_eq!(health(), (true, None, Liveness::Alive));

    turn(&connection, ConnectionState::Disconnected);
    let began = Instant::now();
    let down = (true, Some(NotReady::Disconnected), Liveness::Alive);
    // A second apart for the minute of a restart, then as long as an outage of a day.
    for pause in std::iter::repeat_n(SECOND, 60).chain(std::iter::repeat_n(60 * SECOND, 24 * 60)) {
        sleep(pause).await;
        assert_eq!(health(), down, "after {:?}", began.elapsed());
    }
    turn(&connection, ConnectionState::Connected);
    assert_eq!(health(), (true, None, Liveness::Alive));

    turn(&connection, ConnectionState::Closed);
    let closed = (true, Some(NotReady::Closed), Liveness::ConnectionClosed);
    for _ in 0..60 {
        sleep(SECOND).await;
        assert_eq!(health(), closed);
    }
}

async fn panic_with(connection: Registration) {
    let task = tokio::spawn(async move {
        let _kept = connection;
        panic!("a bug");
    });
    assert!(task.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_connection_whose_driver_died_is_closed_for_good() {
    let manager = with_material().await;
    // While it was being made it was the application's task that died: it may try again.
    panic_with(register(&manager)).await;
    assert_eq!(manager.status_handle().health().liveness, Liveness::Alive);

    let mut connection = register(&manager);
    connection.drive();
    turn(&connection, ConnectionState::Connected);
    panic_with(connection).await;
    let health = manager.status_handle().health();
    assert_eq!(health.liveness, Liveness::ConnectionClosed);
    assert_eq!(health.not_ready, Some(NotReady::Closed));
    let [report] = &manager.inner.registry.reports()[..] else {
        panic!("it vanished");
    };
    assert!(report.totals.closed == 1 && !report.totals.is_up() && !report.totals.is_ended());
}

/// Answers once, and then no more.
struct Once {
    set: Option<RawMaterial>,
    then: fn(),
}

impl Source for Once {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        let set = self.set.take();
        let then = self.then;
        Box::pin(async move {
            if let Some(set) = set {
                return Ok(set);
            }
            then();
            std::future::pending().await
        })
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn watcher_mode(&self) -> WatcherMode {
        WatcherMode::Poll
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_cut_off_and_the_task_lives() {
    let source = Once {
        set: Some(set()),
        then: || (),
    };
    let manager = manager(source).await;
    let status = manager.status_handle();
    for _ in 0..600 {
        sleep(SECOND).await;
        assert_eq!(status.health().liveness, Liveness::Alive);
    }
    assert!(status.shared.report().unwrap().counts.reads > 30);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_ends_the_task_and_liveness_says_so() {
    let source = Once {
        set: Some(set()),
        then: || panic!("a bug"),
    };
    let manager = manager(source).await;
    let status = manager.status_handle();
    assert_eq!(status.health().liveness, Liveness::Alive);
    sleep(11 * SECOND).await;
    assert_eq!(status.health().liveness, Liveness::ReloadEnded);
}

#[tokio::test]
async fn a_task_that_the_process_watches_over_is_a_matter_of_liveness_from_the_first_on() {
    let status = CertificateManager::builder().status_handle();
    assert_eq!(status.health().liveness, Liveness::Alive);
    status.set_task_ended("publish");
    status.set_task_ended("confirm");
    assert_eq!(status.health().liveness, Liveness::TaskEnded("publish"));
    assert_eq!(status.health().liveness.as_str(), "task_ended");
}
