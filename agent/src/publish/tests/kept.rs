//! What a next life starts from: a set that only this agent can have written.

use std::os::unix::fs::{PermissionsExt as _, chown};

use nats_mtls::source::{RawKey, Source as _};

use super::super::kept::Kept;
use super::*;
use crate::config::{Access, PublishConfig};

fn kept(directory: &TempDir) -> Kept {
    Kept::new(&PublishConfig {
        directory: directory.path().to_owned(),
        access: Access {
            mode: 0o600,
            group: None,
        },
        with_crl: false,
        issuer: None,
    })
}

async fn refused(directory: &TempDir) -> String {
    kept(directory).read().await.unwrap_err().to_string()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn the_current_set_is_read_from_an_emptydir_that_everyone_may_write_into() {
    let directory = scratch();
    mode(directory.path(), 0o777);
    publish(&directory, "a", 1).unwrap();
    let raw = kept(&directory).read().await.unwrap();
    assert_eq!(raw.certificate.bytes.as_slice(), b"tls.crt of a");
    assert_eq!(raw.roots.bytes.as_slice(), b"ca.crt of a");
    let RawKey::Pem(key) = raw.key else {
        panic!("no key");
    };
    assert_eq!(key.bytes.as_slice(), b"tls.key of a");
    let path = directory.path().join(set_name(1).as_str());
    assert_eq!(key.origin, path.join("tls.key").display().to_string());
}

#[tokio::test]
async fn a_set_that_somebody_else_may_have_written_is_refused() {
    for (name, words) in [("group", 0o775), ("everyone", 0o757)] {
        let directory = scratch();
        publish(&directory, "a", 1).unwrap();
        mode(&directory.path().join(set_name(1).as_str()), words);
        let error = refused(&directory).await;
        assert!(error.contains("may write into"), "{name}: {error}");
    }
    if rustix::process::geteuid().is_root() {
        let directory = scratch();
        publish(&directory, "a", 1).unwrap();
        let set = directory.path().join(set_name(1).as_str());
        chown(set, Some(65534), None).unwrap();
        let error = refused(&directory).await;
        assert!(error.contains("a set of user 65534"), "{error}");
    }
}

#[tokio::test]
async fn no_link_leads_out_of_the_set() {
    let elsewhere = scratch();
    fs::write(elsewhere.path().join("ca.crt"), "theirs").unwrap();
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    let set = directory.path().join(set_name(1).as_str());
    fs::remove_file(set.join("ca.crt")).unwrap();
    symlink(elsewhere.path().join("ca.crt"), set.join("ca.crt")).unwrap();
    let error = refused(&directory).await;
    assert!(error.contains("ca.crt: cannot be read"), "{error}");
    fs::remove_dir_all(&set).unwrap();
    let error = refused(&directory).await;
    assert!(error.contains("leads to a set that is gone"), "{error}");
    symlink(elsewhere.path(), &set).unwrap();
    let error = refused(&directory).await;
    assert!(error.contains("is no directory"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_none_or_too_large_is_refused() {
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    let key = directory.path().join(set_name(1).as_str()).join("tls.key");
    fs::write(&key, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let error = refused(&directory).await;
    assert!(error.contains("is larger than 1048576 bytes"), "{error}");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let error = refused(&directory).await;
    assert!(error.contains("not a regular file"), "{error}");
}
