//! What is written of a set: which file holds what, and who may read it. Pure.

use nats_mtls::material::Material;
use zeroize::Zeroizing;

use crate::config::Access;

/// One file of a set.
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) mode: u32,
    /// None: as the directory has it.
    pub(super) group: Option<u32>,
}

/// Everything that is written of one set.
pub(super) struct Contents(Vec<File>);

impl Contents {
    /// None without the private key: it can then not be written anywhere.
    pub(super) fn of(material: &Material, access: Access) -> Option<Self> {
        let pem = material.validated_pem();
        let (chain, key) = (pem.chain(), pem.key()?);
        // As cert-manager writes it.
        let mut combined = Zeroizing::new(Vec::with_capacity(key.len() + chain.len()));
        combined.extend_from_slice(&key);
        combined.extend_from_slice(&chain);
        let secret = |name, bytes| File {
            name,
            bytes,
            mode: access.mode,
            group: access.group,
        };
        // Everyone may check whom they talk to; the owner may write what it may write of the key.
        let public = |name, bytes| File {
            mode: access.mode | 0o444,
            group: None,
            ..secret(name, Zeroizing::new(bytes))
        };
        let mut files = vec![
            public("tls.crt", chain),
            secret("tls.key", key),
            public("ca.crt", pem.roots()),
            secret("tls-combined.pem", combined),
        ];
        files.extend(pem.crls().map(|crls| public("ca.crl", crls)));
        Some(Self(files))
    }

    pub(super) fn files(&self) -> &[File] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn of_files(files: Vec<File>) -> Self {
        Self(files)
    }
}
