//! Every certificate that is known, by its role and by where it was seen: on disk, active, or on
//! the wire are three different truths.

use crate::material::CertificateFacts;
use crate::nats::ConnectionReport;
use crate::reload::ReloadReport;
use crate::store::Snapshot;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Leaf,
    Intermediate,
    Ca,
    Server,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Leaf, Self::Intermediate, Self::Ca, Self::Server];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Intermediate => "intermediate",
            Self::Ca => "ca",
            Self::Server => "server",
        }
    }
}

/// Where a certificate was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Disk,
    Active,
    /// What each connection and its server presented last.
    Wire,
}

impl Source {
    pub(crate) const ALL: [Self; 3] = [Self::Disk, Self::Active, Self::Wire];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Active => "active",
            Self::Wire => "wire",
        }
    }
}

/// All of them, those that end first in front.
pub(crate) struct Certificates<'a>(Vec<(Role, Source, &'a CertificateFacts)>);

impl<'a> Certificates<'a> {
    pub(crate) fn new(
        active: Option<&'a Snapshot>,
        reload: Option<&'a ReloadReport>,
        connections: &'a [ConnectionReport],
    ) -> Self {
        let mut all = Self(Vec::new());
        if let Some(facts) = active.map(|active| active.material().facts()) {
            all.add_set(Source::Active, &facts.chain, &facts.roots);
        }
        if let Some(disk) = reload.map(|report| &report.disk) {
            all.add_set(Source::Disk, &disk.chain, &disk.roots);
        }
        for report in connections {
            all.add(Role::Leaf, Source::Wire, report.client_leaf.as_deref());
            all.add(Role::Server, Source::Wire, report.server_leaf.as_deref());
        }
        all.0.sort_by_key(|(.., facts)| facts.not_after);
        all
    }

    /// The certificates of one role in one place, the one that ends first in front.
    pub(crate) fn ending_first(
        &self,
        role: Role,
        source: Source,
    ) -> impl Iterator<Item = &'a CertificateFacts> {
        let of_both = move |entry: &&(Role, Source, _)| entry.0 == role && entry.1 == source;
        self.0.iter().filter(of_both).map(|(.., facts)| *facts)
    }

    fn add_set(
        &mut self,
        source: Source,
        chain: &'a [CertificateFacts],
        roots: &'a [CertificateFacts],
    ) {
        let mut chain = chain.iter();
        self.add(Role::Leaf, source, chain.next());
        for facts in chain {
            self.add(Role::Intermediate, source, Some(facts));
        }
        for facts in roots {
            self.add(Role::Ca, source, Some(facts));
        }
    }

    fn add(&mut self, role: Role, source: Source, facts: Option<&'a CertificateFacts>) {
        self.0.extend(facts.map(|facts| (role, source, facts)));
    }
}
