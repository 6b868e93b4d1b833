//! The figures: what each is called, what is to be reached, and what may be concluded from what was measured.

use crate::faults::catalogue::Durability;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// The longest time without an acknowledgement in some partition after a leader is killed and stays away.
    LeaderGap,
    /// The same after a leader falls silent: no packet from it or to it.
    SilentGap,
    /// From then until a client that knows nothing yet has its record acknowledged in every partition.
    SilentFresh,
    /// The longest time without an acknowledgement after the active controller is killed.
    ControllerGap,
    /// The same where controllers are no brokers, and every leader lives.
    ControllerApartGap,
    /// The longest time without an acknowledgement to librdkafka while each broker is stopped and started in turn.
    RestartStall,
    /// The same to Kafka's own producer.
    RestartStallOfJava,
    /// Errors that both producers were told of meanwhile.
    RestartErrors,
    /// Records of 1 KB a second, as many as go.
    Throughput(Durability),
    /// What all brokers together spent on a gigabyte of it.
    CpuPerGigabyte(Durability),
    /// The 99th percentile of the time to an acknowledgement at half of the slower product's throughput.
    Latency(Durability),
    /// The memory of the largest broker after that.
    Memory(Durability),
    /// The 99th percentile of the time to an acknowledgement at 2,000 records a second.
    SteadyLatency,
    /// The same from the start of a broker that has to fetch 2 GB.
    RecoveryLatency,
    /// How long it takes until it is in sync.
    RecoveryTime,
    /// From the start of three brokers with many partitions until every partition is led.
    ColdStart,
    /// The memory of the largest broker then.
    ColdMemory,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// No more than that.
    AtMost(f64),
    /// Every single value, no more than the first in the median and no more than the second.
    AtMostMedianAndWorst(f64, f64),
    /// So many times what Kafka has, or more.
    TimesKafka(f64),
    /// That part of what Kafka has, or less.
    PartOfKafka(f64),
}

/// What was measured of one product.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Figure {
    /// Its name in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LeaderGap => "gap after kill -9 of a leader that stays away, s",
            Self::SilentGap => "gap after a leader falls silent (no packets), s",
            Self::SilentFresh => "until a fresh client reaches every partition then, s",
            Self::ControllerGap => "gap after kill -9 of the active controller, s",
            Self::ControllerApartGap => "the same where controllers are no brokers (healthy leaders), s",
            Self::RestartStall => "longest stall in a controlled restart, librdkafka 2.0.2, s",
            Self::RestartStallOfJava => "longest stall in a controlled restart, Kafka's producer, s",
            Self::RestartErrors => "errors producers see in a controlled restart",
            Self::Throughput(_) => "produce, 1 KB, acks=all, records/s",
            Self::CpuPerGigabyte(_) => "CPU of all brokers, s/GB",
            Self::Latency(_) => "p99 at half of the slower one's throughput, ms",
            Self::Memory(_) => "memory of the largest broker after load, MiB",
            Self::SteadyLatency => "p99 at 2,000 records/s, ms",
            Self::RecoveryLatency => "the same while a broker fetches 2 GB that it missed, ms",
            Self::RecoveryTime => "from that broker's start until it is in sync, s",
            Self::ColdStart => "3,000 partitions: cold start until all are led, s",
            Self::ColdMemory => "3,000 partitions: memory of the largest broker, MiB",
        }
    }

    /// What an acknowledgement means in it.
    #[must_use]
    pub fn durability(self) -> Durability {
        match self {
            Self::Throughput(durability)
            | Self::CpuPerGigabyte(durability)
            | Self::Latency(durability)
            | Self::Memory(durability) => durability,
            Self::LeaderGap
            | Self::SilentGap
            | Self::SilentFresh
            | Self::ControllerGap
            | Self::ControllerApartGap
            | Self::RestartStall
            | Self::RestartStallOfJava
            | Self::RestartErrors
            | Self::SteadyLatency
            | Self::RecoveryLatency
            | Self::RecoveryTime
            | Self::ColdStart
            | Self::ColdMemory => Durability::PageCache,
        }
    }

    /// What is to be reached, if anything was promised.
    #[must_use]
    pub fn target(self) -> Option<Target> {
        let synced = self.durability() == Durability::Synced;
        match self {
            Self::LeaderGap => Some(Target::AtMost(1.5)),
            Self::SilentGap => Some(Target::PartOfKafka(1.0)),
            Self::SilentFresh => Some(Target::AtMost(5.0)),
            Self::ControllerGap => Some(Target::AtMost(2.0)),
            // None: no longer than between any two acknowledgements.
            Self::ControllerApartGap => Some(Target::AtMost(0.1)),
            Self::RestartStall | Self::RestartStallOfJava => Some(Target::AtMostMedianAndWorst(0.2, 0.5)),
            Self::RestartErrors => Some(Target::AtMostMedianAndWorst(0.0, 0.0)),
            Self::Throughput(_) => Some(Target::TimesKafka(if synced { 4.0 } else { 1.5 })),
            Self::CpuPerGigabyte(_) | Self::Latency(_) if synced => None,
            Self::CpuPerGigabyte(_) | Self::Latency(_) => Some(Target::PartOfKafka(0.5)),
            Self::Memory(_) => Some(Target::AtMost(120.0)),
            // Nothing was promised: a figure for decision 0045.
            Self::SteadyLatency | Self::RecoveryLatency | Self::RecoveryTime => None,
            Self::ColdStart => Some(Target::AtMost(5.0)),
            Self::ColdMemory => Some(Target::AtMost(150.0)),
        }
    }
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most}"),
            Self::AtMostMedianAndWorst(median, worst) => format!("median {median}, worst {worst}"),
            Self::TimesKafka(times) => format!("{times} x Kafka"),
            Self::PartOfKafka(part) => format!("{part} x Kafka or less"),
        }
    }

    /// What may be concluded. Beside Kafka nothing may where the two ranges touch.
    fn verdict(self, ours: &Sample, kafka: Option<&Sample>) -> &'static str {
        let reached = |reached: bool| if reached { "reached" } else { "MISSED" };
        let ratio = kafka.map(|kafka| (ours.touches(kafka), ours.median() / kafka.median()));
        match (self, ratio) {
            (Self::AtMost(most), _) => {
                let (low, high) = ours.range();
                if low <= most && most < high { "inside the spread" } else { reached(high <= most) }
            }
            (Self::AtMostMedianAndWorst(median, worst), _) => {
                reached(ours.median() <= median && ours.range().1 <= worst)
            }
            (Self::TimesKafka(_) | Self::PartOfKafka(_), None) => "Kafka was not measured",
            (Self::TimesKafka(_) | Self::PartOfKafka(_), Some((true, _))) => "inside the spread",
            (Self::TimesKafka(times), Some((false, ratio))) => reached(ratio >= times),
            (Self::PartOfKafka(part), Some((false, ratio))) => reached(ratio <= part),
        }
    }
}

impl Sample {
    /// From values in any order; none of none.
    #[must_use]
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self { sorted: values })
    }

    fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        let upper = self.sorted.get(middle).copied().unwrap_or_default();
        let lower = self.sorted.get(middle.saturating_sub(1)).copied().unwrap_or(upper);
        if self.sorted.len().is_multiple_of(2) { f64::midpoint(lower, upper) } else { upper }
    }

    fn range(&self) -> (f64, f64) {
        let first = self.sorted.first().copied().unwrap_or_default();
        (first, self.sorted.last().copied().unwrap_or(first))
    }

    fn touches(&self, other: &Self) -> bool {
        let ((low, high), (other_low, other_high)) = (self.range(), other.range());
        low <= other_high && other_low <= high
    }

    fn text(&self) -> String {
        let (low, high) = self.range();
        let show = |number: f64| {
            let digits = if number.abs() < 10.0 { 2 } else { usize::from(number.abs() < 1000.0) };
            format!("{number:.digits$}")
        };
        format!("{} ({} to {})", show(self.median()), show(low), show(high))
    }
}

/// One row of the table, in Markdown.
#[must_use]
pub fn row(figure: Figure, ours: Option<&Sample>, kafka: Option<&Sample>) -> String {
    let shown = |sample: Option<&Sample>| sample.map_or_else(|| "-".to_owned(), Sample::text);
    let ratio = ours.zip(kafka).filter(|(_, kafka)| kafka.median() > 0.0);
    let ratio = ratio
        .map_or_else(|| "-".to_owned(), |(ours, kafka)| format!("{:.2}", ours.median() / kafka.median()));
    let verdict = figure.target().zip(ours).map_or("-", |(target, ours)| target.verdict(ours, kafka));
    format!(
        "| {} | {} | {} | {} | {ratio} | {} | {verdict} |",
        figure.title(),
        figure.durability().text(),
        shown(ours),
        shown(kafka),
        figure.target().map_or_else(|| "-".to_owned(), Target::text),
    )
}

/// What stands above the rows.
pub const HEAD: &str = "\
| what | acknowledged in | Ottla: median (range) | Apache Kafka: median (range) | ratio | to reach | verdict |
|---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec()).unwrap()
    }

    #[test]
    fn a_sample_has_a_median_and_a_range() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).text(), "2.00 (1.00 to 3.00)");
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).text(), "2.50 (1.00 to 4.00)");
        assert_eq!(Sample::new(Vec::new()), None);
    }

    #[test]
    fn nothing_is_concluded_where_ranges_touch() {
        let (low, high, wide) = (sample(&[1.0, 2.0]), sample(&[9.0, 10.0]), sample(&[1.5, 20.0]));
        assert_eq!(Target::TimesKafka(4.0).verdict(&high, Some(&low)), "reached");
        assert_eq!(Target::TimesKafka(9.0).verdict(&high, Some(&low)), "MISSED");
        assert_eq!(Target::TimesKafka(4.0).verdict(&wide, Some(&low)), "inside the spread");
        assert_eq!(Target::PartOfKafka(0.5).verdict(&low, Some(&high)), "reached");
        assert_eq!(Target::PartOfKafka(0.5).verdict(&low, None), "Kafka was not measured");
        assert_eq!(Target::AtMost(3.0).verdict(&low, None), "reached");
        assert_eq!(Target::AtMost(3.0).verdict(&wide, None), "inside the spread");
        assert_eq!(Target::AtMost(3.0).verdict(&high, None), "MISSED");
        assert_eq!(Target::AtMostMedianAndWorst(2.0, 2.0).verdict(&low, None), "reached");
        assert_eq!(Target::AtMostMedianAndWorst(2.0, 1.5).verdict(&low, None), "MISSED");
    }

    #[test]
    fn a_row_tells_both_their_ratio_and_what_an_acknowledgement_means() {
        let row =
            row(Figure::Throughput(Durability::Synced), Some(&sample(&[800.0])), Some(&sample(&[100.0])));
        assert!(row.contains(
            "| synced | 800.0 (800.0 to 800.0) | 100.0 (100.0 to 100.0) | 8.00 | 4 x Kafka | reached |"
        ));
    }
}
