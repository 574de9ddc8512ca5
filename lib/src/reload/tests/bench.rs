//! A machine, a clock that stands still until it is told, and sets of any validity.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use time::OffsetDateTime;

use crate::material::{Material, Policy, Reason, Rejection};
use crate::reload::{Decision, Now, Quarantined, Reload, Timing, Trigger};
use crate::source::{PartKind, RawKey, RawMaterial, RawPart, ReadError, ReadErrorCause};
use crate::store::GateAnswer;

pub(super) const SETTLE: Duration = Duration::from_secs(10);
pub(super) const SPREAD: Duration = Duration::from_secs(4);

pub(super) struct Bench {
    machine: Reload,
    root: CertifiedIssuer<'static, KeyPair>,
    instant: Instant,
    wall: SystemTime,
    active: Option<Arc<Material>>,
}

/// The texts of a set.
#[derive(Clone)]
pub(super) struct Set {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) roots: String,
}

impl Set {
    pub(super) fn with_key_of(&self, other: &Self) -> Self {
        Self {
            key: other.key.clone(),
            ..self.clone()
        }
    }

    fn raw(&self) -> RawMaterial {
        RawMaterial {
            certificate: RawPart::new("tls.crt", self.certificate.as_str()),
            key: RawKey::Pem(RawPart::new("tls.key", self.key.as_str())),
            roots: RawPart::new("ca.crt", self.roots.as_str()),
            crls: None,
            issuer: None,
        }
    }
}

pub(super) fn missing() -> Result<RawMaterial, ReadError> {
    Err(ReadError {
        part: PartKind::Key,
        origin: "tls.key".to_owned(),
        cause: ReadErrorCause::Io("No such file".to_owned()),
    })
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let timing = Timing {
            poll_interval: Duration::from_secs(10),
            settle: SETTLE,
            spread: SPREAD,
        };
        Self {
            // Always the middle of the spread.
            machine: Reload::new(Policy::default(), &timing, || 0.5),
            root,
            instant: Instant::now(),
            // Whole seconds, as in certificates.
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
            active: None,
        }
    }

    /// With a set that is good for ten days.
    pub(super) fn with_active() -> Self {
        let mut bench = Self::new();
        bench.read(&bench.set(10 * 86_400)).published();
        bench
    }

    /// A new set that ends so many seconds from now.
    pub(super) fn set(&self, end: i64) -> Set {
        self.set_between(-864_000, end)
    }

    pub(super) fn set_between(&self, begin: i64, end: i64) -> Set {
        let now = OffsetDateTime::from(self.wall);
        let mut params = CertificateParams::new(["orders.example".to_owned()]).unwrap();
        params.not_before = now + time::Duration::seconds(begin);
        params.not_after = now + time::Duration::seconds(end);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Set {
            certificate: params.signed_by(&key, &self.root).unwrap().pem(),
            key: key.serialize_pem(),
            roots: self.root.pem(),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.instant += time;
        self.wall += time;
    }

    /// What is read at a change or a poll.
    pub(super) fn read(&mut self, set: &Set) -> Decided<'_> {
        self.read_result(&Ok(set.raw()))
    }

    /// What is read because somebody asked.
    pub(super) fn ask_for(&mut self, set: &Set) -> Decided<'_> {
        self.decide(|machine, now| machine.handle_read(&Ok(set.raw()), Trigger::Manual, now))
    }

    pub(super) fn read_result(&mut self, read: &Result<RawMaterial, ReadError>) -> Decided<'_> {
        self.decide(|machine, now| machine.handle_read(read, Trigger::Watch, now))
    }

    pub(super) fn answer(&mut self, answer: &GateAnswer) -> Decided<'_> {
        self.decide(|machine, now| machine.handle_answer(answer, now))
    }

    pub(super) fn new_server(&mut self) {
        self.machine.handle_new_server(self.instant);
    }

    /// The material of the last decision cannot be used.
    pub(super) fn unusable(&mut self, material: &Material) {
        let rejection = Rejection::by_server(Reason::UnsupportedKey, "no configuration".to_owned());
        self.machine.handle_unusable(material.digest(), rejection);
    }

    /// Connections could not come up on what is active; `older` is active now.
    pub(super) fn roll_back_to(&mut self, older: Arc<Material>) -> Quarantined {
        let failed = self.active.replace(older).unwrap();
        self.machine
            .handle_rolled_back(failed, "unknown ca", self.instant)
    }

    pub(super) fn active(&self) -> Arc<Material> {
        Arc::clone(self.active.as_ref().unwrap())
    }

    /// How long until the machine wants to read again, apart from polls.
    pub(super) fn next_read(&self) -> Option<Duration> {
        let now = now(self.instant, self.wall, self.active.as_deref());
        let next = self.machine.poll_timeout(&now)?;
        Some(next.saturating_duration_since(self.instant))
    }

    fn decide(&mut self, decide: impl FnOnce(&mut Reload, &Now<'_>) -> Decision) -> Decided<'_> {
        let now = now(self.instant, self.wall, self.active.as_deref());
        let decision = decide(&mut self.machine, &now);
        Decided(decision, self)
    }
}

fn now(instant: Instant, wall: SystemTime, active: Option<&Material>) -> Now<'_> {
    Now {
        instant,
        wall,
        active,
    }
}

/// A decision, and the bench that carries it out.
pub(super) struct Decided<'a>(pub(super) Decision, &'a mut Bench);

impl Decided<'_> {
    /// Publishes.
    #[track_caller]
    pub(super) fn published(self) -> Arc<Material> {
        let Decision::Publish(material) = self.0 else {
            panic!("not published");
        };
        self.1.machine.handle_published();
        self.1.active = Some(Arc::clone(&material));
        material
    }

    /// Publishes, or would.
    #[track_caller]
    pub(super) fn wants_to_publish(self) -> Arc<Material> {
        let Decision::Publish(material) = self.0 else {
            panic!("does not publish");
        };
        material
    }

    /// Whether it is the first time.
    #[track_caller]
    pub(super) fn rejected(self, expected: Reason) -> bool {
        let Decision::Rejected { rejection, fresh } = self.0 else {
            panic!("not rejected");
        };
        assert_eq!(rejection.reason, expected, "{rejection}");
        fresh
    }

    #[track_caller]
    pub(super) fn waits(self, refused: Option<Reason>) {
        let Decision::Waiting { refusal } = self.0 else {
            panic!("does not wait");
        };
        assert_eq!(reason_of(refusal), refused);
    }

    /// The material the gate is asked about.
    #[track_caller]
    pub(super) fn asks(self, refused: Option<Reason>) -> Arc<Material> {
        let Decision::Ask { material, refusal } = self.0 else {
            panic!("does not ask");
        };
        assert_eq!(reason_of(refusal), refused);
        material
    }
}

fn reason_of(refusal: Option<Rejection>) -> Option<Reason> {
    refusal.map(|refusal| refusal.reason)
}
