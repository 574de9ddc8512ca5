//! What is due although bytes never pause, and what time means for a server that the relay itself does not read.

use tokio::time::advance;

use super::bench::{Bench, INFO, Scripted};
use super::{SECOND, loses_its_server, patience};
use crate::relay::link::port::Port;
use crate::relay::link::pump::{Outcome, Patience};
use crate::relay::session::{Abort, Event, Move};

/// More than the pump takes in one call.
const MANY: usize = 1000;
const MESSAGE: &str = "MSG a 1 2\r\nhi\r\n";

/// A client that never pauses.
fn floods(client: &Scripted) {
    for _ in 0..MANY {
        client.says("PUB a 2\r\nhi\r\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_handover_ends_in_time_under_traffic() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\n");
    assert!(bench.turn().is_none());
    let silent = Port::new(Scripted::default(), b"");
    let move_to = Move {
        info: INFO.to_vec(),
        is_same_server: true,
        is_forced: false,
    };
    bench.pump.begin_handover(silent, move_to);
    floods(&bench.client);
    assert!(bench.turn().is_none());
    // A step and then the way back take 2 s each; one call notes it, the next one tells it.
    let mut told = None;
    for _ in 0..3 {
        advance(3 * SECOND).await;
        told = told.or(bench.turn());
    }
    assert!(
        matches!(told, Some(Outcome::Event(Event::GivenUp(Abort::Timeout)))),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_publishes_without_a_pause_and_takes_nothing_is_too_slow() {
    let mut bench = Bench::new(patience());
    bench.client.says("SUB a 1\r\n");
    bench.client.dawdles(true);
    bench.server.says(MESSAGE);
    floods(&bench.client);
    assert!(bench.turn().is_none());
    advance(11 * SECOND).await;
    let told = [bench.turn(), bench.turn()];
    let told = told.into_iter().flatten().next();
    assert!(matches!(told, Some(Outcome::ClientTooSlow)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_takes_is_asked_whether_it_is_there() {
    let mut bench = Bench::new(Patience {
        ping_interval: 10 * SECOND,
        ..patience()
    });
    floods(&bench.client);
    assert!(bench.turn().is_none());
    advance(11 * SECOND).await;
    assert!(bench.turn().is_none());
    assert!(bench.turn().is_none());
    let heard = bench.server.heard();
    assert_eq!(heard.matches("PING\r\n").count(), 1, "{heard}");
}

/// It may have answered long ago: nobody has looked.
#[tokio::test(start_paused = true)]
async fn a_server_is_not_silent_while_it_is_not_read() {
    let mut bench = Bench::new(Patience {
        ping_interval: SECOND,
        stall: 60 * SECOND,
        ..patience()
    });
    bench.client.says("SUB a 1\r\n");
    bench.client.dawdles(true);
    bench.server.says(MESSAGE.repeat(100_000));
    for _ in 0..30 {
        assert!(bench.turn().is_none());
        advance(SECOND).await;
    }
    bench.client.dawdles(false);
    while bench.turn().is_none() && bench.client.heard().contains("MSG") {}
    // Now it is read, and really says nothing.
    for _ in 0..2 {
        advance(SECOND).await;
        assert!(bench.turn().is_none());
    }
    advance(SECOND).await;
    loses_its_server(&mut bench);
}
