//! However the bytes arrive, the operations are the same; the bytes that go on are the bytes that
//! came; nothing panics, whatever they are.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::fuzzing::{self, Heard, hear};
use super::{ClientParser, ParseLimits, ServerParser};

/// Pieces of protocol and of junk, in any order: most of it is refused, much of it late.
fn almost_protocol() -> impl Strategy<Value = Vec<u8>> {
    let verb = select(
        &[
            "PUB ", "HPUB ", "SUB ", "UNSUB ", "PING", "PONG", "CONNECT ", "INFO ", "+OK", "-ERR ",
            "MSG ", "HMSG\t", "pub ", "mSg ", "A+ ", "RMSG ", "P", "",
        ][..],
    );
    let argument =
        "[a-c.*>]{1,3} |[0-9]{1,10} |'[a-z]{0,3}'|\\{\"[a-z]{1,4}\":[0-9]\\}|-1|[\\x00-\\x20]";
    let end = select(&["\r\n", "\r\n", "\n", "\r", "\r\r\n", ""][..]);
    let line = (verb, vec(argument, 0..6), end).prop_map(|(verb, arguments, end)| {
        [
            verb.as_bytes(),
            arguments.concat().as_bytes(),
            end.as_bytes(),
        ]
        .concat()
    });
    let payload = vec(any::<u8>(), 0..12).prop_map(|mut bytes| {
        bytes.extend_from_slice(b"\r\n");
        bytes
    });
    vec(prop_oneof![3 => line, 1 => payload], 0..12).prop_map(|lines| lines.concat())
}

mod client;
mod server;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..256)) {
        fuzzing::client(&bytes);
        fuzzing::server(&bytes);
        fuzzing::info(&bytes);
        fuzzing::connect(&bytes);
    }

    #[test]
    fn bytes_that_look_like_the_protocol(bytes in almost_protocol()) {
        fuzzing::client(&bytes);
        fuzzing::server(&bytes);
    }

    #[test]
    fn what_a_client_says_is_what_is_heard(said in vec(client::said(), 0..20), pieces in vec(0_usize..40, 1..40)) {
        let (bytes, expected) = spoken(said);
        let pieces = || pieces.iter().copied().chain([bytes.len()]);
        let parser = || ClientParser::new(ParseLimits::client());
        prop_assert_eq!(&hear(parser(), &bytes, pieces()), &expected);
        prop_assert_eq!(&hear(parser(), &bytes, [bytes.len()]), &expected);
    }

    #[test]
    fn what_a_server_says_is_what_is_heard(said in vec(server::said(), 0..20), pieces in vec(0_usize..40, 1..40)) {
        let (bytes, expected) = spoken(said);
        let pieces = || pieces.iter().copied().chain([bytes.len()]);
        let parser = || ServerParser::new(ParseLimits::server());
        prop_assert_eq!(&hear(parser(), &bytes, pieces()), &expected);
        prop_assert_eq!(&hear(parser(), &bytes, [bytes.len()]), &expected);
    }

    /// Operations that are whole are whole wherever the bytes end.
    #[test]
    fn what_is_cut_off_is_waited_for(said in vec(client::said(), 1..8), cut in any::<Index>()) {
        let (bytes, whole) = spoken(said);
        let cut = &bytes[..cut.index(bytes.len())];
        let heard = hear(ClientParser::new(ParseLimits::client()), cut, [cut.len()]);
        prop_assert_eq!(heard.error, None);
        prop_assert!(whole.operations.starts_with(&heard.operations));
    }
}

/// One operation as bytes, and what a parser should say of it.
type Said = (Vec<u8>, Vec<String>);

/// All of it in a row.
fn spoken(said: Vec<Said>) -> (Vec<u8>, Heard) {
    let (bytes, operations): (Vec<_>, Vec<_>) = said.into_iter().unzip();
    let bytes = bytes.concat();
    let expected = Heard {
        operations: operations.concat(),
        error: None,
        forwarded: Some(bytes.len()),
        at_boundary: true,
    };
    (bytes, expected)
}

/// A verb in any case, words with any blanks between them, either line end.
fn line(verb: &'static str, words: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let gaps = vec("[ \t]{1,3}", words.len());
    (vec(any::<bool>(), verb.len()), gaps, "[ \t]{0,2}\r?\n").prop_map(move |(lower, gaps, end)| {
        let mut line: String = verb
            .chars()
            .zip(lower)
            .map(|(letter, lower)| {
                if lower {
                    letter.to_ascii_lowercase()
                } else {
                    letter
                }
            })
            .collect();
        for (gap, word) in gaps.iter().zip(&words) {
            line.push_str(gap);
            line.push_str(word);
        }
        (line + &end).into_bytes()
    })
}

fn word() -> impl Strategy<Value = String> {
    "[!-~]{1,20}|[!-~\u{7f}-\u{2000}]{1,9}|[!-~][\\x00-\\x08]"
}

/// A payload with its line end; most have headers in front that nobody looks into.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..64),
        select(vec!["\r\n", "\r", "\n", "PING\r\n"]).prop_map(|text| text.as_bytes().to_vec())
    ]
}

fn with_payload(line: Vec<u8>, op: String, payload: &[u8]) -> Said {
    let payload = [payload, b"\r\n"].concat();
    let operations = vec![op, payload.escape_ascii().to_string()];
    ([line, payload].concat(), operations)
}
