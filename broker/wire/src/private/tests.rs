use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Request};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{request, response};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

prop_compose! {
    fn leader()(node_id in any::<u32>(), host in ".{0,40}", port in any::<u16>()) -> LeaderHint {
        LeaderHint { node_id, host, port }
    }
}

prop_compose! {
    fn snapshot()(offset in any::<u64>(), term in any::<u64>(), size in any::<u64>()) -> SnapshotDescriptor {
        SnapshotDescriptor { offset, term, size }
    }
}

/// Round trip, exact size, every truncation refused, unknown tags skipped, and a
/// trailing byte noticed.
fn check_body<M: Encodable + Decodable + PartialEq + std::fmt::Debug>(message: &M) {
    let mut out = BytesMut::new();
    message.encode(&mut out, 0).unwrap();
    assert_eq!(message.compute_size(0).unwrap(), out.len());
    let whole = out.freeze();
    assert_eq!(&M::decode(&mut whole.clone(), 0).unwrap(), message);
    for cut in 0..whole.len() {
        assert!(M::decode(&mut whole.slice(..cut), 0).is_err(), "cut at {cut}");
    }
    let mut tagged = BytesMut::from(&whole[..whole.len() - 1]);
    tagged.extend_from_slice(&[2, 0, 0, 9, 3, 1, 2, 3]);
    let mut tagged = tagged.freeze();
    assert_eq!(&M::decode(&mut tagged, 0).unwrap(), message);
    assert!(tagged.is_empty());
    assert!(message.encode(&mut BytesMut::new(), 1).is_err());
}

fn check_request<R: Request + PartialEq + std::fmt::Debug>(message: &R) {
    check_body(message);
    let client_id = "peer".into();
    let mut frame = request::encode(0, 5, &client_id, message).unwrap().slice(4..);
    let header = request::RequestHeader::decode(&mut frame).unwrap();
    assert_eq!((header.api_key, header.correlation_id), (R::KEY, 5));
    assert_eq!(&request::decode_body::<R>(0, frame).unwrap(), message);
}

fn check_response<R: Request>(message: &R::Response)
where
    R::Response: PartialEq + std::fmt::Debug,
{
    check_body(message);
    let mut frame = response::encode::<R>(0, 5, message).unwrap().slice(4..);
    assert_eq!(response::decode_correlation_id(&mut frame).unwrap(), 5);
    response::decode_header_rest(R::KEY, 0, &mut frame).unwrap();
    assert_eq!(&response::decode_body::<R>(0, frame).unwrap(), message);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn raft_message_survives(
        cluster_id in ".{0,30}",
        from_node_id in any::<u32>(),
        from_directory_id in uuid(),
        to_directory_id in uuid(),
        payload in bytes(),
        error_code in any::<i16>(),
    ) {
        check_request(&RaftMessageRequest { cluster_id, from_node_id, from_directory_id, to_directory_id, payload });
        check_response::<RaftMessageRequest>(&RaftMessageResponse { error_code });
    }

    #[test]
    fn fetch_metadata_survives(
        node_id in any::<u32>(),
        broker_epoch in any::<i64>(),
        from_offset in any::<u64>(),
        limits in any::<(u32, u32)>(),
        error_code in any::<i16>(),
        leader in prop::option::of(leader()),
        entries in bytes(),
        snapshot in prop::option::of(snapshot()),
    ) {
        let (max_bytes, max_wait_ms) = limits;
        check_request(&FetchMetadataRequest { node_id, broker_epoch, from_offset, max_bytes, max_wait_ms });
        check_response::<FetchMetadataRequest>(&FetchMetadataResponse {
            error_code, leader, high_watermark: from_offset, entries, snapshot,
        });
    }

    #[test]
    fn fetch_metadata_snapshot_survives(
        offset in any::<u64>(),
        term in any::<u64>(),
        position in any::<u64>(),
        max_bytes in any::<u32>(),
        error_code in any::<i16>(),
        bytes in bytes(),
    ) {
        check_request(&FetchMetadataSnapshotRequest { offset, term, position, max_bytes });
        check_response::<FetchMetadataSnapshotRequest>(&FetchMetadataSnapshotResponse {
            error_code, size: term, position, bytes,
        });
    }

    #[test]
    fn forward_survives(
        principal_name in ".{0,30}",
        client_id in ".{0,30}",
        client_host in ".{0,30}",
        api in any::<(i16, i16)>(),
        body in bytes(),
        error_code in any::<i16>(),
    ) {
        check_request(&ForwardRequest {
            principal_type: "User".into(),
            principal_name,
            client_id,
            listener: "PLAIN".into(),
            client_host,
            api_key: api.0,
            api_version: api.1,
            body: body.clone(),
        });
        check_response::<ForwardRequest>(&ForwardResponse { error_code, body });
    }

    #[test]
    fn restart_safety_survives(brokers in prop::collection::vec(any::<i32>(), 0..20), code in ".{0,9}", message in ".{0,30}") {
        check_request(&RestartSafetyRequest { brokers });
        let reasons = vec![RestartReason { code, message }];
        check_response::<RestartSafetyRequest>(&RestartSafetyResponse { error_code: 0, reasons });
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = request::decode_body::<RaftMessageRequest>(0, bytes.clone());
        let _ = request::decode_body::<ForwardRequest>(0, bytes.clone());
        let _ = request::decode_body::<RestartSafetyRequest>(0, bytes.clone());
        let _ = response::decode_body::<RestartSafetyRequest>(0, bytes.clone());
        let _ = response::decode_body::<FetchMetadataRequest>(0, bytes.clone());
        let _ = response::decode_body::<FetchMetadataSnapshotRequest>(0, bytes);
    }
}

#[test]
fn a_huge_entry_count_is_refused_before_anything_is_allocated() {
    // No error, no leader, high watermark 0, then a count of 2^32 - 2.
    let mut bytes = vec![0; 2 + 1 + 8];
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    let error = response::decode_body::<FetchMetadataRequest>(0, bytes.into()).unwrap_err();
    assert!(format!("{error:?}").contains("beyond the end"), "{error:?}");
}

#[test]
fn keys_are_those_written_down() {
    let codes: Vec<i16> = PrivateKey::ALL.iter().map(|key| key.code()).collect();
    assert_eq!(codes, [10_000, 10_001, 10_002, 10_003, 10_004]);
    assert!(PrivateKey::ALL.iter().all(|key| PrivateKey::from_code(key.code()) == Some(*key)));
}

/// Version 0 as it was first released. A rolling upgrade needs these bytes to be read,
/// and written to older nodes, for ever: a change here is a new version instead.
#[test]
fn version_0_stays_as_it_was_released() {
    fn pinned<M: Encodable + Decodable + PartialEq + std::fmt::Debug>(message: &M, hex: &str) {
        let mut out = Vec::new();
        message.encode(&mut out, 0).unwrap();
        let written: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, hex);
        assert_eq!(&M::decode(&mut Bytes::from(out), 0).unwrap(), message);
    }
    let payload = Bytes::from_static(&[0xaa, 0xbb]);
    pinned(
        &RaftMessageRequest {
            cluster_id: "c1".into(),
            from_node_id: 3,
            from_directory_id: Uuid::from_u128(1),
            to_directory_id: Uuid::from_u128(2),
            payload: payload.clone(),
        },
        "03633100000003000000000000000000000000000000010000000000000000000000000000000203aabb00",
    );
    pinned(&RaftMessageResponse { error_code: 41 }, "002900");
    pinned(
        &FetchMetadataRequest {
            node_id: 3,
            broker_epoch: -1,
            from_offset: 7,
            max_bytes: 256,
            max_wait_ms: 500,
        },
        "00000003ffffffffffffffff000000000000000700000100000001f400",
    );
    pinned(
        &FetchMetadataResponse {
            error_code: 6,
            leader: Some(LeaderHint { node_id: 1, host: "h".into(), port: 9090 }),
            high_watermark: 9,
            entries: payload.clone(),
            snapshot: Some(SnapshotDescriptor { offset: 5, term: 1, size: 64 }),
        },
        "000601000000010268238200000000000000000903aabb010000000000000005000000000000000100000000000000400000",
    );
    pinned(&FetchMetadataResponse::default(), "0000000000000000000000010000");
    pinned(
        &FetchMetadataSnapshotRequest { offset: 5, term: 1, position: 16, max_bytes: 32 },
        "0000000000000005000000000000000100000000000000100000002000",
    );
    pinned(
        &FetchMetadataSnapshotResponse { error_code: 0, size: 64, position: 16, bytes: payload.clone() },
        "00000000000000000040000000000000001003aabb00",
    );
    pinned(
        &ForwardRequest {
            principal_type: "User".into(),
            principal_name: "a".into(),
            client_id: "b".into(),
            listener: "P".into(),
            client_host: "d".into(),
            api_key: 19,
            api_version: 7,
            body: payload.clone(),
        },
        "055573657202610262025002640013000703aabb00",
    );
    pinned(&ForwardResponse { error_code: 0, body: payload }, "000003aabb00");
}
