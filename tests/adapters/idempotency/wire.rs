//! Over sockets: what real servers do with a client that hangs up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, web};
use axum::{Router, routing::post};
use key0_auth::{
    AuthLayer, IdempotencyLayer,
    actix::{AuthMiddleware, IdempotencyMiddleware},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::idempotency::shop::{ALICE, Says, Shop};

const A_WHILE: Duration = Duration::from_secs(20);

async fn wait(shop: Arc<Shop>) -> String {
    match shop.handle("/waits", None).await {
        Says::Answer(answered) => str::from_utf8(&answered.chunks[0]).unwrap().to_owned(),
        Says::Refuses(rejection) => panic!("{rejection}"),
    }
}

async fn send(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /waits HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nx-api-key: {ALICE}\r\n\
         idempotency-key: k\r\ncontent-length: 6\r\n\r\na body"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn ask(address: SocketAddr) -> String {
    let mut answer = String::new();
    let mut socket = send(address).await;
    let read = timeout(A_WHILE, socket.read_to_string(&mut answer)).await;
    read.expect("an answer").unwrap();
    answer
}

async fn a_client_hangs_up(shop: Arc<Shop>, address: SocketAddr) {
    let first = send(address).await;
    let begun = async {
        while shop.orders() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(A_WHILE, begun).await.expect("the handler runs");
    drop(first);
    let retry = ask(address).await;
    assert!(retry.starts_with("HTTP/1.1 409 "), "{retry}");
    shop.let_go_on();
    let kept = async {
        loop {
            let retry = ask(address).await;
            if !retry.starts_with("HTTP/1.1 409 ") {
                return retry;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let retry = timeout(A_WHILE, kept).await.expect("the answer is kept");
    assert!(retry.starts_with("HTTP/1.1 200 OK\r\n"), "{retry}");
    assert!(retry.contains("\r\nidempotent-replayed: true\r\n"), "{retry}");
    assert_eq!(retry.matches("content-length: 11\r\n").count(), 1, "{retry}");
    assert!(retry.ends_with("\r\n\r\n{\"order\":1}"), "{retry}");
    assert_eq!(shop.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_axum_that_hangs_up_finds_its_answer() {
    let shop = Shop::new();
    let handler = {
        let shop = shop.clone();
        move || wait(shop)
    };
    let router = Router::new()
        .route("/waits", post(handler))
        .route_layer(IdempotencyLayer::new(shop.idempotency()))
        .route_layer(AuthLayer::new(shop.validator.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    a_client_hangs_up(shop, address).await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_actix_that_hangs_up_finds_its_answer() {
    let shop = Shop::new();
    let of_workers = shop.clone();
    let server = HttpServer::new(move || {
        let shop = of_workers.clone();
        let idempotency = IdempotencyMiddleware::new(shop.idempotency());
        let auth = AuthMiddleware::new(shop.validator.clone());
        let route = web::post().to(move || wait(shop.clone()));
        App::new().route("/waits", route.wrap(idempotency).wrap(auth))
    });
    let server = server.workers(2).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    a_client_hangs_up(shop, address).await;
    handle.stop(false).await;
}
