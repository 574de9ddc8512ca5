//! What no client should say, judged by a real nats-server (`testdata/relay/judged.json`, recorded by
//! `testdata/relay/make.py`): the relay gives the same answer, or is stricter on purpose.

use serde::Deserialize;

use super::fuzzing::corpus;
use super::{ClientOp, ClientParser, Connect, ParseLimits, Step, is_subject};

#[derive(Deserialize)]
struct Case {
    name: String,
    sent: Vec<Part>,
    /// The lines of the server that matter: PONG, +OK and -ERR.
    heard: Vec<String>,
    closed: bool,
    stricter: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Repeated(char, usize),
}

impl Case {
    fn sent(&self) -> Vec<u8> {
        let text: String = self
            .sent
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Repeated(letter, count) => letter.to_string().repeat(*count),
            })
            .collect();
        text.chars()
            .map(|byte| u8::try_from(byte).unwrap())
            .collect()
    }
}

/// What the relay can tell without a server: PONG, `+OK` for a CONNECT, that there is no such subject, and why it closes.
fn judge(sent: &[u8]) -> (Vec<String>, bool) {
    let mut parser = ClientParser::new(ParseLimits::client());
    let mut heard = Vec::new();
    let mut unread = sent;
    loop {
        let length = match parser.next(unread) {
            Ok(Step::Line { op, length }) => {
                match op {
                    ClientOp::Subscribe { subject, .. } if !is_subject(subject) => {
                        heard.push("-ERR 'Invalid Subject'".to_owned());
                    }
                    ClientOp::Ping => heard.push("PONG".to_owned()),
                    ClientOp::Connect(json) => match Connect::parse(json) {
                        Ok(connect) if connect.verbose() => heard.push("+OK".to_owned()),
                        Ok(_) => {}
                        Err(_) => return (heard, true),
                    },
                    _ => {}
                }
                length
            }
            Ok(Step::Payload { length, .. }) => length,
            Ok(Step::More) => return (heard, false),
            Err(error) => {
                heard.push(format!("-ERR '{}'", error.answer()));
                return (heard, true);
            }
        };
        unread = &unread[length..];
    }
}

#[test]
fn bad_input_gets_the_answer_of_nats_server() {
    let cases: Vec<Case> = serde_json::from_slice(&corpus::read("judged.json")).unwrap();
    assert!(cases.len() > 80);
    for case in &cases {
        let name = &case.name;
        let (mut heard, closed) = judge(&case.sent());
        if let Some(reason) = &case.stricter {
            assert!(
                closed && !case.closed,
                "{name}: not stricter, although {reason}"
            );
            continue;
        }
        assert_eq!(closed, case.closed, "{name}: {heard:?}");
        // Where nats-server closes without a word, the relay has one.
        if case.closed && !case.heard.iter().any(|line| line.starts_with("-ERR")) {
            heard.retain(|line| line != "-ERR 'Parser Error'");
        }
        assert_eq!(heard, case.heard, "{name}");
    }
}

/// With the smallest pieces too, where nats-server itself is not exact.
#[test]
fn bad_input_is_refused_in_any_pieces() {
    let cases: Vec<Case> = serde_json::from_slice(&corpus::read("judged.json")).unwrap();
    for case in cases {
        let sent = case.sent();
        // One byte at a time over a megabyte teaches nothing new.
        super::fuzzing::client(&sent[..sent.len().min(10_000)]);
    }
}
