//! `cargo xtask suite librdkafka`: librdkafka's own tests against three brokers.

use anyhow::{Context, Result, ensure};

use crate::kafka::Kafka;
use crate::librdkafka::Librdkafka;
use crate::step::say;
use crate::suite::catalogue::{ALL, Plan};
use crate::suite::series::Series;
use crate::verb::faults;

/// What CI runs, in a few seconds each: what is produced is consumed, with every codec and from any offset, and the
/// requests of an administrator.
const SHORT: [&str; 4] =
    ["0012_produce_consume", "0017_compression", "0054_offset_time", "0081_admin do_test_DescribeConfigs"];

/// Does what the words say.
pub fn run(words: &[&str]) -> Result<()> {
    if words == ["--list"] {
        for test in ALL {
            match test.plan {
                Plan::Run(_) => say(&test.label()),
                Plan::Left(lacks) => say(&format!("{}: not run, it needs {lacks}", test.label())),
            }
        }
        return Ok(());
    }
    if words == ["--short"] {
        return short();
    }
    prepare(Series::parse(words)?)?.enter()
}

/// Runs the tests; this process is in the namespaces already.
pub fn run_inside(words: &[&str]) -> Result<()> {
    Series::parse(words)?.run_inside()
}

/// The short set of CI.
pub fn short() -> Result<()> {
    let status = prepare(Series::parse(&SHORT)?)?.command()?.status().context("start unshare")?;
    ensure!(status.success(), "a test of librdkafka's failed");
    Ok(())
}

/// Brings everything that has to come from outside: inside there is no network.
fn prepare(mut series: Series) -> Result<Series> {
    let steps = super::prepare_rig()?;
    Librdkafka::ensure(&steps)?;
    if series.kafka {
        Kafka::ensure(&steps)?;
    } else if series.binary.is_none() {
        series.binary = Some(faults::compile(&steps, false)?);
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_set_is_run() {
        assert!(SHORT.iter().all(|test| Series::parse(&[test]).is_ok()));
    }
}
