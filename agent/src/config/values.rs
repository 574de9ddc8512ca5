//! Single values: durations and addresses.

use std::net::SocketAddr;
use std::time::Duration;

use super::ConfigError;

/// Nothing the agent waits for makes sense beyond ten years, and far larger values overflow clocks.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const EXAMPLE: &str = "500ms, 10s, 5m, 12h, 7d or 1h30m";

/// A duration such as `10s`; zero is allowed.
pub(super) fn duration(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = |problem: String| ConfigError::new(flag, problem, EXAMPLE);
    let duration = humantime::parse_duration(text)
        .map_err(|error| wrong(format!("{text:?} is not a duration ({error})")))?;
    if duration > LONGEST {
        return Err(wrong(format!("{text:?} is longer than ten years")));
    }
    Ok(duration)
}

/// As [`duration`], but zero would stop something from ever working.
pub(super) fn positive_duration(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let duration = duration(flag, text)?;
    if duration.is_zero() {
        return Err(ConfigError::new(flag, "must be more than zero", EXAMPLE));
    }
    Ok(duration)
}

/// `address:port`, or none for `off`.
pub(super) fn http_address(text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ConfigError::new(
            "--http (NATS_MTLS_HTTP)",
            format!("{text:?} is neither an IP address with a port nor `off`"),
            "--http 127.0.0.1:9464, --http 0.0.0.0:9464, --http [::]:9464 or --http off",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        let cases = [
            ("10s", 10_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("0s", 0),
        ];
        for (text, milliseconds) in cases {
            let parsed = duration("--settle", text).unwrap();
            assert_eq!(parsed, Duration::from_millis(milliseconds), "{text}");
        }
        for text in [
            "",
            "10",
            "-1s",
            "s",
            "10 parsecs",
            "1.5.5s",
            "11y",
            "999999999999d",
        ] {
            let error = duration("--settle", text).unwrap_err();
            assert_eq!(error.flag, "--settle", "{text}");
        }
        assert!(positive_duration("--poll-interval", "0s").is_err());
    }

    #[test]
    fn an_http_address_is_an_address_with_a_port_or_off() {
        assert_eq!(http_address("off"), Ok(None));
        assert_eq!(
            http_address("[::1]:80"),
            Ok(Some("[::1]:80".parse().unwrap()))
        );
        for text in [
            "",
            "on",
            "9464",
            "localhost:9464",
            "127.0.0.1",
            "127.0.0.1:99999",
        ] {
            assert!(http_address(text).is_err(), "{text}");
        }
    }
}
