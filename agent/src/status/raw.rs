//! The answer as it came, for machines, and harmless where a machine's input is printed for a
//! person: what could move a cursor or turn the direction of a line is escaped. Pure.

use std::fmt::Write as _;

use crate::words::misleads;

/// The same JSON document on one line. `text` must be valid JSON: there, such characters are either
/// white space or inside a string, where an escape means the same.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_ascii().chars() {
        match character {
            '\r' | '\n' | '\t' => line.push(' '),
            other if misleads(other) => {
                // All of them are below U+10000. Writing to a String cannot fail.
                write!(line, "\\u{:04x}", u32::from(other)).ok();
            }
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_is_escaped_means_the_same() {
        let text =
            "{\"a\": \"\u{7f}\u{85}\u{200e}\u{2029}\u{2069}\",\r\n\t\"b\": [1e400, \"\\u001b\"]}\n";
        let line = one_line(text);
        assert!(
            !line.contains(char::is_control) && line.is_ascii(),
            "{line}"
        );
        let parse = |text| serde_json::from_str::<Vec<String>>(text).unwrap();
        assert_eq!(
            parse(&one_line("[\"\u{7f}\u{202e}ü\", \"\\u001b\"]")),
            parse("[\"\u{7f}\u{202e}ü\", \"\\u001b\"]")
        );
    }
}
