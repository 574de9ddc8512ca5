//! The drills run the shipped rules in a world where time runs faster. Prometheus itself is asked
//! whether those are still the shipped rules.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::prometheus::{Group, read, rule_file, shipped, shorten};

/// The parts that time does not touch.
fn timeless(groups: &[Group]) -> Vec<String> {
    let rules = groups.iter().flat_map(|group| &group.rules);
    rules
        .map(|rule| {
            format!(
                "{:?} {} {:?} {:?}",
                rule.kind, rule.name, rule.labels, rule.annotations
            )
        })
        .collect()
}

#[tokio::test]
async fn by_one_they_are_the_same_rules() -> Result<()> {
    let shipped = shipped().await?;
    ensure!(timeless(&shipped).len() > 20, "{shipped:?}");
    let again = read(rule_file(&shorten(&shipped, 1)?)).await?;
    // Read again, each duration is in Prometheus' own style once more.
    ensure!(again == shipped, "{again:#?}\nis not\n{shipped:#?}");
    Ok(())
}

#[tokio::test]
async fn by_sixty_only_times_differ() -> Result<()> {
    let shipped = shipped().await?;
    let short = read(rule_file(&shorten(&shipped, 60)?)).await?;
    ensure!(timeless(&short) == timeless(&shipped));
    for (short, long) in short.iter().zip(&shipped) {
        ensure!(short.interval * 60.0 == long.interval, "{short:?}");
        for (short, long) in short.rules.iter().zip(&long.rules) {
            ensure!(short.duration * 60.0 == long.duration, "{short:?}");
            ensure!(
                short.query != long.query || !long.query.contains('['),
                "{} kept its window: {}",
                short.name,
                short.query
            );
        }
    }
    let expected = [
        (
            "NatsMtlsReconnectChurn",
            r#"sum without (cause) (increase(nats_mtls_reconnect_total{cause!~"rotation|rollback"}[10s])) >= 6"#,
        ),
        (
            "NatsMtlsDiskNewerThanActive",
            "(time() - (nats_mtls_disk_differs_since_timestamp_seconds > 0) > 10) unless nats_mtls_last_reload_successful == 0",
        ),
    ];
    for (name, query) in expected {
        let mut rules = short.iter().flat_map(|group| &group.rules);
        let rule = rules.find(|rule| rule.name == name).context(name)?;
        ensure!(rule.query == query, "{}", rule.query);
    }
    Ok(())
}
