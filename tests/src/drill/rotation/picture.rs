//! What people see: the fleet as the nodes show it, and one row for each step that was confirmed.

use std::fmt::{self, Write as _};

use super::NODES;
use super::report::{Member, RotationReport, Stage, Wave};
use super::view::short;

impl RotationReport {
    /// What is about to happen, and the first line of the table.
    pub(super) fn heading(&self) -> String {
        let plan = &self.plan;
        format!(
            "{} instances on {NODES} nodes, at most {} of them at once: {} waves, {} s for each (two cycles of {} s)\n\n{}\n{:>8}  {:<40} {:>5}  {:<22} {:>9}",
            plan.pods,
            plan.max_unavailable,
            plan.waves,
            plan.wave_window_seconds,
            plan.cycle_seconds,
            self.picture(),
            "time",
            "confirmed by every node",
            "wave",
            "who",
            "took",
        )
    }

    /// The fleet, node by node, as the nodes show it.
    pub(super) fn picture(&self) -> String {
        let mut picture = String::new();
        // Writing to a String cannot fail.
        self.draw(&mut picture).ok();
        picture
    }

    fn is_lagging(&self, member: &Member) -> bool {
        let laggards = self.halted.iter().flat_map(|halted| &halted.laggards);
        laggards.into_iter().any(|one| one.instance == member.name)
    }

    fn draw(&self, picture: &mut String) -> fmt::Result {
        let nodes = (1..=NODES).map(Some).chain([None]);
        for node in nodes {
            let here: Vec<_> = self.fleet.iter().filter(|one| one.node == node).collect();
            match node {
                Some(number) => writeln!(picture, "  node {number}")?,
                None if here.is_empty() => continue,
                None => writeln!(picture, "  on no node")?,
            }
            for (index, member) in here.iter().enumerate() {
                let branch = if index + 1 == here.len() {
                    "└"
                } else {
                    "├"
                };
                let shown = member.fingerprint_sha256.as_deref().map_or("-", short);
                let (mut sign, authority) = if member.is_of_new_ca {
                    ('●', "new CA")
                } else {
                    ('○', "old CA")
                };
                if self.is_lagging(member) {
                    sign = '✗';
                }
                writeln!(
                    picture,
                    "  {branch} {sign} {:<11} wave {:<3} {shown:<13} {authority}",
                    member.name, member.wave
                )?;
            }
        }
        Ok(())
    }
}

impl Stage {
    /// `progress` has a sign for each instance or node.
    pub(super) fn row(&self, wave: &Wave, progress: &str) -> String {
        format!(
            "{:<40} {:>5}  {:<22} {:>6} ms  {progress}",
            self.name,
            format!("{}/{}", wave.number, wave.of),
            wave.members.join(" "),
            wave.milliseconds,
        )
    }
}
