//! Tests of the places, the queue and who reads what.
#![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

use futures_util::FutureExt;

use super::*;
use crate::cache::tests::key;
use crate::cancel;

fn started(flights: &Flights, n: usize) -> (Flight, FlightWriter) {
    match flights.join(&key(n), || None::<()>) {
        Join::Started(flight, writer) => (flight, writer),
        other => panic!("{other:?}"),
    }
}

/// Starts a flight that has a place, or waits for one.
fn placed(flights: &Flights, n: usize) -> (Flight, FlightWriter, Option<oneshot::Receiver<()>>) {
    let (flight, writer) = started(flights, n);
    let granted = writer.ask_for_place().expect("room");
    (flight, writer, granted)
}

fn check(flights: &Flights, running: usize, waiting: usize, renewing: usize) {
    let counts = flights.counts();
    assert_eq!((counts.running, counts.waiting, counts.renewing), (running, waiting, renewing));
    let table = flights.0.table.lock();
    let stage = |wanted: fn(&Stage) -> bool, purpose| {
        table.flights.values().filter(|entry| wanted(&entry.stage) && entry.purpose == purpose).count()
    };
    assert_eq!(stage(|stage| matches!(stage, Stage::Running), Purpose::Fill), running);
    assert_eq!(stage(|stage| matches!(stage, Stage::Waiting(_)), Purpose::Fill), waiting);
    assert_eq!(stage(|stage| matches!(stage, Stage::Running), Purpose::Renew), renewing);
}

#[tokio::test]
async fn places_and_queue_have_an_end() {
    let flights = Flights::default();
    let crowd: Vec<_> = (0..MAX_RUNNING + MAX_WAITING).map(|n| placed(&flights, n)).collect();
    check(&flights, MAX_RUNNING, MAX_WAITING, 0);
    let (_flight, writer) = started(&flights, 1000);
    assert_eq!(writer.place().await, Err(QueueFull));
    writer.finish(Err(FetchError::Busy));
    // Those that renew have places of their own.
    assert!(!flights.renewals_are_full());
    let renewals: Vec<_> = (2000..).map_while(|n| flights.renew(&key(n), || true)).collect();
    assert_eq!((renewals.len(), flights.renewals_are_full()), (MAX_RENEWING, true));
    check(&flights, MAX_RUNNING, MAX_WAITING, MAX_RENEWING);
    drop((crowd, renewals));
    check(&flights, 0, 0, 0);
    assert_eq!(flights.counts().total, 0);
    assert_eq!(flights.0.refused.get(), 1);
}

#[tokio::test]
async fn places_go_to_the_next_in_order() {
    let flights = Flights::default();
    let mut running: Vec<_> = (0..MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    let (first, first_writer, first_granted) = placed(&flights, 100);
    let (_second, _second_writer, mut second_granted) = placed(&flights, 101);
    assert!(first.is_waiting());
    let (_reader, writer, _) = running.pop().expect("a flight");
    writer.finish(Err(FetchError::Busy));
    first_granted.expect("it waited").await.expect("a place");
    assert!(!first.is_waiting());
    assert!(second_granted.as_mut().expect("it waits").try_recv().is_err());
    // A reader that leaves ends a running flight while another waits.
    drop(first);
    second_granted.expect("it waited").await.expect("a place");
    let mut first_writer = first_writer;
    first_writer.ended().await;
    assert_eq!(flights.0.yielded.get(), 1);
    check(&flights, MAX_RUNNING, 0, 0);
}

#[tokio::test]
async fn a_flight_that_nobody_reads_goes_on_until_its_place_is_wanted() {
    let flights = Flights::default();
    let mut running: Vec<_> = (0..MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    let (flight, mut writer, _) = running.remove(3);
    drop(flight);
    check(&flights, MAX_RUNNING, 0, 0);
    // One comes back, and then its place is not to be had.
    let again = match flights.join(&key(3), || None::<()>) {
        Join::Collapsed(flight) => flight,
        other => panic!("{other:?}"),
    };
    let (waiting, waiting_writer, granted) = placed(&flights, 100);
    assert!(granted.is_some());
    drop((waiting, waiting_writer));
    check(&flights, MAX_RUNNING, 0, 0);
    drop(again);
    let (_flight, _writer, granted) = placed(&flights, 101);
    assert!(granted.is_none(), "a place at once");
    writer.ended().await;
    check(&flights, MAX_RUNNING, 0, 0);
    // What its task does after that changes nothing.
    writer.finish(Err(FetchError::Busy));
    check(&flights, MAX_RUNNING, 0, 0);
}

#[tokio::test]
async fn a_waiting_flight_goes_with_its_last_reader() {
    let flights = Flights::default();
    let _running: Vec<_> = (0..MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    let (flight, mut writer, _granted) = placed(&flights, 100);
    let other = match flights.join(&key(100), || None::<()>) {
        Join::Collapsed(flight) => flight,
        other => panic!("{other:?}"),
    };
    drop(flight);
    check(&flights, MAX_RUNNING, 1, 0);
    drop(other);
    check(&flights, MAX_RUNNING, 0, 0);
    writer.ended().await;
    // One of the same key that starts now is another one, which the old writer does not end.
    let (_new, _new_writer, _granted) = placed(&flights, 100);
    drop(writer);
    check(&flights, MAX_RUNNING, 1, 0);
}

#[tokio::test]
async fn a_renewal_needs_no_reader() {
    let flights = Flights::default();
    let writer = flights.renew(&key(0), || true).expect("a place");
    assert!(flights.renew(&key(0), || true).is_none(), "it is under way");
    assert!(flights.renew(&key(1), || false).is_none());
    assert_eq!(writer.place().await, Ok(()));
    match flights.join(&key(0), || None::<()>) {
        Join::Collapsed(flight) => drop(flight),
        other => panic!("{other:?}"),
    }
    check(&flights, 0, 0, 1);
    // Nor does it give its place up to one that fills.
    let crowd: Vec<_> = (100..=100 + MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    check(&flights, MAX_RUNNING, 1, 1);
    drop((crowd, writer));
    check(&flights, 0, 0, 0);
}

#[tokio::test]
async fn the_one_that_nobody_has_read_for_longest_gives_its_place_up() {
    let flights = Flights::default();
    let crowd: Vec<_> = (0..MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    // Their readers leave, that of the last one first.
    let unread = crowd.into_iter().rev().map(|(flight, writer, _)| {
        drop(flight);
        writer
    });
    let mut wanted = Vec::new();
    for (n, mut writer) in unread.collect::<Vec<_>>().into_iter().enumerate() {
        wanted.push(placed(&flights, 100 + n));
        assert!(writer.ended().now_or_never().is_some(), "{n}");
    }
}

#[tokio::test]
async fn a_task_dropped_at_any_await_leaves_nothing_behind() {
    let flights = Flights::default();
    let _running: Vec<_> = (0..MAX_RUNNING).map(|n| placed(&flights, n)).collect();
    let next = async || {
        let (flight, writer) = started(&flights, 100);
        async move {
            let _flight = flight;
            let place = writer.place();
            tokio::time::timeout(std::time::Duration::ZERO, place).await.expect_err("none is free");
        }
    };
    cancel::at_every_await(next, async |_| check(&flights, MAX_RUNNING, 0, 0)).await;
    check(&flights, MAX_RUNNING, 0, 0);
}
