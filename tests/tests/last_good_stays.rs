//! Promise 3: bad material changes nothing but a counter, a log line and `last_rejection`, with a
//! precise reason; it recovers by itself when good material appears.
//!
//! One row per kind of bad material, dropped onto a live service: nothing may be seen of it at
//! nats-server's `/connz`. What startup, time and writers at work add is in the files beside this one.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::Result;
use nats_mtls::material::IdentityChange;
use nats_mtls::{Policy, TlsVersions};
use nats_mtls_tests::file_service::{
    Expected, FileService, REVOCATION_LISTS, with_revocation_lists,
};
use nats_mtls_tests::files::Part;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec, Usage};
use nats_mtls_tests::service::NAME;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const CERTIFICATE: (&str, &str) = ("certificate", "tls.crt");
const KEY: (&str, &str) = ("key", "tls.key");
const ROOTS: (&str, &str) = ("ca", "ca.crt");
const LISTS: (&str, &str) = ("crl", REVOCATION_LISTS);

fn expected(
    reason: &'static str,
    (part, file): (&'static str, &'static str),
    says: &'static str,
) -> Expected<'static> {
    Expected {
        reason,
        part,
        file,
        says,
    }
}

/// Puts something that is not a regular file in the place of a part.
fn replace(
    service: &FileService,
    part: Part,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    service.files.remove(part)?;
    make(&service.files.path(part))
}

/// Writes an identity that is good but for what the row is about.
fn write(service: &FileService, identity: &Identity) -> Result<()> {
    service.files.write(Part::Key, identity.key_pem())?;
    service.files.write(Part::Certificate, identity.chain_pem())
}

fn leaf() -> LeafSpec {
    LeafSpec::client(NAME).dns("orders.example.com")
}

fn der_of(pem: &str) -> Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

/// A PEM block that is well-formed and holds no certificate.
const DAMAGED: &str = "-----BEGIN CERTIFICATE-----\nMIIBAAAAAAAA\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() -> Result<()> {
    let mut service = FileService::start(|m, _| m.tls_versions(TlsVersions::Tls12Only)).await?;
    for (part, name) in Part::ALL.into_iter().zip([CERTIFICATE, KEY, ROOTS]) {
        let missing = expected("read_error", name, "No such file");
        service
            .last_good_stays(missing, |s| s.files.remove(part))
            .await?;
    }
    let directory = expected("not_a_file", CERTIFICATE, "is a directory");
    service
        .last_good_stays(directory, |s| {
            replace(s, Part::Certificate, |path| Ok(fs::create_dir(path)?))
        })
        .await?;
    let fifo = expected("not_a_file", KEY, "is a FIFO");
    service
        .last_good_stays(fifo, |s| {
            replace(s, Part::Key, |path| {
                let mode = Mode::RUSR | Mode::WUSR;
                Ok(mknodat(CWD, path, FileType::Fifo, mode, 0)?)
            })
        })
        .await?;
    let huge = expected("too_large", ROOTS, "1048576 bytes");
    service
        .last_good_stays(huge, |s| s.files.write(Part::Roots, &"x".repeat(10 << 20)))
        .await?;
    let looped = expected("read_error", KEY, "symlink loop");
    service
        .last_good_stays(looped, |s| {
            replace(s, Part::Key, |path| Ok(symlink(path, path)?))
        })
        .await?;
    if rustix::process::geteuid().is_root() {
        return Ok(()); // Root reads whatever the mode says.
    }
    let forbidden = expected("read_error", KEY, "Permission denied");
    service
        .last_good_stays(forbidden, |s| {
            let nobody = fs::Permissions::from_mode(0o000);
            Ok(fs::set_permissions(s.files.path(Part::Key), nobody)?)
        })
        .await
}

#[tokio::test]
async fn what_is_not_pem_changes_nothing() -> Result<()> {
    let mut service = FileService::start(|m, _| m).await?;
    for (part, expected) in [
        (
            Part::Certificate,
            expected("no_certificate", CERTIFICATE, "no certificate in it"),
        ),
        (
            Part::Key,
            expected("no_private_key", KEY, "no private key in it"),
        ),
        (
            Part::Roots,
            expected("empty_roots", ROOTS, "no CA certificate in it"),
        ),
    ] {
        service
            .last_good_stays(expected, |s| s.files.write(part, ""))
            .await?;
    }
    let der = expected("bad_pem", CERTIFICATE, "looks like DER");
    service
        .last_good_stays(der, |s| {
            let der = der_of(s.identity.leaf_pem())?;
            Ok(fs::write(s.files.path(Part::Certificate), der)?)
        })
        .await?;
    let cut = expected("bad_pem", CERTIFICATE, "BEGIN without END");
    service
        .last_good_stays(cut, |s| {
            let chain = s.identity.chain_pem();
            s.files.write(Part::Certificate, &chain[..chain.len() / 2])
        })
        .await?;
    let damaged = expected("bad_certificate", CERTIFICATE, "certificate 1 (line 1)");
    service
        .last_good_stays(damaged, |s| s.files.write(Part::Certificate, DAMAGED))
        .await
}

#[tokio::test]
async fn a_key_that_does_not_fit_changes_nothing() -> Result<()> {
    let mut service = FileService::start(|m, _| m).await?;
    let encrypted = expected("unsupported_key", KEY, "is encrypted");
    service
        .last_good_stays(encrypted, |s| s.files.write(Part::Key, ENCRYPTED_KEY))
        .await?;
    let two = expected("unsupported_key", KEY, "2 different private keys");
    service
        .last_good_stays(two, |s| {
            let other = s.authority.renew(&s.identity);
            let both = format!("{}{}", s.identity.key_pem(), other.key_pem());
            s.files.write(Part::Key, &both)
        })
        .await?;
    let other_algorithm = expected("key_mismatch", KEY, "(Ed25519) does not belong");
    service
        .last_good_stays(other_algorithm, |s| {
            let other = s.authority.issue(&leaf().algorithm(&rcgen::PKCS_ED25519));
            s.files.write(Part::Key, other.key_pem())
        })
        .await?;
    let mismatched = Expected {
        says: "subjectPublicKeyInfo",
        ..other_algorithm
    };
    service
        .last_good_stays(mismatched, |s| {
            let other = s.authority.renew(&s.identity);
            s.files.write(Part::Key, other.key_pem())
        })
        .await
}

#[tokio::test]
async fn a_certificate_that_is_no_good_changes_nothing() -> Result<()> {
    let policy = Policy::default()
        .identity_change(IdentityChange::Refuse)
        .minimum_rsa_bits(3072);
    let mut service = FileService::start(|m, _| m.policy(policy)).await?;
    for (spec, expected) in [
        (
            leaf().expired(),
            expected("expired", CERTIFICATE, "(notAfter)"),
        ),
        (
            leaf().not_yet_valid(),
            expected("not_yet_valid", CERTIFICATE, "(notBefore)"),
        ),
        (
            leaf().usages([Usage::ServerAuth]),
            expected(
                "wrong_usage",
                CERTIFICATE,
                "not for clientAuth (extKeyUsage)",
            ),
        ),
        (
            leaf().algorithm(&rcgen::PKCS_RSA_SHA256),
            expected("weak_key", CERTIFICATE, "2048 bits, less than 3072"),
        ),
        (
            LeafSpec::client(NAME).dns("billing.example.com"),
            expected("identity_changed", CERTIFICATE, "billing.example.com"),
        ),
    ] {
        service
            .last_good_stays(expected, |s| write(s, &s.authority.issue(&spec)))
            .await?;
    }
    let weak = expected("weak_signature", CERTIFICATE, "signed with SHA-1");
    service
        .last_good_stays(weak, |s| {
            s.files.write(Part::Key, SHA1_KEY)?;
            s.files.write(Part::Certificate, SHA1_CERTIFICATE)
        })
        .await?;
    let upside_down = expected(
        "broken_chain",
        CERTIFICATE,
        "certificate 1 (line 1) is not the leaf",
    );
    service
        .last_good_stays(upside_down, |s| {
            let intermediate = s.authority.intermediate("intermediate");
            let identity = intermediate.issue(&leaf());
            let chain = format!("{}{}", intermediate.pem(), identity.leaf_pem());
            s.files.write(Part::Key, identity.key_pem())?;
            s.files.write(Part::Certificate, &chain)
        })
        .await?;
    let stranger = expected("broken_chain", CERTIFICATE, "certificate 2");
    service
        .last_good_stays(stranger, |s| {
            let stranger = s.authority.intermediate("a stranger");
            let chain = format!("{}{}", s.identity.leaf_pem(), stranger.pem());
            s.files.write(Part::Certificate, &chain)
        })
        .await
}

#[tokio::test]
async fn roots_and_revocation_lists_that_are_no_good_change_nothing() -> Result<()> {
    let mut service = FileService::start(|m, files| m.files(with_revocation_lists(files))).await?;
    let mut many = (0..100).fold(service.authority.root_pem(), |mut text, number| {
        let root = Authority::new(&format!("root {number}"));
        let pem = if number == 56 {
            DAMAGED.to_owned()
        } else {
            root.root_pem()
        };
        write!(text, "# root {number}\n{pem}").expect("a String takes everything");
        text
    });
    let one_of_many = expected("bad_root", ROOTS, "root 58 (line");
    service
        .last_good_stays(one_of_many, |s| s.files.write(Part::Roots, &many))
        .await?;
    many = many.replace("MIIBAAAAAAAA", "!!!!");
    let not_base64 = expected("bad_root", ROOTS, "not valid base64");
    service
        .last_good_stays(not_base64, |s| s.files.write(Part::Roots, &many))
        .await?;
    for (text, says) in [
        ("", "no revocation list in it"),
        (
            "-----BEGIN X509 CRL-----\nMIIBAAAAAAAA\n-----END X509 CRL-----\n",
            "revocation list 1 (line 1) is damaged",
        ),
    ] {
        service
            .last_good_stays(expected("bad_crl", LISTS, says), |s| {
                Ok(fs::write(s.files.directory().join(REVOCATION_LISTS), text)?)
            })
            .await?;
    }
    Ok(())
}

/// A key that nobody uses, encrypted with `openssl pkcs8 -topk8`.
const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAic2fqoYEgAUQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEHWy4PnY9GCKNPm9iq62btsEgZCC
Rgu7FvA9tPoDGoIP5gGXQ8nvh6srBd2Pbm506FQnq8XfZ8tLkjSZkC6g9hfYxpaU
a6p9FPFQbFEZ5on1iqeIjz1zSNJTN59tn+npc0FrFPeXJm+LE+jeXOfaGfUPPXgC
TNQqZWzADlhXAvNPJsT3bFOLnY20MVOdgcqdfiVPeK4qUNGzx/+wsUHz/PexCAY=
-----END ENCRYPTED PRIVATE KEY-----
";

/// Made with `openssl req -x509 -sha1`, which rcgen does not do; the key is for nothing else.
const SHA1_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBizCCATOgAwIBAgIUKHkzXW43/7/R7/1pUH4TkDKxuGMwCQYHKoZIzj0EATAR
MQ8wDQYDVQQDDAZvcmRlcnMwIBcNMjYxMTIxMDQ1MDE5WhgPMjEyNjEwMjgwNDUw
MTlaMBExDzANBgNVBAMMBm9yZGVyczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BG0Fm7qcB1eWUb4F/vb+ATqutEsDjDQmrKCtwSrmT4j2uRzS3UcUNUHfCwg8pkrp
XtQjzI/v0CfrdJPpJ83AOpujaDBmMB0GA1UdDgQWBBSuoJMSb5Ai/pmjukjD4+T2
7PCeyjAfBgNVHSMEGDAWgBSuoJMSb5Ai/pmjukjD4+T27PCeyjAPBgNVHRMBAf8E
BTADAQH/MBMGA1UdJQQMMAoGCCsGAQUFBwMCMAkGByqGSM49BAEDRwAwRAIgdRC6
h8ShEuFatDfeeG3JGuiLZD/41zwPn+sDurMhiwcCIEltlW6XopyuJw9cWyoQojy1
og1xRLQAqlJjrYFeR+Uu
-----END CERTIFICATE-----
";
const SHA1_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBvxqWKDG3vpGI36qFHhqBxoeGpGyylPRLMlWnMvrBRnoAoGCCqGSM49
AwEHoUQDQgAEbQWbupwHV5ZRvgX+9v4BOq60SwOMNCasoK3BKuZPiPa5HNLdRxQ1
Qd8LCDymSule1CPMj+/QJ+t0k+knzcA6mw==
-----END EC PRIVATE KEY-----
";
