//! What an instance says in its log: who complains, and how often it took new material and moved.
//! Pure.

use serde_json::Value;

/// Of one step of the drill.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// New material was published.
    published: usize,
    /// The connection was left for a rotation.
    left: usize,
    /// It was up again.
    arrived: usize,
    pub(super) complaints: Vec<String>,
}

impl Said {
    /// Of the lines of JSON that it wrote. A line that is none is a complaint: a panic, for example.
    pub(super) fn of(log: &str) -> Self {
        let mut said = Self::default();
        for line in log.lines() {
            match serde_json::from_str(line) {
                Ok(entry) => said.handle(&entry),
                Err(_) => said.complaints.push(line.to_owned()),
            }
        }
        said
    }

    fn handle(&mut self, entry: &Value) {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        if !matches!(text("level"), "INFO" | "DEBUG" | "TRACE") {
            let parts = ["message", "reason", "detail", "error"].map(text);
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            let parts: Vec<_> = parts.collect();
            self.complaints
                .push(format!("{} {}", text("level"), parts.join(": ")));
        }
        match (text("message"), text("cause")) {
            ("published new material", _) => self.published += 1,
            ("disconnected", "rotation") => self.left += 1,
            ("reconnected", "rotation") => self.arrived += 1,
            (message @ ("disconnected" | "reconnected"), cause) => {
                self.complaints.push(format!("{message}: {cause}"));
            }
            _ => {}
        }
    }

    /// Whether it took one set and moved once, as each member of a wave has to; why not, else.
    pub(super) fn is_one_move(&self) -> Result<(), String> {
        match (self.published, self.left, self.arrived) {
            (1, 1, 1) => Ok(()),
            (published, left, arrived) => Err(format!(
                "its log has {published} sets published, {left} disconnects and {arrived} reconnects, not one of each"
            )),
        }
    }

    /// Whether it did nothing at all, as everybody else has to.
    pub(super) fn is_nothing(&self) -> Result<(), String> {
        match (self.published, self.left, self.arrived) {
            (0, 0, 0) => Ok(()),
            _ => Err("its log has a rotation out of turn".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = r#"{"level":"INFO","message":"published new material","generation":2}"#;
    const LEFT: &str = r#"{"level":"INFO","message":"disconnected","cause":"rotation"}"#;
    const ARRIVED: &str = r#"{"level":"INFO","message":"reconnected","cause":"rotation"}"#;

    fn said(lines: &[&str]) -> Said {
        Said::of(&lines.join("\n"))
    }

    #[test]
    fn one_set_and_one_move_and_nothing_more() {
        let good = said(&[PUBLISHED, LEFT, ARRIVED]);
        assert!(good.complaints.is_empty());
        assert_eq!(good.is_one_move(), Ok(()));
        assert!(good.is_nothing().is_err());
        assert_eq!(said(&[]).is_nothing(), Ok(()));
        for lines in [
            &[][..],
            &[PUBLISHED],
            &[PUBLISHED, LEFT],
            &[LEFT, ARRIVED],
            &[PUBLISHED, PUBLISHED, LEFT, ARRIVED],
            &[PUBLISHED, LEFT, ARRIVED, LEFT, ARRIVED],
        ] {
            assert!(said(lines).is_one_move().is_err(), "{lines:?}");
        }
    }

    #[test]
    fn warnings_other_disconnects_and_what_is_no_json_are_complaints() {
        for (line, complaint) in [
            (
                r#"{"level":"WARN","message":"new material rejected","reason":"expired"}"#,
                "WARN new material rejected: expired",
            ),
            (
                r#"{"level":"INFO","message":"disconnected","cause":"network"}"#,
                "disconnected: network",
            ),
            ("thread 'main' panicked", "thread 'main' panicked"),
        ] {
            assert_eq!(said(&[LEFT, line]).complaints, [complaint]);
        }
    }
}
