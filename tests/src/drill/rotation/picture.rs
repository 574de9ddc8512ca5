//! The report for people: the fleet as the nodes show it, and the verdict in one line.

use std::fmt::{self, Write as _};

use super::NODES;
use super::report::{Member, Report, Verdict};
use super::view::short;

impl Report {
    /// The verdict in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let pods = self.fleet.len();
        let old = &self.old_root;
        let connected = self.fleet.iter().filter(|one| one.node.is_some()).count();
        let silent = match old.silent_instances {
            0 => String::new(),
            count => format!(" ({count} did not answer)"),
        };
        let state = format!(
            "the old root is trusted by {} of {NODES} nodes and {} of {pods} instances{silent}; {connected} of {pods} connected",
            old.trusted_by_nodes, old.trusted_by_instances
        );
        match (self.verdict(), &self.halted) {
            (Verdict::Halted, Some(halted)) => format!("HALTED drill-rotation: {halted}; {state}"),
            (Verdict::Passed, _) => format!(
                "PASSED drill-rotation: leaf and CA of {pods} instances, {} waves for each change, slowest wave {} ms of {} s; {state}",
                self.plan.waves,
                self.slowest(),
                self.plan.wave_window_seconds
            ),
            _ => format!("FAILED drill-rotation: {state}"),
        }
    }

    /// The fleet, node by node, as the nodes show it.
    #[must_use]
    pub fn picture(&self) -> String {
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
