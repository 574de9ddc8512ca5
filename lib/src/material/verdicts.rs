//! The verdict on every kind of input: one table per part, files from `testdata/material`.

use std::time::Duration;

use super::testdata::{good, now, part, with};
use super::{Material, Policy, Reason, Usage, Warning, inspect};
use crate::source::{PartKind, RawKey, RawMaterial};

type Verdict = Result<&'static [Warning], (Reason, PartKind, &'static str)>;

const FINE: Verdict = Ok(&[]);

fn judge(name: &str, raw: &RawMaterial, expected: Verdict) {
    let actual = Material::parse(raw, &Policy::default(), now());
    match (actual, expected) {
        (Ok(material), Ok(warnings)) => assert_eq!(material.warnings(), warnings, "{name}"),
        (Err(rejection), Err((reason, kind, text))) => {
            assert_eq!(rejection.reason, reason, "{name}: {rejection}");
            assert_eq!(rejection.part, Some(kind), "{name}: {rejection}");
            assert!(rejection.detail.contains(text), "{name}: {rejection}");
            let file = name.split(' ').next_back().unwrap();
            assert!(
                rejection.detail.contains(file),
                "{name} is not named: {rejection}"
            );
        }
        (actual, expected) => panic!("{name}: {actual:?}, expected {expected:?}"),
    }
    // What is rejected is inspected too.
    let _ = inspect(raw);
}

fn certificate(reason: Reason, text: &'static str) -> Verdict {
    Err((reason, PartKind::Certificate, text))
}

#[test]
fn certificate_files() {
    use Reason::*;
    let table = [
        ("chain.pem", FINE),
        ("bom.pem", FINE),
        ("crlf.pem", FINE),
        ("text-between.pem", FINE),
        ("trailing-garbage.pem", FINE),
        ("commented-out.pem", FINE),
        ("version-1.pem", FINE),
        ("no-end-date.pem", FINE),
        (
            "indented.pem",
            certificate(BadPem, "BEGIN does not start its line"),
        ),
        ("glued.pem", certificate(BadPem, "BEGIN")),
        ("utf16.pem", certificate(BadPem, "UTF-16")),
        (
            "one-line.pem",
            certificate(BadPem, "line 1: the BEGIN line"),
        ),
        ("truncated.pem", certificate(BadPem, "BEGIN without END")),
        ("headless.pem", certificate(BadPem, "END without BEGIN")),
        (
            "unclosed.pem",
            certificate(BadPem, "line 1: BEGIN without END before the next"),
        ),
        ("wrong-end.pem", certificate(BadPem, "END does not match")),
        ("bad-base64.pem", certificate(BadPem, "is not valid base64")),
        ("trusted.pem", certificate(BadPem, "openssl x509")),
        ("chain.der", certificate(BadPem, "DER")),
        ("empty.pem", certificate(NoCertificate, "")),
        ("text.pem", certificate(NoCertificate, "")),
        ("pkcs7.pem", certificate(NoCertificate, "")),
        ("leaf.key", certificate(NoCertificate, "")),
        ("damaged.pem", certificate(BadCertificate, "certificate 1")),
        (
            "trailing-der.pem",
            certificate(BadCertificate, "bytes follow"),
        ),
        (
            "two-algorithms.pem",
            certificate(BadCertificate, "signatureAlgorithm"),
        ),
        (
            "damaged-sans.pem",
            certificate(BadCertificate, "subjectAltName"),
        ),
        (
            "repeated-sans.pem",
            certificate(BadCertificate, "subjectAltName"),
        ),
        (
            "damaged-usage.pem",
            certificate(BadCertificate, "extKeyUsage"),
        ),
        ("soon.pem", FINE),
        (
            "future.pem",
            certificate(
                NotYetValid,
                "certificate 1 (line 1) is not valid for another 3 minutes, until 2026-06-01T00:03:00Z",
            ),
        ),
        (
            "expired.pem",
            certificate(
                Expired,
                "certificate 1 (line 1) expired 3 days ago, on 2026-05-29T00:00:00Z (notAfter)",
            ),
        ),
        (
            "expired-intermediate.pem",
            certificate(Expired, "expired 1 second ago"),
        ),
        ("chain-with-expired-root.pem", FINE),
        ("any-usage.pem", FINE),
        ("no-usage.pem", FINE),
        (
            "server-only.pem",
            certificate(
                WrongUsage,
                "certificate 1 (line 1) is not for clientAuth (extKeyUsage)",
            ),
        ),
        (
            "server-only-intermediate.pem",
            certificate(WrongUsage, "certificate 2"),
        ),
        ("no-signing.pem", certificate(WrongUsage, "keyUsage")),
        ("sha1.pem", certificate(WeakSignature, "SHA-1")),
        ("rsa-md5.pem", certificate(WeakSignature, "MD5")),
        ("pss-sha1.pem", certificate(WeakSignature, "SHA-1")),
        ("sha1-root-in-chain.pem", FINE),
        ("with-root.pem", FINE),
        ("three.pem", FINE),
        ("cross-signed.pem", FINE),
        ("path-just-fits.pem", FINE),
        ("self-signed.pem", FINE),
        ("unordered.pem", Ok(&[Warning::IntermediateOrder])),
        (
            "leaf-last.pem",
            certificate(
                BrokenChain,
                "certificate 1 (line 1) is not the leaf: the private key belongs to certificate 2",
            ),
        ),
        ("stranger.pem", certificate(BrokenChain, "certificate 3")),
        ("leaf-twice.pem", certificate(BrokenChain, "certificate 3")),
        ("impostor.pem", certificate(BrokenChain, "did not sign it")),
        ("not-a-ca.pem", certificate(BrokenChain, "is not a CA")),
        (
            "ca-without-cert-sign.pem",
            certificate(BrokenChain, "keyCertSign"),
        ),
        ("path-too-long.pem", certificate(BrokenChain, "has more CA")),
        ("seventeen.pem", certificate(BrokenChain, "more than 16")),
    ];
    for (file, expected) in table {
        judge(file, &with(file, "leaf.key"), expected);
    }
}

#[test]
fn keys() {
    use Reason::*;
    let key = |reason, text| Err((reason, PartKind::Key, text));
    let table = [
        ("chain.pem", "sec1.key", FINE),
        ("rsa.pem", "rsa.key", FINE),
        ("rsa.pem", "pkcs1.key", FINE),
        ("ed25519.pem", "ed25519.key", FINE),
        ("chain.pem", "same-key-twice.key", FINE),
        ("key-first.pem", "", FINE),
        ("key-last.pem", "", FINE),
        ("key-first.pem", "leaf.key", FINE),
        ("key-first.pem", "key-first.pem", FINE),
        ("chain.pem", "", certificate(NoPrivateKey, "")),
        ("chain.pem", "empty.pem", key(NoPrivateKey, "")),
        ("chain.pem", "ca.pem", key(NoPrivateKey, "")),
        ("chain.pem", "truncated.key", key(BadPem, "line 1")),
        ("chain.pem", "leaf-key.der", key(BadPem, "DER")),
        (
            "chain.pem",
            "encrypted-pkcs8.key",
            key(UnsupportedKey, "line 1 is encrypted"),
        ),
        (
            "chain.pem",
            "encrypted-sec1.key",
            key(UnsupportedKey, "line 1 is encrypted"),
        ),
        ("chain.pem", "openssh.key", key(UnsupportedKey, "OpenSSH")),
        (
            "chain.pem",
            "damaged.key",
            key(UnsupportedKey, "damaged or of a kind"),
        ),
        (
            "secp256k1.pem",
            "secp256k1.key",
            key(UnsupportedKey, "line 1"),
        ),
        (
            "chain.pem",
            "two-keys.key",
            key(UnsupportedKey, "2 different private keys"),
        ),
        (
            "stranger-inside.pem",
            "leaf.key",
            certificate(UnsupportedKey, "other than the one"),
        ),
    ];
    for (file, key, expected) in table {
        let culprit = match expected {
            Err((_, PartKind::Key, _)) => key,
            _ => file,
        };
        judge(&format!("{key} {culprit}"), &with(file, key), expected);
    }
    judge(
        "stranger.key",
        &with("chain.pem", "stranger.key"),
        key(
            KeyMismatch,
            "chain.pem: certificate 1 (line 1) (ECDSA P-256",
        ),
    );
    judge(
        "rsa.key",
        &with("chain.pem", "rsa.key"),
        key(KeyMismatch, "(RSA) does not belong"),
    );
    judge(
        "rsa1024.key rsa1024.pem",
        &with("rsa1024.pem", "rsa1024.key"),
        certificate(WeakKey, "1024 bits"),
    );
}

#[test]
fn roots() {
    use Reason::*;
    let roots = |reason, text| Err((reason, PartKind::Roots, text));
    let table = [
        ("ca.pem", FINE),
        ("chain.pem", FINE),
        ("expired-root.pem", Ok(&[Warning::ExpiredRoot][..])),
        ("empty.pem", roots(EmptyRoots, "")),
        ("leaf.key", roots(EmptyRoots, "")),
        ("damaged-root.pem", roots(BadRoot, "root 1 (line 1)")),
        ("bad-base64.pem", roots(BadRoot, "root 2 (line 1")),
        ("trailing-der.pem", roots(BadRoot, "root 1")),
        ("indented.pem", roots(BadPem, "BEGIN does not start")),
        ("truncated.pem", roots(BadPem, "BEGIN without END")),
        ("trusted.pem", roots(BadPem, "line 1")),
        ("chain.der", roots(BadPem, "DER")),
    ];
    for (file, expected) in table {
        let mut raw = good();
        raw.roots = part(file);
        judge(file, &raw, expected);
    }
}

#[test]
fn one_broken_among_a_hundred_roots() {
    let mut raw = good();
    let mut file = part("ca.pem").bytes.repeat(56);
    file.extend_from_slice(&part("damaged-root.pem").bytes);
    file.extend(part("ca.pem").bytes.repeat(43));
    raw.roots.bytes = file.into();
    let rejection = (Reason::BadRoot, PartKind::Roots, "root 57 ");
    judge("ca.pem", &raw, Err(rejection));
    assert_eq!(inspect(&raw).roots.len(), 99);
}

#[test]
fn revocation_lists() {
    use Reason::*;
    let crls = |reason, text| Err((reason, PartKind::Crls, text));
    let table = [
        ("crl.pem", FINE),
        ("old-crl.pem", Ok(&[Warning::ExpiredCrl][..])),
        ("empty.pem", crls(BadCrl, "no revocation list")),
        ("ca.pem", crls(BadCrl, "no revocation list")),
        ("text.pem", crls(BadCrl, "no revocation list")),
        (
            "damaged-crl.pem",
            crls(BadCrl, "revocation list 1 (line 1)"),
        ),
        (
            "version-1-crl.pem",
            crls(BadCrl, "revocation list 1 (line 1)"),
        ),
        ("crl.der", crls(BadPem, "DER")),
    ];
    for (file, expected) in table {
        let mut raw = good();
        raw.crls = Some(part(file));
        judge(file, &raw, expected);
    }
}

#[test]
fn issuer_bundles() {
    use Reason::*;
    let issuer = |reason, text| Err((reason, PartKind::Issuer, text));
    let table = [
        ("ca.pem", FINE),
        ("middle-ca.pem", FINE),
        (
            "stranger-ca.pem",
            certificate(BrokenChain, "does not lead to"),
        ),
        ("empty.pem", issuer(EmptyRoots, "")),
        ("damaged-root.pem", issuer(BadRoot, "certificate 1")),
    ];
    for (file, expected) in table {
        let mut raw = good();
        raw.issuer = Some(part(file));
        judge(file, &raw, expected);
    }
}

#[test]
fn policies() {
    let reason = |raw: &RawMaterial, policy: Policy| {
        Material::parse(raw, &policy, now())
            .map(|_| ())
            .map_err(|rejection| rejection.reason)
    };
    let policy = Policy::default;
    let server = policy().usage(Usage::Server);
    assert_eq!(reason(&good(), server.clone()), Err(Reason::WrongUsage));
    assert_eq!(reason(&with("server-only.pem", "leaf.key"), server), Ok(()));
    let long = policy().minimum_rsa_bits(2049);
    assert_eq!(
        reason(&with("rsa.pem", "rsa.key"), long),
        Err(Reason::WeakKey)
    );
    // What the policy lets through, the crypto provider may still not sign with.
    let short = policy().minimum_rsa_bits(1024);
    assert_eq!(
        reason(&with("rsa1024.pem", "rsa1024.key"), short),
        Err(Reason::UnsupportedKey)
    );
    let exact = policy().clock_skew(Duration::ZERO);
    assert_eq!(
        reason(&with("soon.pem", "leaf.key"), exact.clone()),
        Err(Reason::NotYetValid)
    );
    assert_eq!(reason(&good(), exact), Ok(()));
}

#[test]
fn a_signer_without_a_public_key_is_taken_at_its_word() {
    let mut raw = good();
    let RawKey::Pem(_) = &raw.key else { panic!() };
    raw.key = RawKey::Signer(std::sync::Arc::new(Opaque));
    judge("chain.pem", &raw, FINE);
}

#[derive(Debug)]
struct Opaque;

impl rustls::sign::SigningKey for Opaque {
    fn choose_scheme(
        &self,
        _offered: &[rustls::SignatureScheme],
    ) -> Option<Box<dyn rustls::sign::Signer>> {
        None
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::ECDSA
    }
}

/// White space, comments, line endings, byte order marks and the order of roots are not content.
#[test]
fn digest_is_of_content() {
    let digest = |raw: &RawMaterial| {
        Material::parse(raw, &Policy::default(), now())
            .unwrap()
            .digest()
    };
    let expected = digest(&good());
    for file in [
        "bom.pem",
        "crlf.pem",
        "text-between.pem",
        "trailing-garbage.pem",
        "key-first.pem",
    ] {
        assert_eq!(digest(&with(file, "leaf.key")), expected, "{file}");
    }
    assert_eq!(digest(&with("key-last.pem", "")), expected);
    assert_eq!(digest(&with("chain.pem", "sec1.key")), expected);
    for file in ["with-root.pem", "any-usage.pem"] {
        assert_ne!(digest(&with(file, "leaf.key")), expected, "{file}");
    }

    let bundle = |files: &[&str]| {
        let mut raw = good();
        raw.roots.bytes = files
            .iter()
            .flat_map(|file| part(file).bytes.to_vec())
            .collect::<Vec<_>>()
            .into();
        digest(&raw)
    };
    assert_ne!(bundle(&["ca.pem", "stranger-ca.pem"]), expected);
    assert_eq!(
        bundle(&["ca.pem", "stranger-ca.pem"]),
        bundle(&["stranger-ca.pem", "ca.pem", "ca.pem"])
    );
    let mut raw = good();
    raw.crls = Some(part("crl.pem"));
    assert_ne!(digest(&raw), expected);
}

/// Whatever line of a key file is damaged in whatever way, none of its text is repeated.
#[test]
fn no_message_holds_key_bytes() {
    let key = String::from_utf8(part("leaf.key").bytes.to_vec()).unwrap();
    let canaries = key
        .lines()
        .flat_map(|line| line.as_bytes().chunks_exact(12));
    let canaries = canaries.filter(|chunk| !chunk.contains(&b'-') && !chunk.contains(&b' '));
    let canaries = canaries
        .map(|chunk| String::from_utf8(chunk.to_vec()).unwrap())
        .collect::<Vec<_>>();
    assert!(canaries.len() > 10);
    let damages: [&dyn Fn(&str) -> String; 8] = [
        &|key| key.replace("-----\n", "-----"),
        &|key| key.replace('\n', "\\n"),
        &|key| key.replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN "),
        &|key| key.replace("-----END PRIVATE KEY-----", ""),
        &|key| key.replace("END PRIVATE", "END EC PRIVATE"),
        &|key| key.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
        &|key| key.replacen('M', "!", 1),
        &|key| key.replace('\n', "\n  "),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let damaged = damage(&key);
        for in_certificate in [false, true] {
            let mut raw = good();
            if in_certificate {
                raw.certificate.bytes.extend_from_slice(damaged.as_bytes());
                raw.key = RawKey::InCertificate;
            } else {
                raw.key = RawKey::Pem(crate::source::RawPart::new("leaf.key", damaged.as_bytes()));
            }
            let rejection = Material::parse(&raw, &Policy::default(), now()).unwrap_err();
            let text = format!("{rejection} {rejection:?} {raw:?} {:?}", inspect(&raw));
            assert!(
                !canaries.iter().any(|canary| text.contains(canary)),
                "damage {number}: {text}"
            );
        }
    }
    let material = Material::parse(&good(), &Policy::default(), now()).unwrap();
    let text = format!(
        "{material:?} {:?} {:?}",
        material.validated_pem(),
        material.facts()
    );
    assert!(!canaries.iter().any(|canary| text.contains(canary)));
}

#[test]
fn what_was_validated_is_kept() {
    let material = Material::parse(&good(), &Policy::default(), now()).unwrap();
    let chain = material.validated_pem().chain();
    assert_eq!(chain, part("chain.pem").bytes.as_slice());
    assert_eq!(material.identity().cert.len(), 2);
    material.identity().keys_match().unwrap();
}
