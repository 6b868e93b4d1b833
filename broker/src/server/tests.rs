//! A listener with real sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use ottla_core::metadata::image::{ConfigResource, Image};
use ottla_wire::messages::ApiVersionsRequest;
use ottla_wire::protocol::StrBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listener::{ListenerContext, bind};
use crate::api::Scope;
use crate::api::authorize::Authorizer;
use crate::api::tests::rig::{image, node_that_knows};

/// An image in which `max.connections` was set while brokers ran.
fn limited(max: &str) -> Arc<Image> {
    let mut image = image();
    let settings = [("max.connections".to_owned(), max.to_owned())].into_iter().collect();
    image.configs.insert(ConfigResource::BrokerDefault, settings);
    Arc::new(image)
}

/// Two client listeners of one node.
async fn listening(images: watch::Receiver<Arc<Image>>) -> (JoinSet<()>, [SocketAddr; 2]) {
    let node = node_that_knows(images, Authorizer::AllowAll, None);
    let (stop, stops) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut addresses = Vec::new();
    for name in ["PLAIN", "OTHER"] {
        let context = ListenerContext { name: name.to_owned(), scope: Scope::Broker };
        let bound = bind("127.0.0.1", 0, context).await.expect("a free port");
        addresses.push(bound.local_address().expect("bound"));
        tasks.spawn(bound.run(Arc::clone(&node), stops.clone()));
    }
    // Dropped with the set.
    tasks.spawn(async move { stop.closed().await });
    (tasks, addresses.try_into().expect("two"))
}

/// Connects and asks for the versions; `None` if the listener closes the connection.
async fn ask(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let request = ApiVersionsRequest::default();
    let frame = ottla_wire::request::encode(0, 1, &StrBytes::default(), &request).expect("a frame");
    // A listener that closes at once may do so before the request is out.
    stream.write_all(&frame).await.ok()?;
    stream.read_u32().await.ok()?;
    Some(stream)
}

#[tokio::test]
async fn max_connections_counts_over_all_listeners_and_follows_its_configuration() {
    let (images, known) = watch::channel(limited("1"));
    let (_tasks, [first, second]) = listening(known).await;
    let held = ask(first).await.expect("the first is let in");
    assert!(ask(first).await.is_none() && ask(second).await.is_none(), "one is open");
    images.send_replace(limited("2"));
    let other = ask(second).await.expect("now two are let in");
    assert!(ask(first).await.is_none());
    drop((held, other));
}

#[tokio::test]
async fn announced_requests_delay_nobody() {
    let (_images, known) = watch::channel(Arc::new(image()));
    let (_tasks, [first, second]) = listening(known).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(first).await.expect("listening");
        stream.write_u32(100 << 20).await.expect("written");
        silent.push(stream);
    }
    assert!(ask(first).await.is_some() && ask(second).await.is_some());
}
