//! Decisions that depend on what a session was in the middle of.

use super::*;
use tokio::net::TcpStream;

use crate::relay::dial::Wish;
use crate::relay::link::tests::{Line, Scene};
use crate::relay::settings::RelaySettings;

/// A session that is served; its client and its server are there as long as they are held.
async fn serving(scene: &mut Scene) -> (Serving, TcpStream, Line) {
    let (stream, admission, client) = scene.pair().await;
    let connect = Connect::parse(br#"{"verbose":false,"protocol":1}"#).unwrap();
    let dialer = &scene.shared.dialer;
    let arrived = Arrived {
        stream,
        unread: Vec::new(),
        dialed: dialer.join(&Wish::default(), &connect).await.unwrap(),
        connect,
    };
    let server = scene.line().await;
    let serving = Serving::new(arrived, admission, Arc::clone(&scene.shared));
    (serving, client, server)
}

/// A client that connects again gets the same answer from the server, and has lost a connection that works.
#[tokio::test]
async fn only_who_is_helped_by_connecting_again_is_told_to_leave_at_the_last_chance() {
    use HandoverReason::{
        Auth, Dial, Protocol, Refused, SlowClient, SubscriptionDenied, Timeout, Tls, UpstreamLost,
    };
    let cases = [
        (Dial, false),
        (Tls, false),
        (Auth, false),
        (Refused, false),
        (UpstreamLost, false),
        (Protocol, false),
        (SubscriptionDenied, true),
        (Timeout, true),
        (SlowClient, true),
    ];
    let mut scene = Scene::new(RelaySettings::new()).await;
    for (reason, is_told) in cases {
        let (mut serving, _client, _server) = serving(&mut scene).await;
        let before = scene.board.report_of(None);
        serving.failed(Permit::forced(), reason, "a test");
        let report = scene.board.report_of(None);
        let told = report.fallback_for(HandoverReason::Expiry)
            - before.fallback_for(HandoverReason::Expiry);
        assert_eq!(told, u64::from(is_told), "{reason:?}");
        assert_eq!(serving.is_told, is_told, "{reason:?}");
        assert_eq!(serving.leaving.is_decided(), is_told, "{reason:?}");
        assert_eq!(
            report.failed_for(reason),
            before.failed_for(reason) + 1,
            "{reason:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_lost_at_the_last_chance_asks_nobody_to_leave() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let (mut serving, client, _server) = serving(&mut scene).await;
    serving.moving = Moving::Dialing {
        permit: Permit::forced(),
        dial: Box::pin(std::future::pending()),
    };
    let flow = serving.handle_lost(Link::Current, "gone");
    assert!(matches!(flow, Flow::GoOn));
    assert!(matches!(serving.moving, Moving::Outage { .. }));
    let report = scene.board.report_of(None);
    assert_eq!(report.failed_for(HandoverReason::UpstreamLost), 1);
    assert_eq!(report.handovers_fallback.iter().sum::<u64>(), 0);
    assert!(!serving.is_told);
    drop((serving, client));
}

/// Whichever way a client goes, its handover is one that did not happen.
#[tokio::test]
async fn a_client_that_is_gone_ends_its_handover_whichever_way_it_went() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let gone = || {
        [
            Outcome::ClientLeft,
            Outcome::ClientBroke(std::io::ErrorKind::ConnectionReset.into()),
            Outcome::ClientTooSlow,
            Outcome::ClientStale,
        ]
    };
    for (number, outcome) in (1..).zip(gone()) {
        let (mut serving, _client, _server) = serving(&mut scene).await;
        serving.moving = Moving::Dialing {
            permit: Permit::forced(),
            dial: Box::pin(std::future::pending()),
        };
        assert!(matches!(serving.handle_pump(outcome), Flow::End));
        let report = scene.board.report_of(None);
        assert_eq!(report.failed_for(HandoverReason::ClientLeft), number);
    }
    // Nothing was under way.
    for outcome in gone() {
        let (mut serving, _client, _server) = serving(&mut scene).await;
        assert!(matches!(serving.handle_pump(outcome), Flow::End));
    }
    let failed = scene.board.report_of(None).handovers_failed;
    assert_eq!(failed.iter().sum::<u64>(), 4);
}
