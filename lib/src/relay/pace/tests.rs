//! Many sessions and one clock: who moves when, and who waits for whom.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinSet;

use super::*;
use crate::relay::testbed::Testbed;

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn pacer(bed: &Testbed, spread: Duration, at_once: usize) -> (Pacer, Arc<Board>) {
    let board = Arc::new(Board::default());
    (Pacer::new(&bed.store, spread, at_once, &board), board)
}

#[tokio::test(start_paused = true)]
async fn all_move_within_the_spread_and_few_at_once() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, board) = pacer(&bed, 10 * SECOND, 3);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut sessions = JoinSet::new();
    for _ in 0..100 {
        let mut pace = pacer.enter(&first);
        let (store, running, most) = (
            Arc::clone(&bed.store),
            Arc::clone(&running),
            Arc::clone(&most),
        );
        sessions.spawn(async move {
            let permit = pace.permit().await;
            assert!(!permit.is_forced());
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(SECOND / 100).await;
            running.fetch_sub(1, SeqCst);
            let asked = Instant::now();
            pace.moved(permit, &store.active().unwrap());
            asked
        });
    }
    tokio::task::yield_now().await;
    let published = Instant::now();
    bed.publish(DAY);
    let mut last = published;
    while let Some(moved) = sessions.join_next().await {
        last = last.max(moved.unwrap());
    }
    let took = last - published;
    assert!(took > 5 * SECOND && took < 11 * SECOND, "{took:?}");
    assert!(most.load(SeqCst) <= 3);
    assert_eq!(board.report_of(None).behind, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_without_a_reason() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, board) = pacer(&bed, SECOND, 1);
    let mut pace = pacer.enter(&first);
    let waited = tokio::time::timeout(DAY, pace.permit()).await;
    assert!(waited.is_err());
    assert_eq!(board.report_of(None).behind, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_came_up_on_an_old_generation_is_behind_at_once() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, board) = pacer(&bed, SECOND, 1);
    bed.publish(DAY);
    let mut pace = pacer.enter(&first);
    assert_eq!(board.report_of(None).behind, 1);
    tokio::time::timeout(2 * SECOND, pace.permit())
        .await
        .unwrap();
    drop(pace);
    assert_eq!(board.report_of(None).behind, 0);
}

/// A session selects over its traffic too, so its wait is dropped and taken up again all the time.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_keeps_its_place() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, _) = pacer(&bed, Duration::ZERO, 1);
    let mut holder = pacer.enter(&first);
    let mut busy = pacer.enter(&first);
    let mut late = pacer.enter(&first);
    bed.publish(DAY);
    let held = holder.permit().await;
    for _ in 0..10 {
        tokio::select! {
            biased;
            _ = busy.permit() => unreachable!("the slot is taken"),
            () = tokio::task::yield_now() => {}
        }
    }
    let late = tokio::spawn(async move {
        let _permit = late.permit().await;
        Instant::now()
    });
    tokio::task::yield_now().await;
    holder.moved(held, &bed.store.active().unwrap());
    let permit = busy.permit().await;
    tokio::time::sleep(SECOND).await;
    let released = Instant::now();
    drop(permit);
    assert!(late.await.unwrap() >= released);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_forced_before_the_certificate_ends() {
    let bed = Testbed::new();
    let first = bed.publish(600 * SECOND);
    let started = Instant::now();
    let (pacer, _) = pacer(&bed, SECOND, 1);
    let mut pace = pacer.enter(&first);
    bed.publish(DAY);
    let mut tries = 0;
    loop {
        let permit = pace.permit().await;
        if permit.is_forced() {
            break;
        }
        tries += 1;
        pace.failed(permit);
    }
    let forced = started.elapsed();
    assert!((10..40).contains(&tries), "{tries} tries");
    let slack = 5 * SECOND;
    assert!(
        forced > 570 * SECOND - slack && forced < 570 * SECOND + slack,
        "{forced:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_cannot_move_is_left_alone_until_it_must() {
    let bed = Testbed::new();
    let first = bed.publish(600 * SECOND);
    let started = Instant::now();
    let (pacer, board) = pacer(&bed, SECOND, 1);
    let mut pace = pacer.enter(&first);
    bed.publish(DAY);
    let permit = pace.permit().await;
    pace.impossible(permit);
    assert_eq!(board.report_of(None).behind, 1);
    let permit = pace.permit().await;
    assert!(permit.is_forced());
    assert!(started.elapsed() > 560 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_newer_generation_is_news_to_who_has_just_moved() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, _) = pacer(&bed, SECOND, 1);
    let mut pace = pacer.enter(&first);
    let second = bed.publish(DAY);
    let permit = pace.permit().await;
    let third = bed.publish(DAY);
    pace.moved(permit, &second);
    let permit = tokio::time::timeout(2 * SECOND, pace.permit())
        .await
        .unwrap();
    pace.moved(permit, &third);
    assert!(tokio::time::timeout(DAY / 2, pace.permit()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_shuts_down_is_a_reason_too() {
    let bed = Testbed::new();
    let first = bed.publish(DAY);
    let (pacer, board) = pacer(&bed, SECOND, 1);
    let mut pace = pacer.enter(&first);
    pace.leave();
    let permit = tokio::time::timeout(2 * SECOND, pace.permit())
        .await
        .unwrap();
    assert!(!permit.is_forced());
    assert_eq!(board.report_of(None).behind, 0);
    pace.moved(permit, &first);
    assert!(tokio::time::timeout(DAY / 2, pace.permit()).await.is_err());
}
