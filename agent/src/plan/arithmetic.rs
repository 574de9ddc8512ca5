//! The rotation budget of a fleet, and the probe settings that leave a start and a rotation the
//! time they need. Pure: numbers in, numbers out.

use std::time::Duration;

/// Who rotates, and what one move of one connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub(crate) pods: u32,
    /// At least one; zero counts as one.
    pub(crate) max_unavailable: u32,
    pub(crate) reconnect_wait: Duration,
    pub(crate) handshake_timeout: Duration,
}

/// How long a rotation of a whole fleet takes, wave by wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Reconnect wait + handshake timeout.
    pub(crate) cycle: Duration,
    /// Two cycles: a first attempt may fail for a reason that has nothing to do with the rotation.
    pub(crate) wave_window: Duration,
    pub(crate) waves: u32,
    pub(crate) total: Duration,
}

/// A Kubernetes probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) path: &'static str,
    pub(crate) period: Duration,
    pub(crate) failure_threshold: u64,
}

/// The three of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probes {
    pub(crate) startup: Probe,
    pub(crate) readiness: Probe,
    pub(crate) liveness: Probe,
}

const PERIOD: Duration = Duration::from_secs(5);
/// Liveness never fails because NATS is down, so it needs no time for that.
const LIVENESS: Probe = Probe {
    path: "/livez",
    period: Duration::from_secs(10),
    failure_threshold: 3,
};

impl Fleet {
    pub(crate) fn rotation(&self) -> Rotation {
        let cycle = self.reconnect_wait.saturating_add(self.handshake_timeout);
        let wave_window = cycle.saturating_mul(2);
        let waves = self.pods.div_ceil(self.max_unavailable.max(1));
        Rotation {
            cycle,
            wave_window,
            waves,
            total: wave_window.saturating_mul(waves),
        }
    }
}

impl Probes {
    /// Startup covers `budget`, readiness bears one `cycle`.
    pub(crate) fn covering(budget: Duration, cycle: Duration) -> Self {
        Self {
            startup: Probe::bearing("/startupz", budget),
            readiness: Probe::bearing("/readyz", cycle),
            liveness: LIVENESS,
        }
    }
}

impl Probe {
    /// A probe that does not give up within `time`. The first question is asked at once, so it
    /// takes one failure more than `time` has periods.
    fn bearing(path: &'static str, time: Duration) -> Self {
        let periods = time.as_nanos().div_ceil(PERIOD.as_nanos());
        Self {
            path,
            period: PERIOD,
            failure_threshold: u64::try_from(periods).unwrap_or(u64::MAX).saturating_add(1),
        }
    }

    /// From the first question to the failure that counts.
    pub(crate) fn window(&self) -> Duration {
        let periods = self.failure_threshold.saturating_sub(1);
        let seconds = self.period.as_secs().saturating_mul(periods);
        Duration::from_secs(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_rotation_is_waves_of_two_cycles() {
        // pods, max unavailable, reconnect wait, handshake timeout: cycle, wave window, waves, total
        let cases = [
            ((24, 3, 2, 2), (4, 8, 8, 64)),
            ((25, 3, 2, 2), (4, 8, 9, 72)),
            ((26, 3, 2, 2), (4, 8, 9, 72)),
            ((1, 1, 2, 2), (4, 8, 1, 8)),
            ((2, 5, 2, 2), (4, 8, 1, 8)),
            ((100, 1, 0, 10), (10, 20, 100, 2000)),
            ((3, 0, 1, 1), (2, 4, 3, 12)),
        ];
        for ((pods, max_unavailable, wait, handshake), (cycle, window, waves, total)) in cases {
            let fleet = Fleet {
                pods,
                max_unavailable,
                reconnect_wait: seconds(wait),
                handshake_timeout: seconds(handshake),
            };
            let expected = Rotation {
                cycle: seconds(cycle),
                wave_window: seconds(window),
                waves,
                total: seconds(total),
            };
            assert_eq!(fleet.rotation(), expected, "{fleet:?}");
        }
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let fleet = Fleet {
            pods: u32::MAX,
            max_unavailable: 1,
            reconnect_wait: Duration::MAX,
            handshake_timeout: Duration::MAX,
        };
        assert_eq!(fleet.rotation().total, Duration::MAX);
        let probes = Probes::covering(Duration::MAX, Duration::MAX);
        assert!(probes.startup.window() >= seconds(u64::MAX - 5));
    }

    #[test]
    fn a_startup_probe_covers_the_budget() {
        // budget in milliseconds, failures it takes
        let cases = [
            (0, 1),
            (1, 2),
            (5_000, 2),
            (5_001, 3),
            (60_000, 13),
            (105_000, 22),
        ];
        for (milliseconds, failures) in cases {
            let budget = Duration::from_millis(milliseconds);
            let probe = Probes::covering(budget, Duration::ZERO).startup;
            assert_eq!(probe.failure_threshold, failures, "{budget:?}");
            assert!(probe.window() >= budget, "{budget:?}");
        }
    }

    #[test]
    fn a_readiness_probe_bears_one_cycle() {
        let probes = Probes::covering(seconds(60), seconds(4));
        assert_eq!(probes.readiness.failure_threshold, 2);
        assert!(probes.readiness.window() >= seconds(4));
    }
}
