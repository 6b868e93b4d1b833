//! A node played by hand at the other end of a real socket.

use bytes::{BufMut, BytesMut};
use ottla_wire::error::ErrorCode;
use ottla_wire::frame::FrameError;
use ottla_wire::messages::api_versions_response::ApiVersion;
use ottla_wire::messages::{
    ApiVersionsRequest, CreateTopicsRequest, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    MetadataResponse,
};
use ottla_wire::private::{RaftMessageRequest, RaftMessageResponse};
use ottla_wire::request::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;
use crate::{Admin, CloseReason};

const RANGES: [(i16, i16, i16); 4] = [(2, 1, 11), (3, 4, 9), (18, 0, 4), (10_000, 0, 0)];

/// The other end of a connection.
struct Node {
    socket: TcpStream,
}

impl Node {
    async fn read(&mut self) -> (RequestHeader, Bytes) {
        let length = self.socket.read_u32().await.unwrap() as usize;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await.unwrap();
        let mut body = Bytes::from(body);
        (RequestHeader::decode(&mut body).unwrap(), body)
    }

    async fn answer<R: Request>(&mut self, header: &RequestHeader, body: &R::Response) {
        let frame = response::encode::<R>(header.api_version, header.correlation_id, body).unwrap();
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn negotiate(&mut self) -> RequestHeader {
        let (header, _) = self.read().await;
        self.answer::<ApiVersionsRequest>(&header, &known()).await;
        header
    }
}

fn known() -> ApiVersionsResponse {
    let api_keys = RANGES.map(|(key, min, max)| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    });
    ApiVersionsResponse::default().with_api_keys(api_keys.to_vec())
}

async fn listen() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, HostPort::new("127.0.0.1", port))
}

async fn accept(listener: &TcpListener) -> Node {
    Node { socket: listener.accept().await.unwrap().0 }
}

fn options() -> Options {
    Options { client_id: "test".into(), ..Options::default() }
}

async fn connected(options: Options) -> (Connection, Node) {
    let (listener, address) = listen().await;
    let node = async {
        let mut node = accept(&listener).await;
        node.negotiate().await;
        node
    };
    let (connection, node) = tokio::join!(Connection::connect(&address, &options), node);
    (connection.unwrap(), node)
}

fn throttled(millis: i32) -> MetadataResponse {
    MetadataResponse::default().with_throttle_time_ms(millis)
}

#[tokio::test]
async fn a_request_goes_out_in_the_highest_common_version() {
    let (connection, mut node) = connected(options()).await;
    let serve = async {
        let (header, _) = node.read().await;
        assert_eq!((header.api_key, header.api_version), (3, 9));
        assert_eq!(header.client_id.as_str(), "test");
        node.answer::<MetadataRequest>(&header, &throttled(7)).await;
        let (header, _) = node.read().await;
        assert_eq!((header.api_key, header.api_version), (2, 11));
        node.answer::<ListOffsetsRequest>(&header, &ListOffsetsResponse::default()).await;
        let (header, body) = node.read().await;
        let raft: RaftMessageRequest = request::decode_body(0, body).unwrap();
        assert_eq!(&raft.payload[..], b"vote");
        node.answer::<RaftMessageRequest>(&header, &RaftMessageResponse { error_code: 41 }).await;
    };
    let ask = async {
        let metadata = connection.request(MetadataRequest::default()).await.unwrap();
        assert_eq!(metadata.throttle_time_ms, 7);
        connection.request(ListOffsetsRequest::default()).await.unwrap();
        let raft = RaftMessageRequest {
            cluster_id: "c".into(),
            from_node_id: 1,
            from_directory_id: Uuid::from_u128(1),
            to_directory_id: Uuid::from_u128(2),
            payload: Bytes::from_static(b"vote"),
        };
        assert_eq!(connection.request(raft).await.unwrap().error_code, 41);
    };
    tokio::join!(serve, ask);
    assert!(connection.closed().is_none());
}

#[tokio::test]
async fn requests_are_pipelined_and_each_gets_its_own_answer() {
    let (connection, mut node) = connected(options()).await;
    let serve = async {
        // Both requests are there before either is answered.
        let (first, _) = node.read().await;
        let (second, _) = node.read().await;
        assert_ne!(first.correlation_id, second.correlation_id);
        node.answer::<MetadataRequest>(&first, &throttled(1)).await;
        node.answer::<MetadataRequest>(&second, &throttled(2)).await;
    };
    let (one, two, ()) = tokio::join!(
        biased;
        connection.request(MetadataRequest::default()),
        connection.request(MetadataRequest::default()),
        serve
    );
    assert_eq!((one.unwrap().throttle_time_ms, two.unwrap().throttle_time_ms), (1, 2));
}

#[tokio::test]
async fn a_node_that_does_not_know_our_api_versions_is_asked_again_in_its_own() {
    let (listener, address) = listen().await;
    let serve = async {
        let mut node = accept(&listener).await;
        let (header, _) = node.read().await;
        assert_eq!(header.api_version, 4);
        let range = ApiVersion::default().with_api_key(18).with_min_version(0).with_max_version(2);
        let refusal = ApiVersionsResponse::default()
            .with_error_code(ErrorCode::UnsupportedVersion.code())
            .with_api_keys(vec![range]);
        let frame = response::encode::<ApiVersionsRequest>(0, header.correlation_id, &refusal).unwrap();
        node.socket.write_all(&frame).await.unwrap();
        assert_eq!(node.negotiate().await.api_version, 2);
    };
    let options = options();
    let (connection, ()) = tokio::join!(Connection::connect(&address, &options), serve);
    assert_eq!(connection.unwrap().versions(3), Some(VersionRange { min: 4, max: 9 }));
}

#[tokio::test]
async fn a_node_that_refuses_to_negotiate_is_named() {
    let (listener, address) = listen().await;
    let serve = async {
        let mut node = accept(&listener).await;
        let (header, _) = node.read().await;
        let refusal = ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
        node.answer::<ApiVersionsRequest>(&header, &refusal).await;
    };
    let options = options();
    let (connection, ()) = tokio::join!(Connection::connect(&address, &options), serve);
    let message = connection.unwrap_err().to_string();
    assert_eq!(message, format!("cannot negotiate versions with {address}: InvalidRequest"));
}

#[tokio::test]
async fn a_request_the_node_does_not_know_is_not_sent() {
    let (connection, _node) = connected(options()).await;
    let error = connection.request(CreateTopicsRequest::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unsupported { key: 19, .. }), "{error}");
    assert!(error.to_string().contains("CreateTopics"), "{error}");
}

#[tokio::test]
async fn a_dropped_connection_fails_all_that_wait_and_says_why() {
    let (connection, mut node) = connected(options()).await;
    let serve = async {
        node.read().await;
        node.read().await;
        drop(node);
    };
    let (one, two, ()) = tokio::join!(
        connection.request(MetadataRequest::default()),
        connection.request(MetadataRequest::default()),
        serve
    );
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(error, ClientError::Lost { reason: CloseReason::ByPeer, .. }), "{error}");
        assert!(error.to_string().contains("Metadata: closed by the other side"), "{error}");
    }
    let later = connection.request(MetadataRequest::default()).await.unwrap_err();
    assert!(matches!(later, ClientError::Lost { .. }), "{later}");
    assert!(matches!(connection.closed(), Some(CloseReason::ByPeer)));
}

/// What ends a connection when it comes in place of an answer.
async fn answered_with(options: Options, bytes: &[u8]) -> ClientError {
    let (connection, mut node) = connected(options).await;
    let serve = async {
        node.read().await;
        node.socket.write_all(bytes).await.unwrap();
        node
    };
    let (answer, _node) = tokio::join!(connection.request(MetadataRequest::default()), serve);
    answer.unwrap_err()
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_connection() {
    let error = answered_with(options(), &[0, 0, 0, 5, 0, 0, 0, 99, 0]).await;
    assert!(
        matches!(error, ClientError::Lost { reason: CloseReason::Correlation { got: 99 }, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_oversized_answer_ends_the_connection_at_its_length() {
    let limited = Options { max_response_bytes: 1024, ..options() };
    let error = answered_with(limited, &[0, 0, 4, 1]).await;
    let too_long = FrameError::TooLong { length: 1025, max: 1024 };
    assert!(
        matches!(&error, ClientError::Lost { reason: CloseReason::Frame(frame), .. } if *frame == too_long),
        "{error}"
    );
    let error = answered_with(options(), &[0xff; 4]).await;
    assert!(matches!(error, ClientError::Lost { reason: CloseReason::Frame(_), .. }), "{error}");
}

#[tokio::test]
async fn a_short_answer_ends_the_connection() {
    let error = answered_with(options(), &[0, 0, 0, 2, 0, 0]).await;
    assert!(matches!(error, ClientError::Lost { reason: CloseReason::Header, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_fails_only_its_own_request() {
    let (connection, mut node) = connected(options()).await;
    let serve = async {
        let (header, _) = node.read().await;
        let mut frame = BytesMut::new();
        frame.put_u32(6);
        frame.put_i32(header.correlation_id);
        frame.put_slice(&[0, 0x55]);
        node.socket.write_all(&frame).await.unwrap();
        let (header, _) = node.read().await;
        node.answer::<MetadataRequest>(&header, &throttled(3)).await;
    };
    let ask = async {
        let error = connection.request(MetadataRequest::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::Decode { key: 3, .. }), "{error}");
        assert_eq!(connection.request(MetadataRequest::default()).await.unwrap().throttle_time_ms, 3);
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn silence_times_out_and_ends_the_connection() {
    let (connection, _node) = connected(options()).await;
    let within = Duration::from_millis(20);
    let slow = connection.request_within(MetadataRequest::default(), within);
    let (slow, behind) = tokio::join!(slow, connection.request(MetadataRequest::default()));
    let slow = slow.unwrap_err();
    assert!(matches!(slow, ClientError::Timeout { key: 3, .. }), "{slow}");
    let behind = behind.unwrap_err();
    assert!(matches!(behind, ClientError::Lost { reason: CloseReason::Unanswered, .. }), "{behind}");
}

#[tokio::test]
async fn a_node_that_accepts_and_says_nothing_is_no_connection() {
    let (_listener, address) = listen().await;
    let options = Options { connect_timeout: Duration::from_millis(20), ..options() };
    let error = Connection::connect(&address, &options).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no connection to {address} after 20ms"));
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = Connection::connect(&address, &options()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {address}"));
}

#[tokio::test]
async fn raw_bodies_pass_both_ways() {
    let (connection, mut node) = connected(options()).await;
    let serve = async {
        let (header, body) = node.read().await;
        assert_eq!((header.api_key, header.api_version, &body[..]), (3, 4, &b"ask"[..]));
        let frame = response::encode_raw(3, 4, header.correlation_id, b"tell").unwrap();
        node.socket.write_all(&frame).await.unwrap();
    };
    let (answer, ()) = tokio::join!(connection.request_raw(3, 4, Bytes::from_static(b"ask")), serve);
    assert_eq!(&answer.unwrap()[..], b"tell");
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_all_get_through() {
    let (connection, mut node) = connected(options()).await;
    let count = i32::try_from(QUEUE_REQUESTS_MAX * 6).unwrap();
    let serve = async {
        for millis in 0..count {
            let (header, _) = node.read().await;
            node.answer::<MetadataRequest>(&header, &throttled(millis)).await;
        }
    };
    let connection = Arc::new(connection);
    let askers: Vec<_> = (0..count)
        .map(|_| {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move { connection.request(MetadataRequest::default()).await })
        })
        .collect();
    serve.await;
    let mut seen = Vec::new();
    for asker in askers {
        seen.push(asker.await.unwrap().unwrap().throttle_time_ms);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
}

#[tokio::test]
async fn admin_tries_each_address_and_comes_back_after_a_loss() {
    let (gone, dead) = listen().await;
    drop(gone);
    let (listener, alive) = listen().await;
    let serve = async {
        for millis in [1, 2] {
            let mut node = accept(&listener).await;
            node.negotiate().await;
            let (header, _) = node.read().await;
            node.answer::<MetadataRequest>(&header, &throttled(millis)).await;
        }
    };
    let ask = async {
        let admin = Admin::connect(&[dead, alive], options()).await.unwrap();
        assert_eq!(admin.request(MetadataRequest::default()).await.unwrap().throttle_time_ms, 1);
        // The node has closed the connection; a request now is answered on a new one,
        // or lost on the old one if the loss has not been noticed yet.
        loop {
            match admin.request(MetadataRequest::default()).await {
                Ok(answer) => break assert_eq!(answer.throttle_time_ms, 2),
                Err(error) => assert!(matches!(error, ClientError::Lost { .. }), "{error}"),
            }
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn admin_without_a_live_address_says_how_many_it_tried() {
    let (gone, dead) = listen().await;
    drop(gone);
    let error = Admin::connect(&[dead.clone(), dead.clone()], options()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("none of 2 bootstrap addresses answers; the last one tried: cannot connect to {dead}")
    );
    assert!(matches!(Admin::connect(&[], options()).await, Err(ClientError::NoAddress)));
}

#[tokio::test]
async fn submitted_requests_are_written_in_order_before_any_is_answered() {
    let (listener, address) = listen().await;
    let peer = tokio::spawn(async move {
        let mut node = Node { socket: listener.accept().await.unwrap().0 };
        node.negotiate().await;
        let mut taken = Vec::new();
        for _ in 0..20 {
            taken.push(node.read().await);
        }
        for (place, (header, body)) in taken.into_iter().enumerate() {
            let request: RaftMessageRequest = request::decode_body(header.api_version, body).unwrap();
            assert_eq!(usize::try_from(request.from_node_id).unwrap(), place);
            let error_code = i16::try_from(place).unwrap();
            node.answer::<RaftMessageRequest>(&header, &RaftMessageResponse { error_code }).await;
        }
    });
    let connection = Connection::connect(&address, &Options::default()).await.unwrap();
    let mut answers = Vec::new();
    for from_node_id in 0..20 {
        let request = RaftMessageRequest {
            cluster_id: String::new(),
            from_node_id,
            from_directory_id: Uuid::nil(),
            to_directory_id: Uuid::nil(),
            payload: Bytes::new(),
        };
        answers.push(connection.submit(request).await.unwrap());
    }
    for (place, mut answer) in answers.into_iter().enumerate() {
        assert_eq!(usize::try_from(answer.wait().await.unwrap().error_code).unwrap(), place);
    }
    peer.await.unwrap();
}
