//! What a server may say, and what is to be heard of it.

use super::super::ServerOp;
use super::*;

pub(super) fn said() -> impl Strategy<Value = Said> {
    let simple = select(vec![
        ("PING", vec![], ServerOp::Ping),
        ("PONG", vec![], ServerOp::Pong),
        ("+OK", vec![], ServerOp::Ok),
        (
            "INFO",
            vec!["{\"a\": [1, 2]}"],
            ServerOp::Info(b"{\"a\": [1, 2]}"),
        ),
        ("-ERR", vec!["'it''s bad'"], ServerOp::Error(b"it''s bad")),
    ])
    .prop_flat_map(|(verb, words, op)| {
        let op = format!("{op:?}");
        line(verb, words.into_iter().map(str::to_owned).collect())
            .prop_map(move |line| (line, vec![op.clone()]))
    });
    prop_oneof![1 => simple, 2 => message()]
}

fn message() -> impl Strategy<Value = Said> {
    let headers = proptest::option::of(any::<Index>());
    (
        word(),
        word(),
        proptest::option::of(word()),
        headers,
        payload(),
    )
        .prop_flat_map(|(subject, sid, reply, headers, payload)| {
            let size = payload.len() as u64;
            let op = ServerOp::Message {
                sid: sid.as_bytes(),
                headers: headers.is_some(),
                size,
            };
            let op = format!("{op:?}");
            let verb = if headers.is_some() { "HMSG" } else { "MSG" };
            let headers = headers.map(|headers| headers.index(payload.len() + 1).to_string());
            let words = [
                Some(subject),
                Some(sid),
                reply,
                headers,
                Some(size.to_string()),
            ];
            line(verb, words.into_iter().flatten().collect())
                .prop_map(move |line| with_payload(line, op.clone(), &payload))
        })
}
