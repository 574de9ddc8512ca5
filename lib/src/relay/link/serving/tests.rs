//! Decisions that depend on what a session was in the middle of.

use super::*;
use crate::relay::dial::Wish;
use crate::relay::link::tests::Scene;
use crate::relay::settings::RelaySettings;

#[tokio::test]
async fn a_server_that_is_lost_at_the_last_chance_asks_nobody_to_leave() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let (stream, admission, client) = scene.pair().await;
    let connect = Connect::parse(br#"{"verbose":false,"protocol":1}"#).unwrap();
    let dialer = &scene.shared.dialer;
    let arrived = Arrived {
        stream,
        unread: Vec::new(),
        dialed: dialer.join(&Wish::default(), &connect).await.unwrap(),
        connect,
    };
    let _server = scene.line().await;
    let mut serving = Serving::new(arrived, admission, Arc::clone(&scene.shared));
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
