//! The order of things: leaves first, then the CA with an overlap. Each step is confirmed by the
//! servers before the next begins; whatever is not, halts the drill where it is. What a wave of
//! clients is, is in `waves`.

mod waves;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cluster::{Change, Cluster};
use super::fleet::Fleet;
use super::plan::Plan;
use super::report::{Halted, Member, OldRoot, RotationReport, Stage, Verdict, Wave};
use super::view::{Laggard, View, lost};
use super::{NODES, Narrator, Sabotage, Settings};
use crate::pki::{Identity, LeafSpec};
use crate::wait::eventually;
use waves::Goal;

pub(super) struct Drill {
    plan: Plan,
    cluster: Cluster,
    fleet: Fleet,
    /// Whose turn it is to be sabotaged, and how.
    sabotage: Option<(Sabotage, usize)>,
    waves: Vec<Vec<usize>>,
    stages: Vec<Stage>,
    /// What the nodes showed when the last step was confirmed.
    before: View,
    /// Fingerprints of all leaves that the new CA issued to the fleet.
    of_new: BTreeSet<String>,
    began: Instant,
    narrator: Narrator,
}

impl Drill {
    pub(super) async fn new(
        settings: &Settings,
        plan: Plan,
        cluster: Cluster,
        fleet: Fleet,
        narrator: Narrator,
    ) -> Result<Self> {
        let waves = plan.split();
        ensure!(
            waves.len() == plan.waves as usize,
            "{} waves, and plan says {}",
            waves.len(),
            plan.waves
        );
        let before = cluster.view().await?;
        let victim = fleet.victim();
        Ok(Self {
            plan,
            sabotage: settings.sabotage.map(|sabotage| (sabotage, victim)),
            waves,
            stages: Vec::new(),
            before,
            of_new: BTreeSet::new(),
            began: Instant::now(),
            cluster,
            fleet,
            narrator,
        })
    }

    pub(super) async fn run(&mut self) -> Result<RotationReport> {
        let beginning = self.report(None).await?;
        self.narrator.show(beginning.heading());
        let halted = match self.rotate().await {
            Ok(()) => None,
            Err(error) => Some(error.downcast::<Halted>()?),
        };
        let report = self.report(halted).await?;
        self.narrator.show(format!("\n{}", report.picture()));
        Ok(report)
    }

    async fn rotate(&mut self) -> Result<()> {
        self.clients("leaf: renewed", Goal::RenewedLeaf).await?;
        self.servers("CA: nodes trust old and new root", Change::TrustBoth)
            .await?;
        self.clients("CA: clients trust old and new root", Goal::BothRoots)
            .await?;
        self.servers("CA: nodes present leaves of the new CA", Change::PresentNew)
            .await?;
        self.clients("CA: leaves of the new CA", Goal::LeafOfNewAuthority)
            .await?;
        self.nobody_needs_the_old_root().await?;
        self.clients("CA: clients trust the new root alone", Goal::NewRootAlone)
            .await?;
        self.servers("CA: nodes trust the new root alone", Change::TrustNewAlone)
            .await
    }

    /// One node after the other. No client may notice.
    async fn servers(&mut self, name: &'static str, change: Change) -> Result<()> {
        self.stages.push(Stage::new(name, "servers", NODES));
        let mut done = BTreeSet::new();
        for node in 0..NODES {
            let began = Instant::now();
            self.cluster.change(node, &change).await?;
            let now = self.cluster.view().await?;
            let mut wrong = now.disturbed(&self.before, &self.fleet.names());
            wrong.extend(self.complaints(&[]).await?);
            if !self.took_effect(node, change).await? {
                let why = "reloaded, and yet the change is not in effect";
                wrong.push(Laggard::new(&format!("node {}", node + 1), why));
            }
            self.go_on_without(wrong)?;
            done.insert(node);
            let wave = Wave {
                number: node + 1,
                of: NODES,
                members: vec![format!("node {}", node + 1)],
                milliseconds: milliseconds(began.elapsed()),
            };
            self.confirmed(wave, &picture(NODES, &done));
        }
        Ok(())
    }

    /// Tried with a handshake: a reload that was logged may still have changed nothing.
    async fn took_effect(&mut self, node: usize, change: Change) -> Result<bool> {
        let spec = LeafSpec::client("drill");
        let (old, new) = (&self.cluster.old, &self.cluster.new);
        let (of_old, of_new) = (old.issue(&spec), new.issue(&spec));
        match change {
            Change::TrustBoth => self.cluster.lets_in(node, &of_new, &old.root_pem()).await,
            Change::PresentNew => self.cluster.lets_in(node, &of_new, &new.root_pem()).await,
            Change::TrustNewAlone => {
                let root = new.root_pem();
                let is_in_effect = self.cluster.lets_in(node, &of_new, &root).await?
                    && !self.cluster.lets_in(node, &of_old, &root).await?;
                // Of the refusal that was asked for.
                self.cluster.complaints();
                Ok(is_in_effect)
            }
        }
    }

    /// The gate: every connection of every node, also of clients that are in no wave.
    async fn nobody_needs_the_old_root(&mut self) -> Result<()> {
        let name = "CA: no connection shows the old CA";
        self.stages.push(Stage::new(name, "servers", 1));
        let began = Instant::now();
        let of_new: BTreeSet<_> = self.of_new.iter().map(String::as_str).collect();
        let clear = eventually(self.plan.wave_window(), "the old root may go", || async {
            let now = self.cluster.view().await?;
            Ok(now.others_than(&of_new).is_empty().then_some(()))
        })
        .await;
        if clear.is_err() {
            let now = self.cluster.view().await?;
            self.go_on_without(now.others_than(&of_new))?;
        }
        let wave = Wave {
            number: 1,
            of: 1,
            members: vec!["every node".to_owned()],
            milliseconds: milliseconds(began.elapsed()),
        };
        self.confirmed(wave, &picture(NODES, &(0..NODES).collect()));
        Ok(())
    }

    /// What logs and nodes say of this step, beside what connections show: warnings and errors, whoever
    /// rotated out of turn, more or less than once, and connections that ended otherwise.
    async fn complaints(&mut self, members: &[usize]) -> Result<Vec<Laggard>> {
        let mut complaints = self.cluster.complaints();
        let departures = self.cluster.departures().await?;
        self.cluster.judged(&departures);
        for (index, instance) in self.fleet.instances.iter_mut().enumerate() {
            let said = instance.listen();
            let expected = if members.contains(&index) {
                said.is_one_move()
            } else {
                said.is_nothing()
            };
            let wrong = said.complaints.into_iter().chain(expected.err());
            complaints.extend(wrong.map(|why| Laggard::new(&instance.name, why)));
        }
        let names: Vec<_> = members
            .iter()
            .filter_map(|&index| self.name(index))
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        complaints.extend(lost(&departures, &self.fleet.names(), &names));
        Ok(complaints)
    }

    fn go_on_without(&self, wrong: Vec<Laggard>) -> Result<()> {
        if wrong.is_empty() {
            return Ok(());
        }
        Err(self.halted(wrong).into())
    }

    fn halted(&self, laggards: Vec<Laggard>) -> Halted {
        let stage = self.stages.last();
        Halted {
            stage: stage.map_or("", |stage| &stage.name).to_owned(),
            wave: stage.map_or(0, |stage| stage.waves.len()) + 1,
            of: stage.map_or(0, |stage| stage.steps),
            laggards,
        }
    }

    fn confirmed(&mut self, wave: Wave, picture: &str) {
        if let Some(stage) = self.stages.last_mut() {
            self.narrator.say(stage.row(&wave, picture));
            stage.waves.push(wave);
        }
    }

    fn name(&self, index: usize) -> Option<String> {
        let instance = self.fleet.instances.get(index)?;
        Some(instance.name.clone())
    }

    /// Everything asked anew, of nodes and instances.
    async fn report(&self, halted: Option<Halted>) -> Result<RotationReport> {
        let old_leaf: Identity = self.cluster.old.issue(&LeafSpec::client("drill"));
        let mut old_root = OldRoot {
            trusted_by_nodes: self.cluster.letting_in(&old_leaf).await?,
            ..OldRoot::default()
        };
        let now = self.cluster.view().await?;
        let mut fleet = Vec::new();
        for (index, instance) in self.fleet.instances.iter().enumerate() {
            match instance.trusts(&self.cluster.old).await {
                Ok(true) => old_root.trusted_by_instances += 1,
                Ok(false) => {}
                Err(_) => old_root.silent_instances += 1,
            }
            let seat = now.seat(&instance.name).ok();
            let shown = seat.and_then(|seat| seat.fingerprint.clone());
            let wave = self.waves.iter().position(|wave| wave.contains(&index));
            fleet.push(Member {
                name: instance.name.clone(),
                kind: instance.kind().to_owned(),
                wave: wave.map_or(0, |wave| wave + 1),
                node: seat.map(|seat| seat.node),
                is_of_new_ca: shown
                    .as_ref()
                    .is_some_and(|shown| self.of_new.contains(shown)),
                fingerprint_sha256: shown,
            });
        }
        Ok(RotationReport {
            verdict: Verdict::of(halted.as_ref(), &old_root, &fleet),
            plan: self.plan.clone(),
            seconds: self.began.elapsed().as_secs_f64(),
            stages: self.stages.clone(),
            halted,
            old_root,
            fleet,
        })
    }
}

fn picture(of: usize, done: &BTreeSet<usize>) -> String {
    let sign = |index| if done.contains(&index) { '●' } else { '○' };
    (0..of).map(sign).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
