//! Whole pictures at a fixed time, compared as text: what a person reads is what is tested.

use std::time::{Duration, SystemTime};

use nats_mtls::material::{Inspection, Reason, Rejection, Warning, inspect};
use nats_mtls::source::{PartKind, RawKey, RawMaterial, RawPart};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber,
    date_time_ymd,
};

use super::*;
use crate::check::findings::Answer;

const DAY: Duration = Duration::from_secs(86_400);

/// 2026-06-01T00:00:00Z
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_605 * DAY
}

fn params(name: &str, from: (i32, u8), until: (i32, u8)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from.0, from.1, 1);
    params.not_after = date_time_ymd(until.0, until.1, 1);
    params.serial_number = Some(SerialNumber::from(vec![0x01, 0xaf]));
    params
}

fn authority(name: &str, from: (i32, u8), until: (i32, u8)) -> CertificateParams {
    let mut params = params(name, from, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Leaf, intermediate, and a CA file with their root and an old one.
fn certificates() -> Inspection {
    let key = || KeyPair::generate().unwrap();
    let root = authority("orders root", (2020, 1), (2040, 1));
    let root = CertifiedIssuer::self_signed(root, key()).unwrap();
    let issuing = authority("orders issuing", (2026, 1), (2027, 1));
    let issuing = CertifiedIssuer::signed_by(issuing, key(), &root).unwrap();
    let mut leaf = params("orders", (2026, 4), (2026, 7));
    leaf.subject_alt_names = vec![
        rcgen::SanType::DnsName("orders.example.com".try_into().unwrap()),
        rcgen::SanType::Rfc822Name("orders@example.com".try_into().unwrap()),
    ];
    let leaf = leaf.signed_by(&key(), &issuing).unwrap();
    let old = authority("retired root", (2010, 1), (2026, 5));
    let old = CertifiedIssuer::self_signed(old, key()).unwrap();
    inspect(&RawMaterial {
        certificate: RawPart::new("tls.crt", leaf.pem() + &issuing.pem()),
        key: RawKey::InCertificate,
        roots: RawPart::new("ca.crt", root.pem() + &old.pem()),
        crls: None,
        issuer: None,
    })
}

fn findings() -> Findings {
    let paths = vec![
        ("certificate", "tls.crt".into()),
        ("key", "tls.key".into()),
        ("ca", "ca.crt".into()),
    ];
    let mut findings = Findings::new(now(), paths, None);
    let certificates = certificates();
    findings.chain = certificates.chain;
    findings.roots = certificates.roots;
    findings
}

/// The digests differ from run to run.
fn draw_without_digests(findings: &Findings) -> String {
    let leaf = &findings.chain[0];
    draw(findings)
        .replace(&leaf.fingerprint_sha256.to_string(), "<certificate>")
        .replace(&leaf.spki_sha256.to_string(), "<key>")
}

#[test]
fn a_good_set_that_was_accepted() {
    let mut findings = findings();
    findings.valid_until = findings.chain.iter().map(|facts| facts.not_after).min();
    findings.warnings = vec![Warning::ExpiredRoot];
    let refused = |detail: &str| nats_mtls::nats::Failure {
        kind: nats_mtls::nats::FailureKind::Unavailable,
        detail: detail.into(),
    };
    findings.servers = vec![
        Answer::of("a:4222".into(), None),
        Answer::of("b.example.com:4222".into(), Some(refused("timed out"))),
    ];
    let expected = "\
Files
  certificate  tls.crt
  key          tls.key
  ca           ca.crt

Chain
  CN=orders root        expires in 4962 days (2040-01-01T00:00:00Z), a root of the CA file
  └─ CN=orders issuing  expires in 214 days (2027-01-01T00:00:00Z)
     └─ CN=orders       expires in 30 days (2026-07-01T00:00:00Z)

Leaf
  subject      CN=orders
  names        DNS:orders.example.com, email:orders@example.com
  key          ECDSA P-256
  serial       01af
  sha256       <certificate>
  spki sha256  <key>

NATS user with verify_and_map: the first of these that the server knows
  1. orders@example.com
  2. orders.example.com
  3. CN=orders

Roots of the CA file; the server's certificate must lead to one of them
  CN=orders root   expires in 4962 days (2040-01-01T00:00:00Z)
  CN=retired root  EXPIRED 31 days ago (2026-05-01T00:00:00Z)

Warnings
  expired_root: a root in the CA file has expired; remove it when nobody needs it

Servers
  a:4222              accepted
  b.example.com:4222  no answer: timed out

ACCEPTED: by 1 of 2 servers
";
    assert_eq!(draw_without_digests(&findings), expected);
}

#[test]
fn an_expired_set_says_what_to_do() {
    let mut findings = findings();
    findings.now += 40 * DAY;
    findings.rejection = Some(rejected(Reason::Expired, "tls.crt: certificate 1 …"));
    let picture = draw(&findings);
    assert!(
        picture.contains("└─ CN=orders       EXPIRED 10 days ago"),
        "{picture}"
    );
    let expected = "
What is wrong
  tls.crt: certificate 1 …

What to do
  Renew the certificate; check the clock of this machine.

REFUSED: expired
";
    assert!(picture.ends_with(expected), "{picture}");
}

fn rejected(reason: Reason, detail: &str) -> Rejection {
    Rejection {
        reason,
        part: Some(PartKind::Certificate),
        detail: detail.into(),
    }
}

#[test]
fn certificates_that_form_no_chain_are_not_drawn_as_one() {
    let mut findings = findings();
    findings.chain.reverse();
    findings.rejection = Some(rejected(Reason::BrokenChain, "the leaf is not first"));
    let picture = draw(&findings);
    assert!(
        picture.contains("they form no chain\n  CN=orders issuing  "),
        "{picture}"
    );
    assert!(!picture.contains('└'), "{picture}");
}

#[test]
fn an_unknown_issuer_is_named_as_such() {
    let mut findings = findings();
    findings.roots.clear();
    let picture = draw(&findings);
    let expected = "CN=orders root        issuer; not in the CA file, the server must know it";
    assert!(picture.contains(expected), "{picture}");
}

#[test]
fn the_end_and_the_beginning_are_flagged() {
    let leaf = findings().chain.remove(0);
    let at = |days: u32| ends(&leaf, now() + days * DAY);
    assert!(at(0).starts_with("expires in 30 days"));
    assert!(at(13).starts_with("EXPIRES SOON, expires in 17 days"));
    assert!(at(29).starts_with("EXPIRES SOON, expires in 24 hours"));
    assert!(at(31).starts_with("EXPIRED 24 hours ago"));
    let before = ends(&leaf, leaf.not_before - DAY);
    assert!(before.starts_with("NOT YET VALID, valid in 24 hours"));
}

#[test]
fn nothing_readable_still_makes_a_picture() {
    let mut findings = Findings::new(now(), vec![("certificate", "/nowhere".into())], None);
    findings.rejection = Some(rejected(Reason::ReadError, "/nowhere cannot be read"));
    let expected = "\
Files
  certificate  /nowhere

What is wrong
  /nowhere cannot be read

What to do
  Check that the path exists and that this user may read it.

REFUSED: read_error
";
    assert_eq!(draw(&findings), expected);
}
