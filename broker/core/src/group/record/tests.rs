use proptest::prelude::*;

use super::*;

/// What Apache Kafka 4.3.1 makes of the same values (GroupCoordinatorRecordSerde).
const COMMIT_KEY: &str = "000100076772c3bc70706500017400000007";
const COMMIT_4: &str =
    "00040000011f71fb04cb00000005056e6f74650000018bcfe568000100100102030405060708090a0b0c0d0e0f10";
const COMMIT_4_BARE: &str = "00040000000000000001ffffffff01000000000000000200";
const COMMIT_3: &str = "000300000000000000010000000300016d0000000000000002";
const COMMIT_1: &str = "0001000000000000000100016d00000000000000020000000000000009";
const COMMIT_0: &str = "0000000000000000000100016d0000000000000002";
const GROUP_KEY: &str = "0002000167";
const GROUPS: [&str; 5] = [
    "00000008636f6e73756d657200000003000572616e676500036d2d310000000200036d2d31000163000a2f3132372e302e302e310000afc8000000020102000000010300036d2d32000163000a2f3132372e302e302e310000afc80000000201020000000103",
    "00010008636f6e73756d657200000003000572616e676500036d2d310000000200036d2d31000163000a2f3132372e302e302e31000493e00000afc8000000020102000000010300036d2d32000163000a2f3132372e302e302e31000493e00000afc80000000201020000000103",
    "00020008636f6e73756d657200000003000572616e676500036d2d310000018bcfe568000000000200036d2d31000163000a2f3132372e302e302e31000493e00000afc8000000020102000000010300036d2d32000163000a2f3132372e302e302e31000493e00000afc80000000201020000000103",
    "00030008636f6e73756d657200000003000572616e676500036d2d310000018bcfe568000000000200036d2d31000169000163000a2f3132372e302e302e31000493e00000afc8000000020102000000010300036d2d32ffff000163000a2f3132372e302e302e31000493e00000afc80000000201020000000103",
    "000409636f6e73756d6572000000030672616e6765046d2d310000018bcfe5680003046d2d31026902630b2f3132372e302e302e31000493e00000afc8030102020300046d2d320002630b2f3132372e302e302e31000493e00000afc803010202030000",
];
const EMPTY_GROUP: &str = "00030008636f6e73756d657200000004ffffffff000000000000000500000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn read(key: &str, value: &str) -> GroupRecord {
    GroupRecord::decode(&bytes(key), Some(&bytes(value))).unwrap().unwrap()
}

fn commit(value: CommittedOffset) -> GroupRecord {
    let at = OffsetKey { topic: TopicName::parse("t").unwrap(), partition: PartitionIndex(7) };
    GroupRecord::OffsetCommit { group: GroupId::from("grüppe"), at, value: Some(value) }
}

fn small(metadata: &str) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(1),
        leader_epoch: None,
        metadata: metadata.to_owned(),
        committed: Wall(2),
        expires: None,
        topic_id: TopicId::default(),
    }
}

fn member(id: &str, instance: Option<&str>) -> ClassicMemberValue {
    ClassicMemberValue {
        id: MemberId::from(id),
        instance: instance.map(InstanceId::from),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[1, 2]),
        assignment: Bytes::from_static(&[3]),
    }
}

fn group() -> ClassicGroupValue {
    ClassicGroupValue {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        protocol: Some("range".to_owned()),
        leader: Some(MemberId::from("m-1")),
        state_since: Some(Wall(1_700_000_000_000)),
        members: vec![member("m-1", Some("i")), member("m-2", None)],
    }
}

fn of_group(value: Option<ClassicGroupValue>) -> GroupRecord {
    GroupRecord::ClassicGroup { group: GroupId::from("g"), value }
}

#[test]
fn commits_are_written_as_kafka_writes_them() {
    let full = CommittedOffset {
        offset: Offset(1_234_567_890_123),
        leader_epoch: Some(LeaderEpoch(5)),
        metadata: "note".to_owned(),
        committed: Wall(1_700_000_000_000),
        expires: None,
        topic_id: TopicId(uuid::Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
    };
    let expiring = CommittedOffset { expires: Some(Wall(9)), ..small("m") };
    for (value, expected) in [(full, COMMIT_4), (small(""), COMMIT_4_BARE), (expiring, COMMIT_1)] {
        let record = commit(value);
        let encoded = EncodedRecord { key: bytes(COMMIT_KEY), value: Some(bytes(expected)) };
        assert_eq!(record.encode(), encoded);
        assert_eq!(read(COMMIT_KEY, expected), record);
    }
}

#[test]
fn commits_of_older_releases_are_read() {
    assert_eq!(read(COMMIT_KEY, COMMIT_0), commit(small("m")));
    let with_epoch = CommittedOffset { leader_epoch: Some(LeaderEpoch(3)), ..small("m") };
    assert_eq!(read(COMMIT_KEY, COMMIT_3), commit(with_epoch));
    let key_0 = COMMIT_KEY.replacen("0001", "0000", 1);
    assert_eq!(read(&key_0, COMMIT_0), commit(small("m")));
}

#[test]
fn groups_are_written_as_kafka_writes_them() {
    let encoded = EncodedRecord { key: bytes(GROUP_KEY), value: Some(bytes(GROUPS[3])) };
    assert_eq!(of_group(Some(group())).encode(), encoded);
    let empty = ClassicGroupValue {
        generation: 4,
        protocol: None,
        leader: None,
        state_since: Some(Wall(5)),
        members: Vec::new(),
        ..group()
    };
    assert_eq!(of_group(Some(empty.clone())).encode().value, Some(bytes(EMPTY_GROUP)));
    assert_eq!(read(GROUP_KEY, EMPTY_GROUP), of_group(Some(empty)));
}

#[test]
fn groups_of_every_version_are_read() {
    for (version, hex) in GROUPS.iter().enumerate() {
        let mut expected = group();
        if version < 3 {
            expected.members[0].instance = None;
        }
        if version < 2 {
            expected.state_since = None;
        }
        if version < 1 {
            expected.members.iter_mut().for_each(|m| m.rebalance_timeout_ms = m.session_timeout_ms);
        }
        assert_eq!(read(GROUP_KEY, hex), of_group(Some(expected)), "version {version}");
    }
}

#[test]
fn a_tombstone_takes_its_key_away() {
    let encoded = of_group(None).encode();
    assert_eq!(encoded, EncodedRecord { key: bytes(GROUP_KEY), value: None });
    assert_eq!(GroupRecord::decode(&encoded.key, None), Ok(Some(of_group(None))));
}

#[test]
fn what_is_not_known_is_let_be_or_named() {
    assert_eq!(GroupRecord::decode(&[0, 99, 1], Some(&[0, 0])), Ok(None), "a key of another protocol");
    let future = GroupRecord::decode(&bytes(GROUP_KEY), Some(&[0, 5]));
    assert_eq!(future, Err(RecordError::UnknownVersion { key: 2, version: 5 }));
    assert_eq!(
        GroupRecord::decode(&[0, 2, 0, 9], None),
        Err(RecordError::Truncated { what: "group" }),
        "a length is not believed"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..80),
        kind in 0u8..3,
        version in 0u8..6,
    ) {
        let _any = GroupRecord::decode(&key, Some(&value));
        let mut key = bytes(if kind == 2 { GROUP_KEY } else { COMMIT_KEY });
        key[1] = kind;
        let value = [&[0, version], value.as_slice()].concat();
        let _any = GroupRecord::decode(&key, Some(&value));
    }

    #[test]
    fn cut_values_are_errors(cut in 2usize..100, version in 0usize..5) {
        let value = bytes(GROUPS[version]);
        prop_assume!(cut < value.len());
        prop_assert!(GroupRecord::decode(&bytes(GROUP_KEY), Some(&value[..cut])).is_err());
    }
}
