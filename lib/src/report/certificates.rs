//! Every certificate that is known, by its role and by where it was seen: on disk, active, or on
//! the wire are three different truths.

use std::time::SystemTime;

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

    /// The one of them whose end matters: that ends first. A root that has ended may be left over in
    /// the bundle for ever, so it counts only where no other is still good.
    pub(crate) fn next_to_end(
        &self,
        role: Role,
        source: Source,
        wall: SystemTime,
    ) -> Option<&'a CertificateFacts> {
        let may_be_left_over = role == Role::Ca;
        let matters = |facts: &&CertificateFacts| !may_be_left_over || facts.not_after > wall;
        let mut of_both = self.ending_first(role, source);
        let next = self.ending_first(role, source).find(matters);
        next.or_else(|| of_both.next())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOT: &str = include_str!("../../../testdata/material/ca.pem");

    fn ending_at(days: &[u64]) -> Vec<CertificateFacts> {
        let raw = crate::source::RawMaterial {
            certificate: crate::source::RawPart::new("tls.crt", ""),
            key: crate::source::RawKey::Pem(crate::source::RawPart::new("tls.key", "")),
            roots: crate::source::RawPart::new("ca.crt", ROOT),
            crls: None,
            issuer: None,
        };
        let root = crate::material::inspect(&raw).roots.remove(0);
        let ending = |days| {
            let mut facts = root.clone();
            facts.not_after = day(days);
            facts
        };
        days.iter().copied().map(ending).collect()
    }

    fn day(days: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400)
    }

    fn next_to_end(role: Role, days: &[u64], today: u64) -> Option<SystemTime> {
        let facts = ending_at(days);
        let facts: Vec<_> = facts
            .iter()
            .map(|facts| (role, Source::Active, facts))
            .collect();
        let certificates = Certificates(facts);
        let next = certificates.next_to_end(role, Source::Active, day(today));
        next.map(|facts| facts.not_after)
    }

    #[test]
    fn a_root_that_is_left_over_does_not_hide_the_one_that_ends_next() {
        let roots = [10, 20, 30];
        for (today, end) in [(5, 10), (10, 20), (25, 30)] {
            assert_eq!(
                next_to_end(Role::Ca, &roots, today),
                Some(day(end)),
                "{today}"
            );
        }
        // Nothing is left to trust: that is told, for as long as it is true.
        assert_eq!(next_to_end(Role::Ca, &roots, 40), Some(day(10)));
        assert_eq!(next_to_end(Role::Ca, &[], 40), None);
    }

    #[test]
    fn everything_else_that_has_ended_is_told() {
        for role in [Role::Leaf, Role::Intermediate, Role::Server] {
            assert_eq!(next_to_end(role, &[10, 20], 15), Some(day(10)), "{role:?}");
        }
    }
}
