//! The upstream through a proxy's tunnel.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use catalog_proxy::config::ProxyVariables;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Answer, get};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::tls::Authority;

/// Reaction of the outbound proxy to CONNECT.
#[derive(Debug, Clone, Copy)]
enum Reply {
    /// Opens a tunnel to this local port, whatever was asked for.
    Tunnel(u16),
    /// Responds with this and closes.
    Say(&'static str),
}

/// An outbound proxy that records its requests.
struct OutboundProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl OutboundProxy {
    async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(tunnel(BufReader::new(stream), reply, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    /// Returns the heads so far, one for each connection.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn url_with_password(&self) -> String {
        format!("http://Aladdin:open%20sesame@{}", self.address)
    }
}

async fn tunnel(mut client: BufReader<TcpStream>, reply: Reply, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    seen.lock().unwrap().push(head);
    // Either side may end it at any time.
    match reply {
        Reply::Say(answer) => drop(client.write_all(answer.as_bytes()).await),
        Reply::Tunnel(port) => {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    }
}

/// Asks for a feed and for a file of `upstream` with these variables set.
async fn ask(upstream: &str, authority: &Authority, variables: &[(&str, &str)]) -> [Answer; 2] {
    let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let roots = authority.file();
    let proxy = Proxy::start_with(upstream, |config| {
        config.outbound = ProxyVariables::from_variables(|name| value(name).map(str::to_owned));
        config.upstream_ca = Some(roots.into());
    })
    .await;
    [proxy.get("/api/v4/packages").await, proxy.get("/file").await]
}

fn assert_secure(answers: &[Answer]) {
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "[\"secure\"]"), "{answer:?}");
    }
}

/// A host name that only the outbound proxy can resolve.
const NAME: &str = "catalog.invalid";

#[tokio::test]
async fn an_https_upstream_is_asked_through_a_tunnel() {
    let authority = Authority::new();
    let port = authority.serve(NAME, |_| ()).await;
    for (upstream, target) in [
        (format!("https://{NAME}"), format!("{NAME}:443")),
        (format!("https://{NAME}:8443"), format!("{NAME}:8443")),
    ] {
        let outbound = OutboundProxy::start(Reply::Tunnel(port)).await;
        assert_secure(&ask(&upstream, &authority, &[("HTTPS_PROXY", &outbound.url())]).await);
        let heads = outbound.heads();
        assert!(!heads.is_empty());
        for head in heads {
            assert_eq!(head, format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        }
    }
}

#[tokio::test]
async fn user_and_password_go_to_the_proxy() {
    let authority = Authority::new();
    let outbound = OutboundProxy::start(Reply::Tunnel(authority.serve(NAME, |_| ()).await)).await;
    let url = outbound.url_with_password();
    assert_secure(&ask(&format!("https://{NAME}"), &authority, &[("ALL_PROXY", &url)]).await);
    for head in outbound.heads() {
        assert!(head.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{head}");
    }
}

#[tokio::test]
async fn exceptions_and_plain_http_bypass_the_proxy() {
    let authority = Authority::new();
    let outbound = OutboundProxy::start(Reply::Say("HTTP/1.1 403 Forbidden\r\n\r\n")).await;
    let secure = format!("https://localhost:{}", authority.serve("localhost", |_| ()).await);
    let variables = [("HTTPS_PROXY", &*outbound.url()), ("NO_PROXY", "example.com, localhost")];
    assert_secure(&ask(&secure, &authority, &variables).await);
    let plain = crate::upstream::Upstream::start(|_| crate::upstream::ok(b"[\"secure\"]")).await;
    assert_secure(&ask(&plain.url(), &authority, &[("ALL_PROXY", &outbound.url())]).await);
    assert_eq!(outbound.heads(), [""; 0]);
}

#[tokio::test]
async fn the_certificate_is_verified_through_the_tunnel() {
    let authority = Authority::new();
    let port = authority.serve("elsewhere.example", |_| ()).await;
    let outbound = OutboundProxy::start(Reply::Tunnel(port)).await;
    for answer in ask(&format!("https://{NAME}"), &authority, &[("HTTPS_PROXY", &outbound.url())]).await {
        answer.assert_problem(502);
        assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=tls_certificate_error");
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_told_from_the_upstream() {
    let authority = Authority::new();
    let check = async |url: &str, error: &str, detail: &str| {
        for answer in ask(&format!("https://{NAME}"), &authority, &[("HTTPS_PROXY", url)]).await {
            answer.assert_problem(502);
            assert_eq!(answer.header("proxy-status"), format!("catalog-proxy; error={error}"));
            assert!(answer.text().contains(detail), "{}", answer.text());
        }
    };
    for reply in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nnope",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "",
    ] {
        let outbound = OutboundProxy::start(Reply::Say(reply)).await;
        check(&outbound.url(), "connection_refused", "the outbound proxy opened no connection").await;
        assert!(outbound.heads().len() >= 2, "{reply}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [&*closed.to_string(), "proxy.invalid:3128"] {
        let detail = "the outbound proxy could not be reached";
        check(&format!("http://{address}"), "destination_unavailable", detail).await;
    }
}

#[tokio::test]
async fn the_binary_takes_the_proxy_from_its_environment() {
    let authority = Authority::new();
    let outbound = OutboundProxy::start(Reply::Tunnel(authority.serve(NAME, |_| ()).await)).await;
    let set = |command: &mut Command| {
        command.env("HTTPS_PROXY", outbound.url_with_password()).env("ALL_PROXY", outbound.url());
        command.env_remove("NO_PROXY").env_remove("no_proxy");
    };
    let process = Process::start_with(&format!("https://{NAME}"), |command| {
        set(command);
        command.arg("--upstream-ca").arg(authority.file());
    });
    assert_secure(&[get(process.address, "/api/v4/packages").await, get(process.address, "/file").await]);
    let heads = outbound.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| head.contains("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
    // Its own health is nothing to ask a proxy for.
    let mut healthcheck = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    healthcheck.arg("healthcheck").env("CATALOG_PROXY_LISTEN", process.address.to_string());
    set(&mut healthcheck);
    let output = tokio::task::spawn_blocking(move || healthcheck.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(outbound.heads().len(), heads.len());
}
