//! What becomes of bytes when a side is slow, silent or gone.

mod bench;
mod saturated;

use std::time::Duration;

use super::{Outcome, Patience};
use crate::relay::session::{Event, Link, Loss};
use bench::{Bench, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn patience() -> Patience {
    Patience {
        stall: 10 * SECOND,
        idle: None,
        operation: 60 * SECOND,
        ping_interval: 3600 * SECOND,
        buffered: 64 * 1024,
    }
}

/// The server is lost, and the session goes on without one.
fn loses_its_server(bench: &mut Bench) {
    let outcome = bench.turn();
    assert!(
        matches!(outcome, Some(Outcome::Lost(Link::Current, _))),
        "{outcome:?}"
    );
    assert_eq!(bench.pump.lose(Link::Current), Loss::Outage);
}

#[tokio::test(start_paused = true)]
async fn what_was_judged_before_the_server_died_is_not_judged_again() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\n");
    assert!(bench.turn().is_none());
    bench.server.refuses();
    bench
        .client
        .says("PING\r\nPUB a 2\r\nhi\r\nPUB a 11\r\nhal");
    loses_its_server(&mut bench);
    let server = bench.restore();
    bench.client.says("f a word\r\nPUB b 2\r\nok\r\n");
    assert!(bench.turn().is_none());
    // What was on its way is gone, the rest of the operation with it; the PING is asked once.
    assert_eq!(server.heard(), "SUB a 1\r\nPING\r\nPUB b 2\r\nok\r\n");
    assert_eq!(bench.client.heard(), "");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_said_before_it_broke_is_passed_on() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\nPING\r\n");
    assert!(bench.turn().is_none());
    let last = "PONG\r\nMSG a 1 2\r\nhi\r\n-ERR 'Stale Connection'\r\n";
    bench.server.says(last);
    bench.server.resets();
    loses_its_server(&mut bench);
    assert!(bench.client.heard().starts_with(last));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_more_is_heard_to_the_end() {
    let mut bench = Bench::new(patience());
    bench.server.refuses();
    bench.client.says("PUB a 2\r\nhi\r\n");
    bench.server.says("-ERR 'Maximum Payload Violation'\r\n");
    bench.server.says("");
    loses_its_server(&mut bench);
    let heard = bench.client.heard();
    assert!(heard.starts_with("-ERR 'Maximum"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_nobody_has_to_speak_first() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\n");
    assert!(bench.turn().is_none());
    bench.server.says("");
    loses_its_server(&mut bench);
    bench.client.says("PUB a 2\r\nhi\r\n");
    assert!(bench.turn().is_none());
    let server = bench.restore();
    assert!(bench.turn().is_none());
    assert_eq!(server.heard(), "SUB a 1\r\nPUB a 2\r\nhi\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_is_heard_to_the_end() {
    let mut bench = Bench::new(patience());
    bench.client.says("PUB a 2\r\nhi\r\n");
    bench.client.resets();
    let outcome = bench.turn();
    assert!(
        matches!(outcome, Some(Outcome::ClientBroke(_))),
        "{outcome:?}"
    );
    assert_eq!(bench.server.heard(), "PUB a 2\r\nhi\r\n");

    let mut bench = Bench::new(patience());
    bench.client.says("PUB a 2\r\nhi\r\n");
    bench.client.refuses();
    bench.server.says("PING\r\n");
    let outcome = bench.turn();
    assert!(
        matches!(outcome, Some(Outcome::ClientBroke(_))),
        "{outcome:?}"
    );
    assert_eq!(bench.server.heard(), "PUB a 2\r\nhi\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_repeats_itself_is_noted_once() {
    let mut bench = Bench::new(patience());
    let leaves = br#"INFO {"server_id":"S","max_payload":1048576,"ldm":true}"#;
    let many = [leaves, b"\r\n".as_slice()].concat().repeat(1000);
    for _ in 0..20 {
        bench.server.says(&many);
    }
    let mut noted = 0;
    while let Some(outcome) = bench.turn() {
        assert!(
            matches!(outcome, Outcome::Event(Event::LameDuck)),
            "{outcome:?}"
        );
        assert!(bench.pump.events.is_empty(), "{}", bench.pump.events.len());
        noted += 1;
    }
    assert!(
        (1..=20 * many.len() / (64 * 1024) + 20).contains(&noted),
        "{noted}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_only_listens_is_not_idle() {
    let mut bench = Bench::new(Patience {
        idle: Some(10 * SECOND),
        ..patience()
    });
    bench.client.says("SUB a 1\r\n");
    for _ in 0..5 {
        assert!(bench.turn().is_none());
        tokio::time::advance(8 * SECOND).await;
        bench.server.says("MSG a 1 2\r\nhi\r\n");
    }
    assert!(bench.turn().is_none());
    tokio::time::advance(11 * SECOND).await;
    let outcome = bench.turn();
    assert!(matches!(outcome, Some(Outcome::ClientStale)), "{outcome:?}");
}

/// In the middle of an operation, and while the relay reads, so that it is the client's turn.
#[tokio::test(start_paused = true)]
async fn half_an_operation_is_waited_for_but_not_for_ever() {
    for half in ["PUB a 9\r\nhal", "PU"] {
        let mut bench = Bench::new(patience());
        bench.client.says(half);
        assert!(bench.turn().is_none());
        tokio::time::advance(59 * SECOND).await;
        assert!(bench.turn().is_none());
        tokio::time::advance(2 * SECOND).await;
        let outcome = bench.turn();
        assert!(matches!(outcome, Some(Outcome::ClientStale)), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_stale_while_it_is_not_read() {
    let mut bench = Bench::new(Patience {
        idle: Some(10 * SECOND),
        ..patience()
    });
    // Its server does not take what it says.
    bench.server.dawdles(true);
    let large = format!("PUB a 200000\r\n{}", "x".repeat(100_000));
    bench.client.says(&large);
    assert!(bench.turn().is_none());
    tokio::time::advance(100 * SECOND).await;
    assert!(bench.turn().is_none());
    bench.server.dawdles(false);
    assert!(bench.turn().is_none());
    assert_eq!(bench.server.heard(), large);
    bench.client.says(format!("{}\r\n", "x".repeat(100_000)));
    assert!(bench.turn().is_none());
    // It has none.
    bench.server.says("");
    loses_its_server(&mut bench);
    tokio::time::advance(100 * SECOND).await;
    assert!(bench.turn().is_none());
    bench.restore();
    assert!(bench.turn().is_none());
    tokio::time::advance(9 * SECOND).await;
    assert!(bench.turn().is_none());
}

/// Behind the cut of a handover, where there is no way back.
#[tokio::test(start_paused = true)]
async fn a_client_that_pauses_does_not_make_its_server_late() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\n");
    assert!(bench.turn().is_none());
    let next = bench.begin_handover();
    let answer = |server: &Scripted, told: String| {
        let pings = told.matches("PING").count();
        if pings > 0 {
            server.says("PONG\r\n".repeat(pings));
        }
    };
    loop {
        assert!(bench.turn().is_none());
        answer(&next, next.heard());
        let told = bench.server.heard();
        if told.contains("UNSUB") {
            break;
        }
        answer(&bench.server, told);
    }
    bench.client.dawdles(true);
    let message = format!("MSG a 1 100000\r\n{}\r\n", "x".repeat(100_000));
    bench.server.says(message.repeat(2) + "PONG\r\nPONG\r\n");
    // The longest step takes 2 s, a client may take nothing for 10 s.
    for _ in 0..9 {
        assert!(bench.turn().is_none());
        tokio::time::advance(SECOND).await;
    }
    assert!(bench.turn().is_none());
    bench.client.dawdles(false);
    let outcome = bench.turn();
    assert!(
        matches!(outcome, Some(Outcome::Event(Event::Switched { .. }))),
        "{outcome:?}"
    );
    assert!(bench.client.heard().starts_with(&message.repeat(2)));
}
