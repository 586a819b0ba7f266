//! Fetching a page and judging it. HTTP/1.0, so that the body comes in one piece and ends with the connection (RFC 1945).

use crate::config::check::{Body, Page};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// Longest body that is judged.
const BODY_MAX: usize = 1 << 20;

/// Fetches a page over an open connection. Why it is not as it must be, if it is not.
pub(super) async fn fetch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    page: &Page,
    at: SocketAddr,
) -> Result<(), String> {
    let host = page.host.clone().unwrap_or_else(|| at.to_string());
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: lvsx-check\r\nConnection: close\r\n\r\n",
        page.path
    );
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    let head = loop {
        if let Some(head) = head_length(&answer) {
            break head;
        }
        if answer.len() > HEAD_MAX {
            return Err(format!(
                "the head of the answer is longer than {HEAD_MAX} bytes"
            ));
        }
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err("the answer ended within its head".to_owned());
        }
    };
    let body = answer.split_off(head);
    let (status, length) = read_head(&answer)?;
    if !page.status.iter().any(|range| range.contains(&status)) {
        return Err(format!("status {status}"));
    }
    if matches!(page.body, Body::Any) {
        return Ok(());
    }
    judge(&read_body(stream, body, length).await?, &page.body)
}

async fn read_body(
    stream: impl AsyncRead + Unpin,
    mut body: Vec<u8>,
    length: Option<u64>,
) -> Result<Vec<u8>, String> {
    let wanted = length.unwrap_or(u64::MAX);
    let mut rest = stream.take(
        wanted
            .saturating_sub(body.len() as u64)
            .min(BODY_MAX as u64 + 1),
    );
    while body.len() <= BODY_MAX {
        match rest.read_buf(&mut body).await {
            Ok(0) => break,
            Ok(_) => {}
            // Some end TLS without saying so; what came is judged.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(format!("the connection broke: {error}")),
        }
    }
    if body.len() > BODY_MAX {
        return Err(format!("the body is longer than {BODY_MAX} bytes"));
    }
    if length.is_some_and(|length| (body.len() as u64) < length) {
        return Err("the body is shorter than announced".to_owned());
    }
    body.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    Ok(body)
}

fn judge(body: &[u8], wanted: &Body) -> Result<(), String> {
    match wanted {
        Body::Any => Ok(()),
        Body::Matches(expression) if expression.is_match(&String::from_utf8_lossy(body)) => Ok(()),
        Body::Matches(expression) => Err(format!("`{expression}` is not in the body")),
        Body::Digest(digest) if Sha256::digest(body)[..] == digest[..] => Ok(()),
        Body::Digest(_) => Err("the body has another digest".to_owned()),
    }
}

/// Bytes of the head, with the empty line that ends it.
fn head_length(answer: &[u8]) -> Option<usize> {
    let ends = |end: &[u8]| {
        answer
            .windows(end.len())
            .position(|bytes| bytes == end)
            .map(|at| at + end.len())
    };
    match (ends(b"\r\n\r\n"), ends(b"\n\n")) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Status and length of the body.
fn read_head(head: &[u8]) -> Result<(u16, Option<u64>), String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/"))
        .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
        .ok_or("the answer is not HTTP")?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths
        .next()
        .and_then(|(_, value)| value.trim().parse().ok());
    Ok((status, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex_lite::Regex;
    use std::time::Duration;

    fn page(body: Body) -> Page {
        Page {
            path: "/health".to_owned(),
            host: Some("www.example.org".to_owned()),
            status: vec![200..=299, 304..=304],
            body,
        }
    }

    /// What is made of an answer, and the request that was sent.
    fn fetched(answer: &[u8], page: &Page) -> (Result<(), String>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(async {
            let (near, mut far) = tokio::io::duplex(4 << 20);
            far.write_all(answer).await.expect("there is room");
            far.shutdown().await.expect("it closes");
            let at = SocketAddr::from(([10, 0, 0, 1], 80));
            let result = tokio::time::timeout(Duration::from_secs(10), fetch(near, page, at)).await;
            let mut request = String::new();
            far.read_to_string(&mut request).await.expect("text");
            (result.expect("it ends"), request)
        })
    }

    #[test]
    fn the_request_names_path_and_host() {
        let (_, request) = fetched(b"", &page(Body::Any));
        assert!(
            request.starts_with("GET /health HTTP/1.0\r\nHost: www.example.org\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\n"));
    }

    #[test]
    fn status_and_body_are_judged() {
        let ok = Body::Matches(Regex::new("^ok$").expect("it is right"));
        let digest = Body::Digest(Sha256::digest(b"ok").into());
        for (answer, body, reason) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Body::Any, None),
            ("HTTP/1.0 304 x\n\n", Body::Any, None),
            ("HTTP/1.1 500 Oops\r\n\r\n", Body::Any, Some("status 500")),
            (
                "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok",
                ok.clone(),
                Some("status 404"),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
                ok.clone(),
                None,
            ),
            ("HTTP/1.1 200 OK\r\n\r\nok", ok.clone(), None),
            (
                "HTTP/1.1 200 OK\r\n\r\nko",
                ok.clone(),
                Some("not in the body"),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
                ok,
                Some("shorter"),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nok", digest.clone(), None),
            ("HTTP/1.1 200 OK\r\n\r\nok ", digest, Some("another digest")),
            ("SSH-2.0-OpenSSH\r\n\r\n", Body::Any, Some("not HTTP")),
            ("HTTP/1.1 200 OK\r\n", Body::Any, Some("within its head")),
            ("", Body::Any, Some("within its head")),
        ] {
            let (result, _) = fetched(answer.as_bytes(), &page(body));
            match (&result, reason) {
                (Ok(()), None) => {}
                (Err(said), Some(part)) => assert!(said.contains(part), "{answer}: {said}"),
                _ => panic!("{answer}: {result:?}"),
            }
        }
    }

    #[test]
    fn floods_end_at_a_limit() {
        let (result, _) = fetched(&vec![b'x'; 1 << 20], &page(Body::Any));
        assert!(result.expect_err("no end").contains("head"));
        let body = Body::Digest([0; 32]);
        let flood = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 2 << 20]].concat();
        let (result, _) = fetched(&flood, &page(body));
        assert!(result.expect_err("no end").contains("longer"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(answer: Vec<u8>) {
            let (result, _) = fetched(&answer, &page(Body::Any));
            prop_assert!(result.is_err());
        }
    }
}
