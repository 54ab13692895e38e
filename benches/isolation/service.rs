//! The services of hostile http agents: one never answers, one answers 2 MB, one answers numbers
//! with huge exponents.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::http::read;

/// Starts them on a port of loopback; the path of a request says which one is meant.
pub async fn start(runtime: &Handle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // It is driven by the runtime of the other tenants, which ends it.
    let listener = listener.into_std().expect("a listener");
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(4096);
    while let Some((head, _)) = read(&mut stream, &mut buffer).await {
        let answer = match head.split(' ').nth(1) {
            Some("/big") => format!("{{\"utterance\":\"{}\"}}", "x".repeat(2_000_000)),
            Some("/poison") => {
                format!("{{\"utterance\":\"ok\",\"state\":{{\"a\":[{}]}}}}", vec!["1e99999"; 12_000].join(","))
            }
            // The caller gives up at some time.
            _ => std::future::pending().await,
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
