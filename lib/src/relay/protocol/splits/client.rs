//! What a client may say, and what is to be heard of it.

use super::super::ClientOp;
use super::*;

pub(super) fn said() -> impl Strategy<Value = Said> {
    let simple = select(
        &[
            ("PING", ClientOp::Ping),
            ("PONG", ClientOp::Pong),
            ("+OK", ClientOp::Other),
        ][..],
    )
    .prop_flat_map(|(verb, op)| {
        line(verb, vec![]).prop_map(move |line| (line, vec![format!("{op:?}")]))
    });
    prop_oneof![simple, connect(), subscribe(), unsubscribe(), publish()]
}

fn connect() -> impl Strategy<Value = Said> {
    word().prop_flat_map(|name| {
        let json = format!("{{\"name\":{name:?}}}");
        let op = format!("CONNECT {}", json.as_bytes().escape_ascii());
        line("CONNECT", vec![json]).prop_map(move |line| (line, vec![op.clone()]))
    })
}

fn subscribe() -> impl Strategy<Value = Said> {
    (word(), proptest::option::of(word()), word()).prop_flat_map(|(subject, queue, sid)| {
        let op = ClientOp::Subscribe {
            subject: subject.as_bytes(),
            queue: queue.as_deref().map(str::as_bytes),
            sid: sid.as_bytes(),
        };
        let op = format!("{op:?}");
        let words = [Some(subject), queue, Some(sid)]
            .into_iter()
            .flatten()
            .collect();
        line("SUB", words).prop_map(move |line| (line, vec![op.clone()]))
    })
}

fn unsubscribe() -> impl Strategy<Value = Said> {
    (word(), proptest::option::of(1_u64..1_000_000_000)).prop_flat_map(|(sid, max)| {
        let op = ClientOp::Unsubscribe {
            sid: sid.as_bytes(),
            max,
        };
        let op = format!("{op:?}");
        let words = [Some(sid), max.map(|max| max.to_string())]
            .into_iter()
            .flatten()
            .collect();
        line("UNSUB", words).prop_map(move |line| (line, vec![op.clone()]))
    })
}

fn publish() -> impl Strategy<Value = Said> {
    let headers = proptest::option::of(any::<Index>());
    (word(), proptest::option::of(word()), headers, payload()).prop_flat_map(
        |(subject, reply, headers, payload)| {
            let size = payload.len() as u64;
            let op = ClientOp::Publish {
                headers: headers.is_some(),
                size,
            };
            let op = format!("{op:?}");
            let verb = if headers.is_some() { "HPUB" } else { "PUB" };
            let headers = headers.map(|headers| headers.index(payload.len() + 1).to_string());
            let words = [Some(subject), reply, headers, Some(size.to_string())];
            line(verb, words.into_iter().flatten().collect())
                .prop_map(move |line| with_payload(line, op.clone(), &payload))
        },
    )
}
