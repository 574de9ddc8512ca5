//! The one server error that says that a subscription is not there: it must not be made again on another connection.

const BEFORE: &str = "permissions violation for subscription to ";
const BETWEEN: &str = " using queue ";

/// Subject and queue of a refused or withdrawn subscription, if that is what the text of a `-ERR` says (nats-server,
/// `client.go`: the names are quoted the way Go quotes strings).
pub(super) fn denied_subscription(text: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let text = std::str::from_utf8(text).ok()?;
    let start = text.get(..BEFORE.len())?;
    if !start.eq_ignore_ascii_case(BEFORE) {
        return None;
    }
    let names = text.get(BEFORE.len()..)?;
    let (subject, queue) = match names.split_once(BETWEEN) {
        Some((subject, queue)) => (subject, Some(queue)),
        None => (names, None),
    };
    Some((unquoted(subject)?, queue.and_then(unquoted)))
}

fn unquoted(name: &str) -> Option<Vec<u8>> {
    // JSON and Go agree about how a subject that a client may subscribe to is quoted.
    serde_json::from_str::<String>(name)
        .ok()
        .map(String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_subscription_counts() {
        let denied = |text: &str| denied_subscription(text.as_bytes());
        assert_eq!(
            denied(r#"Permissions Violation for Subscription to "a.*""#),
            Some((b"a.*".to_vec(), None))
        );
        assert_eq!(
            denied(r#"Permissions Violation for Subscription to "a.>" using queue "q""#),
            Some((b"a.>".to_vec(), Some(b"q".to_vec())))
        );
        assert_eq!(
            denied(r#"Permissions Violation for Subscription to "a\\b""#),
            Some((br"a\b".to_vec(), None))
        );
        for other in [
            r#"Permissions Violation for Publish to "a""#,
            "Permissions Violation for Subscription to a",
            "Authorization Violation",
            "",
        ] {
            assert_eq!(denied(other), None, "{other}");
        }
    }
}
