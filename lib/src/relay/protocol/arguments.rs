//! What stands behind a verb: words between blanks, and sizes.

/// The longest size the protocol can announce: nats-server reads nine digits and no more.
pub(super) const LARGEST_SIZE: u64 = 999_999_999;

/// Up to `MOST` words. None if there are more, or if there is a carriage return among them: what
/// nats-server makes of one depends on how the bytes arrived.
///
/// This is most of the work of parsing a message, so it goes through eight bytes at a time.
#[inline]
pub(super) fn words<const MOST: usize>(arguments: &[u8]) -> Option<([&[u8]; MOST], usize)> {
    let mut words = Words {
        arguments,
        words: [&[]; MOST],
        count: 0,
        begin: 0,
    };
    let mut at = 0;
    let mut rest = arguments;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let mut blanks = blanks(u64::from_le_bytes(*eight));
        while blanks != 0 {
            let offset = (blanks.trailing_zeros() / 8) as usize;
            words.look_at(at + offset, *eight.get(offset)?)?;
            blanks &= blanks - 1;
        }
        at += 8;
        rest = behind;
    }
    for byte in rest {
        words.look_at(at, *byte)?;
        at += 1;
    }
    words.end_at(arguments.len())?;
    Some((words.words, words.count))
}

struct Words<'a, const MOST: usize> {
    arguments: &'a [u8],
    words: [&'a [u8]; MOST],
    count: usize,
    /// Where the word begins that has not ended yet.
    begin: usize,
}

impl<const MOST: usize> Words<'_, MOST> {
    #[inline]
    fn look_at(&mut self, at: usize, byte: u8) -> Option<()> {
        match byte {
            b' ' | b'\t' => self.end_at(at),
            b'\r' => None,
            // To nats-server any other control character is a letter.
            _ => Some(()),
        }
    }

    #[inline]
    fn end_at(&mut self, end: usize) -> Option<()> {
        if end > self.begin {
            *self.words.get_mut(self.count)? = self.arguments.get(self.begin..end)?;
            self.count += 1;
        }
        self.begin = end + 1;
        Some(())
    }
}

/// The high bit of each byte that is a blank or below.
const fn blanks(eight: u64) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Without the high bits no byte carries over into the next.
    let above = (eight & !HIGH) + (0x7f - 0x20) * (HIGH >> 7);
    !(above | eight) & HIGH
}

/// One to nine digits and nothing else.
#[inline]
pub(super) fn size(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 9 {
        return None;
    }
    let mut size = 0;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        size = size * 10 + u64::from(digit);
    }
    Some(size)
}

/// The size of a payload whose first part are headers; None if they are longer than the whole.
#[inline]
pub(super) fn size_with_headers(headers: &[u8], total: &[u8]) -> Option<u64> {
    let total = size(total)?;
    (size(headers)? <= total).then_some(total)
}
