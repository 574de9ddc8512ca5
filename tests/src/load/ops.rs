//! What a server sends, parsed in place. No I/O.
//!
//! For a generator that trusts its server: whole operations only, and no limits.

use anyhow::{Context as _, Result, bail};

/// One operation of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// MSG or HMSG.
    Message(Message<'a>),
    /// Wants a PONG.
    Ping,
    /// Answers a PING.
    Pong,
    /// `+OK`
    Ok,
    /// `-ERR` and its text.
    Error(&'a [u8]),
    /// JSON.
    Info(&'a [u8]),
}

/// One delivered message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The subscription it was delivered to.
    pub sid: &'a [u8],
    /// Where an answer is wanted.
    pub reply: Option<&'a [u8]>,
    /// Headers, if there are any, and payload.
    pub payload: &'a [u8],
}

/// The first operation in `unread` and its length; nothing if it is not all there yet.
///
/// # Errors
/// When it is none.
#[inline]
pub fn next(unread: &[u8]) -> Result<Option<(Op<'_>, usize)>> {
    let Some(end) = memchr::memchr(b'\n', unread) else {
        return Ok(None);
    };
    let line = unread[..end].strip_suffix(b"\r").unwrap_or(&unread[..end]);
    let length = end + 1;
    if let Some(arguments) = line
        .strip_prefix(b"MSG ")
        .or_else(|| line.strip_prefix(b"HMSG "))
    {
        let (size, rest) = last_word(arguments).context("a message without a size")?;
        let size = number(size)?;
        if unread.len() < length + size + 2 {
            return Ok(None);
        }
        if &unread[length + size..length + size + 2] != b"\r\n" {
            bail!("a payload that does not end where it should");
        }
        let rest = match line.first() {
            // The size of the headers is of no interest here.
            Some(b'H') => last_word(rest).context("HMSG without sizes")?.1,
            _ => rest,
        };
        let (sid, reply) = sid_and_reply(rest).context("a message without a subject")?;
        let message = Message {
            sid,
            reply,
            payload: &unread[length..length + size],
        };
        return Ok(Some((Op::Message(message), length + size + 2)));
    }
    let op = match line {
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Ok,
        _ => {
            if let Some(text) = line.strip_prefix(b"-ERR ") {
                Op::Error(text)
            } else if let Some(json) = line.strip_prefix(b"INFO ") {
                Op::Info(json)
            } else {
                bail!("not an operation: {}", String::from_utf8_lossy(line));
            }
        }
    };
    Ok(Some((op, length)))
}

/// `<subject> <sid> [reply]`
fn sid_and_reply(arguments: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (last, rest) = last_word(arguments)?;
    Some(match last_word(rest) {
        Some((sid, _)) => (sid, Some(last)),
        None => (last, None),
    })
}

/// The word after the last space, and what is before that.
fn last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().rposition(|byte| *byte == b' ')?;
    Some((&text[space + 1..], &text[..space]))
}

fn number(digits: &[u8]) -> Result<usize> {
    let mut value = 0_usize;
    for digit in digits {
        if !digit.is_ascii_digit() {
            bail!("not a size: {}", String::from_utf8_lossy(digits));
        }
        value = value * 10 + usize::from(digit - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(sid: &'a [u8], reply: Option<&'a [u8]>, payload: &'a [u8]) -> Op<'a> {
        Op::Message(Message {
            sid,
            reply,
            payload,
        })
    }

    #[test]
    fn every_operation_is_taken_apart_and_waits_until_it_is_whole() -> Result<()> {
        let cases: [(&[u8], Op<'_>); 8] = [
            (b"PING\r\n", Op::Ping),
            (b"PONG\r\n", Op::Pong),
            (b"+OK\r\n", Op::Ok),
            (b"-ERR 'no'\r\n", Op::Error(b"'no'")),
            (b"INFO {\"a\":1}\r\n", Op::Info(b"{\"a\":1}")),
            (b"MSG up 1 3\r\na\r\n\r\n", message(b"1", None, b"a\r\n")),
            (
                b"MSG up 12 in.b 0\r\n\r\n",
                message(b"12", Some(b"in.b"), b""),
            ),
            (
                b"HMSG up 3 to 4 6\r\nhhhhpp\r\n",
                message(b"3", Some(b"to"), b"hhhhpp"),
            ),
        ];
        for (bytes, op) in cases {
            for short in 0..bytes.len() {
                assert_eq!(next(&bytes[..short])?, None);
            }
            assert_eq!(next(&[bytes, b"PI"].concat())?, Some((op, bytes.len())));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_operation_is_an_error() {
        for bytes in [
            &b"HELLO\r\n"[..],
            b"MSG up 1 x\r\n",
            b"MSG 3\r\nabc\r\n",
            b"MSG up 1 3\r\nabcd\r\n",
        ] {
            assert!(next(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
