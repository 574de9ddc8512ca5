//! The word a control line begins with.

/// An operation's word, which is recognised in any case.
pub(super) struct Verb<Kind> {
    word: &'static [u8],
    /// Whether a blank or a tab must follow.
    arguments: bool,
    kind: Kind,
    /// The word as a number whose lowest byte comes first, the bits that tell a capital letter from
    /// a small one, and which bits count at all: comparing is one instruction.
    number: u64,
    case: u64,
    counted: u64,
}

impl<Kind> Verb<Kind> {
    /// `word` is in lower case and has at most eight bytes.
    pub(super) const fn new(word: &'static [u8], arguments: bool, kind: Kind) -> Self {
        let (mut number, mut case, mut counted) = (0, 0, 0);
        let mut rest = word;
        let mut shift = 0;
        while let [byte, behind @ ..] = rest {
            number |= (*byte as u64) << shift;
            counted |= 0xff << shift;
            if byte.is_ascii_lowercase() {
                case |= 0x20 << shift;
            }
            rest = behind;
            shift += 8;
        }
        Self {
            word,
            arguments,
            kind,
            number,
            case,
            counted,
        }
    }
}

pub(super) enum Found<'a, Kind> {
    /// The verb, and what stands behind it and one blank.
    Verb(Kind, &'a [u8]),
    /// The bytes are the beginning of a verb and no more.
    Partial,
    Unknown,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Looks for the verb of a line without its end, or, unless `complete`, of the beginning of one.
#[inline]
pub(super) fn find<'a, Kind: Copy>(
    verbs: &[Verb<Kind>],
    line: &'a [u8],
    complete: bool,
) -> Found<'a, Kind> {
    let Some(front) = line.first_chunk() else {
        return find_short(verbs, line, complete);
    };
    let front = u64::from_le_bytes(*front);
    for verb in verbs {
        if (front | verb.case) & verb.counted == verb.number {
            return behind(verb, line, complete);
        }
    }
    Found::Unknown
}

/// The same for less than eight bytes.
fn find_short<'a, Kind: Copy>(
    verbs: &[Verb<Kind>],
    line: &'a [u8],
    complete: bool,
) -> Found<'a, Kind> {
    for verb in verbs {
        match line.get(..verb.word.len()) {
            Some(word) if word.eq_ignore_ascii_case(verb.word) => {
                return behind(verb, line, complete);
            }
            Some(_) => {}
            None => {
                let beginning = verb.word.get(..line.len()).unwrap_or_default();
                if line.eq_ignore_ascii_case(beginning) {
                    return Found::Partial;
                }
            }
        }
    }
    Found::Unknown
}

/// Given that the line begins with the verb.
#[inline]
fn behind<'a, Kind: Copy>(verb: &Verb<Kind>, line: &'a [u8], complete: bool) -> Found<'a, Kind> {
    let rest = line.get(verb.word.len()..).unwrap_or_default();
    match rest.split_first() {
        Some((blank, rest)) if is_blank(*blank) => Found::Verb(verb.kind, rest),
        None if !complete => Found::Partial,
        _ if verb.arguments => Found::Unknown,
        _ => Found::Verb(verb.kind, rest),
    }
}
