//! librdkafka's tests that are not marked as local, in its own order, and which of them need only what exists by now.
//!
//! [`check`] compares the list with the release's own.

use std::collections::BTreeSet;
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};

use self::Lacks::{
    Acls, Api, AutomaticTopics, Groups, NotOurs, Offsets, Sasl, ScramCredentials, Tls, Transactions,
};
use self::Topics::{Named, NamedBut, Own, Refused};
use crate::librdkafka::Librdkafka;

/// One test, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Its name in librdkafka, which begins with its number.
    pub name: &'static str,
    /// The function of the part, where a test is not run as a whole.
    pub part: Option<&'static str>,
    /// What is done with it.
    pub plan: Plan,
}

/// What is done with a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// It is run.
    Run(Topics),
    /// It is not run.
    Left(Lacks),
}

/// Who makes the topics of a test. Brokers make none by themselves: neither product is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topics {
    /// The test makes its topics itself, or has none.
    Own,
    /// The test expects each topic it names to be made by the brokers: we make it as soon as it is named.
    Named,
    /// The same, but for the topics whose names contain this: the test makes those itself.
    NamedBut(&'static str),
    /// The test makes its topics itself and asks that brokers make none: librdkafka's scenario `noautocreate`.
    Refused,
}

/// What a test needs that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// A consumer that is a member of a group.
    Groups,
    /// Offsets that a group has committed.
    Offsets,
    /// Transactions.
    Transactions,
    /// Topics that brokers make by themselves, where that is what the test is about.
    AutomaticTopics,
    /// Clients that say who they are.
    Sasl,
    /// Encrypted connections.
    Tls,
    /// Rights of principals.
    Acls,
    /// Passwords kept by the brokers.
    ScramCredentials,
    /// A request of Kafka's protocol.
    Api(&'static str),
    /// Nothing of the brokers'.
    NotOurs(&'static str),
}

impl fmt::Display for Lacks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Groups => formatter.write_str("consumer groups"),
            Offsets => formatter.write_str("consumer groups: committed offsets"),
            Transactions => formatter.write_str("transactions"),
            AutomaticTopics => formatter.write_str("automatic creation of topics"),
            Sasl => formatter.write_str("security: SASL"),
            Tls => formatter.write_str("security: TLS"),
            Acls => formatter.write_str("security: ACLs"),
            ScramCredentials => formatter.write_str("security: SCRAM credentials"),
            Api(name) => write!(formatter, "the request {name}"),
            NotOurs(why) => formatter.write_str(why),
        }
    }
}

impl Test {
    /// How it is called in lists: the name, and the part if it is one.
    #[must_use]
    pub fn label(&self) -> String {
        self.part.map_or_else(|| self.name.to_owned(), |part| format!("{} {part}", self.name))
    }

    /// Its number, by which librdkafka selects it.
    #[must_use]
    pub fn number(&self) -> &'static str {
        self.name.split('_').next().unwrap_or(self.name)
    }

    /// The tests that a person means by these words: the beginning of a label each. All that can be run without words.
    pub fn named(words: &[&str]) -> Result<Vec<&'static Self>, String> {
        let runs = |test: &&Self| matches!(test.plan, Plan::Run(_));
        if words.is_empty() {
            return Ok(ALL.iter().filter(runs).collect());
        }
        for word in words {
            let mut meant = ALL.iter().filter(|test| test.label().starts_with(word)).peekable();
            if meant.peek().is_none() {
                return Err(format!("there is no test {word}; see --list"));
            }
            if !meant.clone().any(|test| runs(&test)) {
                let lacks: Vec<String> =
                    meant.filter_map(Self::lacks).map(|lacks| lacks.to_string()).collect();
                return Err(format!("{word} is not run: it needs {}", lacks.join("; ")));
            }
        }
        let meant = |test: &&Self| words.iter().any(|word| test.label().starts_with(word));
        Ok(ALL.iter().filter(runs).filter(meant).collect())
    }

    /// What it lacks, if it is not run.
    #[must_use]
    pub fn lacks(&self) -> Option<Lacks> {
        match self.plan {
            Plan::Run(_) => None,
            Plan::Left(lacks) => Some(lacks),
        }
    }
}

const fn run(name: &'static str, topics: Topics) -> Test {
    Test { name, part: None, plan: Plan::Run(topics) }
}

const fn left(name: &'static str, lacks: Lacks) -> Test {
    Test { name, part: None, plan: Plan::Left(lacks) }
}

const fn run_part(name: &'static str, part: &'static str) -> Test {
    Test { name, part: Some(part), plan: Plan::Run(Own) }
}

const fn left_part(name: &'static str, part: &'static str, lacks: Lacks) -> Test {
    Test { name, part: Some(part), plan: Plan::Left(lacks) }
}

const MOCK: Lacks = NotOurs("no broker: it runs against librdkafka's own mock cluster");
const MANUAL: Lacks = NotOurs("a person: it is for runs by hand");
const KNOWN_ISSUE: Lacks = NotOurs("a mended librdkafka: its authors leave it out as a known issue");
const OLD_FORMAT: Lacks = NotOurs("the record format that Kafka 4.0 removed: it skips itself");
const ADMIN: &str = "0081_admin";

/// All of them.
pub const ALL: &[Test] = &[
    run("0001_multiobj", Named),
    run("0002_unkpart", Named),
    run("0003_msgmaxsize", Named),
    run("0005_order", Named),
    left("0007_autotopic", AutomaticTopics),
    run("0008_reqacks", Named),
    run("0011_produce_batch", NamedBut("per_message_flag")),
    run("0012_produce_consume", Named),
    run("0013_null_msgs", Named),
    left("0014_reconsume_191", Offsets),
    run("0015_offsets_seek", Named),
    run("0016_client_swname", Own),
    run("0017_compression", Named),
    left("0018_cgrp_term", Groups),
    left("0019_list_groups", Groups),
    left("0020_destroy_hang", Groups),
    run("0021_rkt_destroy", Named),
    Test { name: "0022_consume_batch", part: Some("do_test_consume_batch"), plan: Plan::Run(Named) },
    left_part("0022_consume_batch", "do_test_consume_batch_non_existent_topic", Groups),
    left("0026_consume_pause", Groups),
    left("0028_long_topicnames", KNOWN_ISSUE),
    left("0029_assign_offset", Groups),
    left("0030_offset_commit", Offsets),
    run("0031_get_offsets", Named),
    left("0033_regex_subscribe", Groups),
    run("0034_offset_reset", Named),
    run("0035_api_version", Own),
    run("0036_partial_fetch", Named),
    run("0038_performance", Named),
    run("0039_event_dr", Named),
    left("0040_io_event", Groups),
    run("0041_fetch_max_bytes", Named),
    left("0042_many_topics", Groups),
    run("0044_partition_cnt", Own),
    left("0045_subscribe_update", Groups),
    left("0045_subscribe_update_topic_remove", Groups),
    left("0045_subscribe_update_non_exist_and_partchange", Groups),
    left("0045_resubscribe_with_regex", Groups),
    left("0045_subscribe_many_updates", Groups),
    left("0047_partial_buf_tmout", KNOWN_ISSUE),
    run("0048_partitioner", NamedBut("do_test_partitioners")),
    left("0049_consume_conn_close", Groups),
    left("0050_subscribe_adds", Groups),
    left("0051_assign_adds", Offsets),
    left("0052_msg_timestamps", Groups),
    run("0053_stats", Named),
    run("0054_offset_time", Named),
    left("0055_producer_latency", Transactions),
    left("0056_balanced_group_mt", Groups),
    run("0057_invalid_topic", Named),
    run("0059_bsearch", Named),
    left("0060_op_prio", Groups),
    left("0061_consumer_lag", Offsets),
    run("0063_clusterid", Own),
    left("0064_interceptors", Groups),
    run("0065_yield", Named),
    left("0067_empty_topic", Offsets),
    left("0068_produce_timeout", MOCK),
    left("0069_consumer_add_parts", Groups),
    run("0070_null_empty", Named),
    run("0073_headers", Named),
    run("0075_retry", Own),
    left("0076_produce_retry", Groups),
    left("0077_compaction", Groups),
    run_part(ADMIN, "do_test_unclean_destroy"),
    run_part(ADMIN, "do_test_CreateTopics"),
    run_part(ADMIN, "do_test_DeleteTopics"),
    run_part(ADMIN, "do_test_CreatePartitions"),
    left_part(ADMIN, "do_test_CreateAcls", Acls),
    left_part(ADMIN, "do_test_DescribeAcls", Acls),
    left_part(ADMIN, "do_test_DeleteAcls", Acls),
    left_part(ADMIN, "do_test_AlterConfigs", Api("AlterConfigs")),
    left_part(ADMIN, "do_test_IncrementalAlterConfigs", Groups),
    run_part(ADMIN, "do_test_DescribeConfigs"),
    left_part(ADMIN, "do_test_DescribeConfigs_groups", Groups),
    left_part(ADMIN, "do_test_DeleteRecords", Api("DeleteRecords")),
    left_part(ADMIN, "do_test_ListConsumerGroups", Groups),
    left_part(ADMIN, "do_test_DescribeConsumerGroups", Groups),
    run_part(ADMIN, "do_test_DescribeTopics"),
    run_part(ADMIN, "do_test_DescribeCluster"),
    left_part(ADMIN, "do_test_DescribeConsumerGroups_with_authorized_ops", Groups),
    left_part(ADMIN, "do_test_DeleteGroups", Groups),
    left_part(ADMIN, "do_test_DeleteConsumerGroupOffsets", Offsets),
    run_part(ADMIN, "do_test_ListOffsets"),
    left_part(ADMIN, "do_test_AlterConsumerGroupOffsets", Offsets),
    left_part(ADMIN, "do_test_ListConsumerGroupOffsets", Offsets),
    left_part(ADMIN, "do_test_UserScramCredentials", ScramCredentials),
    left("0082_fetch_max_bytes", Groups),
    left("0083_cb_event", Groups),
    left("0084_destroy_flags", Groups),
    run("0085_headers", Own),
    run("0086_purge_remote", Own),
    run("0088_produce_metadata_timeout", Own),
    left("0089_max_poll_interval", Groups),
    left("0090_idempotence", Offsets),
    left("0091_max_poll_interval_timeout", Groups),
    left("0092_mixed_msgver", OLD_FORMAT),
    left("0093_holb_consumer", Groups),
    left("0094_idempotence_msg_timeout", Offsets),
    left("0097_ssl_verify", Tls),
    left("0098_consumer_txn", Transactions),
    left("0099_commit_metadata", Offsets),
    left("0101_fetch_from_follower", Groups),
    left("0102_static_group_rebalance", Groups),
    left("0103_transactions", Transactions),
    left("0107_topic_recreate", Groups),
    left("0109_auto_create_topics", Groups),
    run("0110_batch_size", Named),
    run("0111_delay_create_topics", Refused),
    run("0112_assign_unknown_part", Own),
    left("0113_cooperative_rebalance", Groups),
    run("0114_sticky_partitioning", Own),
    left("0115_producer_auth", Acls),
    left("0118_commit_rebalance", Groups),
    left("0119_consumer_auth", Acls),
    left("0122_buffer_cleaning_after_rebalance", Groups),
    run("0123_connections_max_idle", Own),
    left("0125_immediate_flush", Groups),
    left("0126_oauthbearer_oidc", Sasl),
    left("0127_fetch_queue_backoff", Offsets),
    left("0129_fetch_aborted_msgs", Transactions),
    left("0130_store_offsets", Offsets),
    left("0132_strategy_ordering", Groups),
    left("0135_sasl_credentials", Sasl),
    left("0137_barrier_batch_consume", Groups),
    left("0139_offset_validation_mock", MOCK),
    left("0140_commit_metadata", Offsets),
    left("0142_reauthentication", Sasl),
    left("0150_telemetry_mock", MOCK),
    left("0153_memberid", Groups),
    left("8000_idle", MANUAL),
    left("8001_fetch_from_follower_mock_manual", MANUAL),
];

/// Fails unless our list has every test of the release that is not local, and no other.
pub fn check(release: &Librdkafka) -> Result<()> {
    let file = release.table_of_tests();
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let theirs = broker_tests(&text);
    let ours: BTreeSet<&str> = ALL.iter().map(|test| test.name).collect();
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&theirs).collect();
    ensure!(
        missing.is_empty() && surplus.is_empty(),
        "the list of tests is not that of the release: it lacks {missing:?} and has {surplus:?} too much"
    );
    Ok(())
}

/// The names of the tests in librdkafka's own table that need something outside of themselves.
fn broker_tests(text: &str) -> BTreeSet<&str> {
    let table = text.split_once("tests[] = {").map_or("", |(_, rest)| rest);
    let table = table.split_once("\n};").map_or(table, |(table, _)| table);
    let entries = table.split("_TEST(").skip(1).filter(|entry| !entry.contains("TEST_F_LOCAL"));
    entries.filter_map(|entry| entry.split(',').next()).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_there_once() {
        let labels: BTreeSet<String> = ALL.iter().map(Test::label).collect();
        assert_eq!(labels.len(), ALL.len());
    }

    #[test]
    fn words_name_tests_by_how_their_labels_begin_and_no_words_name_all_that_are_run() {
        let labels = |words: &[&str]| -> Vec<String> {
            Test::named(words).unwrap().into_iter().map(Test::label).collect()
        };
        assert_eq!(labels(&["0001"]), ["0001_multiobj"]);
        assert_eq!(labels(&["0081_admin do_test_DescribeT"]), ["0081_admin do_test_DescribeTopics"]);
        assert!(labels(&["0081"]).len() > 5);
        assert!(labels(&[]).iter().all(|label| !label.starts_with("0103")));
        assert_eq!(Test::named(&["0103"]).unwrap_err(), "0103 is not run: it needs transactions");
        assert_eq!(Test::named(&["0999"]).unwrap_err(), "there is no test 0999; see --list");
    }

    #[test]
    fn tests_are_read_from_the_table_of_the_release_without_those_that_are_local() {
        let text = "_TEST_DECL(0001_a);\nstruct test tests[] = {\n    {.name = \"<MAIN>\", .flags = TEST_F_LOCAL},\n    \
                    _TEST(0001_a, 0),\n    _TEST(0002_b,\n          TEST_F_LOCAL,\n          _THRES(.ucpu = 1.0)),\n    \
                    /* Why. */\n    _TEST(0003_c, TEST_F_SOCKEM, TEST_BRKVER(0, 9, 0, 0)),\n    {NULL}\n};\n\
                    _TEST(0004_d, 0),";
        assert_eq!(broker_tests(text), BTreeSet::from(["0001_a", "0003_c"]));
    }
}
