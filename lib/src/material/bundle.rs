//! A file of CA certificates, each of them meant: one that does not parse is an error, because
//! leaving it out in silence would make servers untrusted later, one by one.

use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, Position};
use super::pem::{Blocks, Label};
use super::reason::{Reason, Rejection};
use crate::source::{PartKind, RawPart};

/// The certificates of a bundle with the line each one begins on; never empty.
pub(super) struct Bundle<'a> {
    part: &'a RawPart,
    kind: PartKind,
    pub(super) certificates: Vec<(CertificateDer<'static>, usize)>,
}

impl<'a> Bundle<'a> {
    pub(super) fn decode(part: &'a RawPart, kind: PartKind) -> Result<Self, Rejection> {
        let mut certificates = Vec::new();
        for block in Blocks::new(&part.bytes) {
            let block = block.map_err(|malformed| {
                let detail = format!("{}: {malformed}", part.origin);
                Rejection::of(kind, Reason::BadPem, detail)
            })?;
            if block.label != Label::Certificate {
                continue;
            }
            let position = position(part, kind, certificates.len(), block.line);
            let Some(der) = block.decode() else {
                let detail = format!("{position} is not valid base64");
                return Err(Rejection::of(kind, Reason::BadRoot, detail));
            };
            certificates.push((CertificateDer::from(der), block.line));
        }
        if certificates.is_empty() {
            let detail = format!("{}: no CA certificate in it", part.origin);
            return Err(Rejection::of(kind, Reason::EmptyRoots, detail));
        }
        Ok(Self {
            part,
            kind,
            certificates,
        })
    }

    pub(super) fn parse(&self) -> Result<Vec<Certificate<'_>>, Rejection> {
        let certificates = self.certificates.iter().enumerate();
        certificates
            .map(|(index, (der, line))| {
                let position = position(self.part, self.kind, index, *line);
                Certificate::parse(der, position).map_err(|problem| {
                    let detail = format!("{position}: {problem}");
                    Rejection::of(self.kind, Reason::BadRoot, detail)
                })
            })
            .collect()
    }
}

fn position(part: &RawPart, kind: PartKind, index: usize, line: usize) -> Position<'_> {
    Position {
        origin: &part.origin,
        noun: if kind == PartKind::Roots {
            "root"
        } else {
            "certificate"
        },
        number: index + 1,
        line,
    }
}
