//! The word a control line begins with.

/// An operation's word, in lower case; it is recognised in any case.
pub(super) struct Verb<Kind> {
    pub(super) word: &'static [u8],
    /// Whether a blank or a tab must follow.
    pub(super) arguments: bool,
    pub(super) kind: Kind,
}

pub(super) enum Found<'a, Kind> {
    /// The verb, and what stands behind it and one blank.
    Verb(Kind, &'a [u8]),
    /// The bytes are the beginning of a verb.
    Partial,
    Unknown,
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Looks for the verb of a line without its end, or, unless `complete`, of the beginning of one.
pub(super) fn find<'a, Kind: Copy>(
    verbs: &[Verb<Kind>],
    line: &'a [u8],
    complete: bool,
) -> Found<'a, Kind> {
    for verb in verbs {
        let Some((word, rest)) = line.split_at_checked(verb.word.len()) else {
            let beginning = verb.word.get(..line.len()).unwrap_or_default();
            if !complete && line.eq_ignore_ascii_case(beginning) {
                return Found::Partial;
            }
            continue;
        };
        if !word.eq_ignore_ascii_case(verb.word) {
            continue;
        }
        return match rest.split_first() {
            Some((blank, rest)) if is_blank(*blank) => Found::Verb(verb.kind, rest),
            None if !complete => Found::Partial,
            _ if verb.arguments => Found::Unknown,
            _ => Found::Verb(verb.kind, rest),
        };
    }
    Found::Unknown
}
