//! What of a program's output goes into the log: whole lines, a few of them, nothing that could
//! steer a terminal, and no private key in PEM. Pure.

use crate::words::brief;

/// Of one run, both streams together.
const MOST_LOGGED: usize = 8 * 1024;
/// What a line costs at least: a log line is long even if it says little.
const LEAST_COST: usize = 64;
/// Longer lines are broken.
const LONGEST_LINE: usize = 1024;

/// What is left of the allowance of one run.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: MOST_LOGGED }
    }
}

/// The lines of one stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    is_cut: bool,
    /// Between the first and the last line of a private key.
    is_secret: bool,
}

impl Lines {
    /// The lines that `bytes` complete, as far as the allowance goes; the last one says if it is
    /// used up.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8], allowance: &mut Allowance) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if self.is_cut {
                return lines;
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
            if *byte == b'\n' || self.partial.len() >= LONGEST_LINE {
                lines.extend(self.take(allowance));
            }
        }
        lines
    }

    /// What came after the last line feed.
    pub(super) fn handle_end(&mut self, allowance: &mut Allowance) -> Option<String> {
        self.take(allowance)
    }

    fn take(&mut self, allowance: &mut Allowance) -> Option<String> {
        let line = std::mem::take(&mut self.partial);
        if line.is_empty() || self.is_cut {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let mut shown = brief(text.trim_end());
        if is_key_boundary(&text, "BEGIN") {
            self.is_secret = true;
            shown = "… a private key is left out".to_owned();
        } else if self.is_secret {
            self.is_secret = !is_key_boundary(&text, "END");
            return None;
        }
        let cost = line.len().max(LEAST_COST);
        if cost > allowance.left {
            self.is_cut = true;
            return Some("… the rest of the output is left out".to_owned());
        }
        allowance.left -= cost;
        Some(shown)
    }
}

/// Of any kind of key: `PRIVATE KEY`, `EC PRIVATE KEY`, …
fn is_key_boundary(line: &str, word: &str) -> bool {
    let after = line.split_once(word).map(|(_, after)| after);
    line.contains("-----") && after.is_some_and(|after| after.contains("PRIVATE KEY-----"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut allowance = Allowance::default();
        let mut lines = Lines::default();
        let mut all: Vec<_> = chunks
            .iter()
            .flat_map(|chunk| lines.handle_bytes(chunk, &mut allowance))
            .collect();
        all.extend(lines.handle_end(&mut allowance));
        all
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = b"one\r\n\ntwo \xff\x1b[2J\nthree";
        let expected = ["one", "two \u{fffd}\u{fffd}[2J", "three"];
        assert_eq!(lines(&[text]), expected);
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(lines(&bytes), expected);
    }

    #[test]
    fn a_flood_is_cut_and_said_so_once() {
        let flood = b"y\n".repeat(1_000_000);
        let all = lines(&[&flood, &flood]);
        assert_eq!(all.len(), MOST_LOGGED / LEAST_COST + 1);
        assert!(all.last().unwrap().contains("left out"));
    }

    #[test]
    fn a_private_key_is_left_out() {
        let text = b"before\n-----BEGIN EC PRIVATE KEY-----\nMHc\nAAA=\n-----END EC PRIVATE KEY-----\nafter\n\
                     + -----BEGIN PRIVATE KEY-----\nMHc";
        let all = lines(&[text]);
        let left_out = "… a private key is left out";
        assert_eq!(all, ["before", left_out, "after", left_out]);
    }

    #[test]
    fn a_line_without_an_end_costs_no_memory() {
        let mut allowance = Allowance::default();
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.handle_bytes(&[b'x'; 10_000], &mut allowance);
            assert!(lines.partial.len() < LONGEST_LINE);
        }
    }

    #[test]
    fn the_streams_of_a_run_share_one_allowance() {
        let mut allowance = Allowance::default();
        let (mut out, mut err) = (Lines::default(), Lines::default());
        let many = b"0123456\n".repeat(MOST_LOGGED);
        let logged = out.handle_bytes(&many, &mut allowance).len();
        assert_eq!(logged, MOST_LOGGED / LEAST_COST + 1);
        assert_eq!(
            err.handle_bytes(&many, &mut allowance).len(),
            1,
            "only that it is cut"
        );
    }
}
