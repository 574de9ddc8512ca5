//! Finds PEM blocks in bytes (RFC 7468) and says where. Owns positions and markers; decoding of
//! public blocks is left to `rustls-pki-types`. Must not know what a block means.
//!
//! `rustls-pki-types` skips whatever it does not recognise: an indented `BEGIN`, one glued to the
//! line before, a byte order mark, OpenSSL's `TRUSTED CERTIFICATE`. A certificate that silently
//! goes missing is worse than an error, so blocks are located here, strictly.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// What the marker says the block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Certificate,
    Crl,
    PrivateKey(KeyEncoding),
    /// A private key in a form that is never used: encrypted, OpenSSH, DSA.
    UnusableKey(&'static str),
    /// Something that does not matter here, such as `EC PARAMETERS`.
    Other,
}

/// How a private key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    Pkcs8,
    Pkcs1,
    Sec1,
}

/// One block, from `BEGIN` to `END`.
pub(super) struct Block<'a> {
    pub(super) label: Label,
    /// The line of `BEGIN`, counted from 1.
    pub(super) line: usize,
    text: &'a [u8],
    body: &'a [u8],
}

impl Block<'_> {
    /// The bytes of a block that is no secret; none if its base64 is damaged.
    pub(super) fn decode(&self) -> Option<Vec<u8>> {
        // The error is dropped on purpose: it may quote the input.
        let (_, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(self.text).ok()?;
        (!der.is_empty()).then_some(der)
    }

    /// The bytes of a private key. Not through `rustls-pki-types`, whose base64 buffer is freed
    /// without being zeroised.
    pub(super) fn decode_secret(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.body.len()));
        text.extend(self.body.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; text.len()]);
        let length = Base64::decode(text.as_slice(), &mut der).ok()?.len();
        der.truncate(length);
        (length > 0).then_some(der)
    }
}

/// Text that is not PEM although it should be. Names a line, never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    line: usize,
    problem: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// Iterates over the blocks of a file. After an error it goes on with what follows.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    line: usize,
    refusal: Option<&'static str>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let refusal = foreign_encoding(text);
        Self {
            rest: if refusal.is_some() { &[] } else { text },
            line: 1,
            refusal,
        }
    }

    /// The next line without its ending: LF, CRLF or a lone CR.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.get(1..))
            .unwrap_or_default();
        self.line += 1;
        Some(line)
    }

    /// Reads on from a `BEGIN` line to its `END`.
    fn block(&mut self, start: &'a [u8], first: &'a [u8]) -> Result<Block<'a>, Malformed> {
        let line = self.line - 1;
        let malformed = |line, problem| Err(Malformed { line, problem });
        let Some(name) = first
            .strip_prefix(BEGIN)
            .map(<[u8]>::trim_ascii_end)
            .and_then(|rest| rest.strip_suffix(DASHES))
            .filter(|name| !name.contains(&b'-'))
        else {
            return malformed(
                line,
                "the BEGIN line is damaged or does not end after its label",
            );
        };
        let Some(mut label) = label(name) else {
            return malformed(
                line,
                "a certificate in OpenSSL's own or an obsolete format; \
                 convert it with `openssl x509 -in FILE -out FILE`",
            );
        };
        let body = self.rest;
        loop {
            let (before, number) = (self.rest, self.line);
            let Some(text) = self.next_line() else {
                return malformed(line, "BEGIN without END");
            };
            if text.starts_with(BEGIN) {
                // Read this line again as the start of its own block.
                (self.rest, self.line) = (before, number);
                return malformed(line, "BEGIN without END before the next BEGIN");
            }
            if contains(text, BEGIN) {
                return malformed(number, "BEGIN does not start its line");
            }
            if let Some(ending) = text.strip_prefix(END) {
                let length = |from: &[u8], to: &[u8]| from.len().saturating_sub(to.len());
                return match ending.strip_prefix(name) {
                    Some(dashes) if dashes.starts_with(DASHES) => Ok(Block {
                        label,
                        line,
                        text: start.get(..length(start, self.rest)).unwrap_or_default(),
                        body: body.get(..length(body, before)).unwrap_or_default(),
                    }),
                    _ => malformed(number, "END does not match the BEGIN before it"),
                };
            }
            // RFC 1421, section 4.6.1.1: how OpenSSL marks an encrypted PKCS#1 or SEC1 key.
            if matches!(label, Label::PrivateKey(_)) && text.starts_with(b"Proc-Type:") {
                label = Label::UnusableKey("encrypted");
            }
        }
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(problem) = self.refusal.take() {
            return Some(Err(Malformed { line: 1, problem }));
        }
        loop {
            let (start, line) = (self.rest, self.line);
            let text = self.next_line()?;
            let problem = if text.starts_with(BEGIN) {
                return Some(self.block(start, text));
            } else if text.starts_with(END) {
                "END without BEGIN"
            } else if contains(text, BEGIN) && !text.trim_ascii_start().starts_with(b"#") {
                // A block that somebody commented out with `#` is meant to be skipped.
                "BEGIN does not start its line"
            } else {
                continue;
            };
            return Some(Err(Malformed { line, problem }));
        }
    }
}

/// None for the certificate formats that must not be skipped silently.
fn label(name: &[u8]) -> Option<Label> {
    Some(match name {
        b"CERTIFICATE" => Label::Certificate,
        b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => return None,
        b"X509 CRL" => Label::Crl,
        b"PRIVATE KEY" => Label::PrivateKey(KeyEncoding::Pkcs8),
        b"RSA PRIVATE KEY" => Label::PrivateKey(KeyEncoding::Pkcs1),
        b"EC PRIVATE KEY" => Label::PrivateKey(KeyEncoding::Sec1),
        b"ENCRYPTED PRIVATE KEY" => Label::UnusableKey("encrypted"),
        b"OPENSSH PRIVATE KEY" => Label::UnusableKey("in the format of OpenSSH"),
        _ if name.ends_with(b"PRIVATE KEY") => {
            Label::UnusableKey("of a kind that TLS does not use")
        }
        _ => Label::Other,
    })
}

/// Encodings that hold no PEM text at all, recognised to say what to do about it.
fn foreign_encoding(text: &[u8]) -> Option<&'static str> {
    let is_der = match text {
        // An ASN.1 SEQUENCE with a long length: no text starts like this.
        [0x30, 0x80..=0x84, ..] => true,
        // One with a short length that is exactly the file: a key on an elliptic curve.
        [0x30, length, content @ ..] => usize::from(*length) == content.len(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return Some("text in UTF-16; save it as ASCII or UTF-8");
        }
        _ => false,
    };
    is_der.then_some(
        "looks like DER or PKCS#12, not PEM; convert it with `openssl x509 -inform der` \
         (a certificate), `openssl pkey -inform der` (a key) or `openssl pkcs12 -nodes`",
    )
}

fn contains(line: &[u8], marker: &[u8]) -> bool {
    line.windows(marker.len()).any(|window| window == marker)
}
