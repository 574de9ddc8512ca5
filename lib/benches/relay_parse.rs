//! How many messages of 128 bytes a second the relay's parsers find in buffers of 64 KiB, the size
//! it reads, in either direction (target: well above 20 million, so that they never matter).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

// Not the library's: the parsers are no part of its interface.
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the library uses what is not used here"
)]
#[path = "../src/relay/protocol/mod.rs"]
mod protocol;

use protocol::{ClientOp, ClientParser, ParseLimits, ServerOp, ServerParser, Step};

const BUFFER: usize = 64 * 1024;

/// How many complete operations of a client the bytes begin with.
fn client_operations(bytes: &[u8]) -> usize {
    let mut parser = ClientParser::new(ParseLimits::client());
    let (mut unread, mut operations) = (bytes, 0);
    loop {
        let (length, done) = match parser.next(unread) {
            Ok(Step::Line { op, length }) => (length, !matches!(op, ClientOp::Publish { .. })),
            Ok(Step::Payload { length, last }) => (length, last),
            Ok(Step::More) | Err(_) => return operations,
        };
        operations += usize::from(done);
        unread = unread.get(length..).unwrap_or_default();
    }
}

/// How many complete operations of a server the bytes begin with.
fn server_operations(bytes: &[u8]) -> usize {
    let mut parser = ServerParser::new(ParseLimits::server());
    let (mut unread, mut operations) = (bytes, 0);
    loop {
        let (length, done) = match parser.next(unread) {
            Ok(Step::Line { op, length }) => (length, !matches!(op, ServerOp::Message { .. })),
            Ok(Step::Payload { length, last }) => (length, last),
            Ok(Step::More) | Err(_) => return operations,
        };
        operations += usize::from(done);
        unread = unread.get(length..).unwrap_or_default();
    }
}

/// As many whole messages as fit.
fn buffer(line: impl Fn(usize) -> String) -> (Vec<u8>, u64) {
    let mut bytes = Vec::with_capacity(BUFFER);
    let mut messages = 0;
    loop {
        let message = line(messages) + &"x".repeat(128) + "\r\n";
        if bytes.len() + message.len() > BUFFER {
            return (bytes, messages as u64);
        }
        bytes.extend_from_slice(message.as_bytes());
        messages += 1;
    }
}

fn parse(criterion: &mut Criterion) {
    type Count = fn(&[u8]) -> usize;
    let cases: [(&str, Count, _); 4] = [
        (
            "PUB",
            client_operations,
            buffer(|_| "PUB orders.new.42 128\r\n".into()),
        ),
        (
            "HPUB",
            client_operations,
            buffer(|n| format!("HPUB orders.new.{n} _INBOX.Zk3.{n} 22 128\r\n")),
        ),
        (
            "MSG",
            server_operations,
            buffer(|_| "MSG orders.new.42 7 128\r\n".into()),
        ),
        (
            "HMSG",
            server_operations,
            buffer(|n| format!("HMSG orders.new.{n} 7 _INBOX.Zk3.{n} 22 128\r\n")),
        ),
    ];
    let mut group = criterion.benchmark_group("relay_parse");
    for (name, count, (bytes, messages)) in cases {
        assert_eq!(count(&bytes) as u64, messages, "{name}");
        group.throughput(Throughput::Elements(messages));
        group.bench_function(name, |bencher| bencher.iter(|| count(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
