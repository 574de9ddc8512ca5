//! What stands behind a verb: words between blanks, and sizes.

use super::verb::is_blank;

/// The longest size the protocol can announce: nats-server reads nine digits and no more.
pub(super) const LARGEST_SIZE: u64 = 999_999_999;

/// Up to `MOST` words. None if there are more, or if there is a carriage return among them: what
/// nats-server makes of one depends on how the bytes arrived.
pub(super) fn words<const MOST: usize>(arguments: &[u8]) -> Option<([&[u8]; MOST], usize)> {
    let mut words: [&[u8]; MOST] = [&[]; MOST];
    let mut count = 0;
    let mut rest = arguments;
    loop {
        let start = rest.iter().position(|byte| !is_blank(*byte));
        let Some(begun) = start.and_then(|start| rest.get(start..)) else {
            return Some((words, count));
        };
        // Carriage return, blank and tab are all below the first printable character.
        let end = begun
            .iter()
            .position(|byte| is_blank(*byte) || *byte == b'\r')
            .unwrap_or(begun.len());
        let (word, behind) = begun.split_at_checked(end)?;
        if behind.first() == Some(&b'\r') {
            return None;
        }
        *words.get_mut(count)? = word;
        count += 1;
        rest = behind;
    }
}

/// One to nine digits and nothing else.
pub(super) fn size(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 9 {
        return None;
    }
    word.iter().try_fold(0_u64, |size, byte| {
        byte.is_ascii_digit()
            .then(|| size * 10 + u64::from(byte - b'0'))
    })
}

/// The size of a payload whose first part are headers; None if they are longer than the whole.
pub(super) fn size_with_headers(headers: &[u8], total: &[u8]) -> Option<u64> {
    let total = size(total)?;
    (size(headers)? <= total).then_some(total)
}
