//! One wave of clients: what each is given, how long it may take, and who is not there in time.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::{Drill, milliseconds, picture};
use crate::drill::rotation::Sabotage;
use crate::drill::rotation::report::{Stage, Wave};
use crate::drill::rotation::view::{Departure, Laggard, View, left};
use crate::pki::Authority;
use crate::wait::eventually;

/// What a stage gives to each instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    RenewedLeaf,
    BothRoots,
    LeafOfNewAuthority,
    NewRootAlone,
}

impl Drill {
    pub(super) async fn clients(&mut self, name: &'static str, goal: Goal) -> Result<()> {
        self.stages
            .push(Stage::new(name, "clients", self.waves.len()));
        let mut done = BTreeSet::new();
        for (number, members) in (1..).zip(self.waves.clone()) {
            let milliseconds = self.client_wave(goal, &members).await?;
            done.extend(members.iter().copied());
            let picture = picture(self.fleet.instances.len(), &done);
            let names = members.iter().filter_map(|&index| self.name(index));
            let wave = Wave {
                number,
                of: self.waves.len(),
                members: names.collect(),
                milliseconds,
            };
            self.confirmed(wave, &picture);
        }
        Ok(())
    }

    /// One wave; returns how long it took.
    async fn client_wave(&mut self, goal: Goal, members: &[usize]) -> Result<u64> {
        let began = Instant::now();
        for &index in members {
            self.give(goal, index).await?;
        }
        let window = self.plan.wave_window();
        let converged = eventually(window, "the wave converges", || async {
            let now = self.cluster.view().await?;
            let gone = self.cluster.departures().await?;
            let laggards = self.laggards(&now, &gone, members).await;
            Ok(laggards.is_empty().then_some(now))
        })
        .await;
        let took = milliseconds(began.elapsed());
        let Ok(now) = converged else {
            let now = self.cluster.view().await?;
            let gone = self.cluster.departures().await?;
            let mut laggards = self.laggards(&now, &gone, members).await;
            for laggard in &mut laggards {
                if let Some(instance) = self.fleet.named(&laggard.instance) {
                    laggard.why = format!("{}; {}", laggard.why, instance.excuse().await);
                }
            }
            if laggards.is_empty() {
                laggards.push(Laggard::new("the wave", "converged, but after its window"));
            }
            return Err(self.halted(laggards).into());
        };
        let others: Vec<_> = (0..self.fleet.instances.len())
            .filter(|index| !members.contains(index))
            .filter_map(|index| self.name(index))
            .collect();
        let others: Vec<_> = others.iter().map(String::as_str).collect();
        let mut wrong = now.disturbed(&self.before, &others);
        wrong.extend(self.complaints(members).await?);
        self.go_on_without(wrong)?;
        self.before = now;
        Ok(took)
    }

    /// Publishes what the stage has for one instance, or sabotages that.
    async fn give(&mut self, goal: Goal, index: usize) -> Result<()> {
        let (old, new) = (&self.cluster.old, &self.cluster.new);
        let both = self.cluster.both_roots();
        let instance = self.fleet.instances.get_mut(index);
        let instance = instance.context("no such instance")?;
        let current = instance.identity.clone();
        let (identity, roots) = match goal {
            Goal::RenewedLeaf => (old.renew(&current), instance.roots().to_owned()),
            Goal::BothRoots => (current, both),
            Goal::LeafOfNewAuthority => (new.renew(&current), instance.roots().to_owned()),
            Goal::NewRootAlone => (current, new.root_pem()),
        };
        if goal == Goal::LeafOfNewAuthority {
            self.of_new.insert(identity.fingerprint().to_owned());
        }
        match self.sabotage {
            Some((sabotage, victim)) if goal == Goal::LeafOfNewAuthority && victim == index => {
                match sabotage {
                    Sabotage::BrokenFiles => instance.publish_mismatched(identity, &roots),
                    Sabotage::ForeignCa => {
                        let nobody = Authority::new("nobody's root");
                        instance.publish(nobody.renew(&identity), &roots)
                    }
                    Sabotage::Frozen => {
                        instance.freeze().await?;
                        instance.publish(identity, &roots)
                    }
                    Sabotage::Forgotten => instance.publish(identity, &roots),
                }
            }
            _ => instance.publish(identity, &roots),
        }
    }

    /// Who of the wave is not there yet: by the servers' view first, then by what it says itself, in its
    /// status and its log.
    async fn laggards(&self, now: &View, gone: &[Departure], members: &[usize]) -> Vec<Laggard> {
        let mut laggards = Vec::new();
        for instance in members
            .iter()
            .filter_map(|&index| self.fleet.instances.get(index))
        {
            let fingerprint = instance.identity.fingerprint();
            if let Err(laggard) = now.moved(&self.before, &instance.name, fingerprint) {
                laggards.push(laggard);
            } else if let Err(laggard) = left(gone, &instance.name) {
                laggards.push(laggard);
            } else if let Err(error) = instance.agrees().await {
                laggards.push(Laggard::new(&instance.name, error.to_string()));
            } else if let Err(why) = instance.said().is_one_move() {
                laggards.push(Laggard::new(&instance.name, why));
            }
        }
        laggards
    }
}
