//! What a member counts, from its `/metrics`.

use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The text of `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// A number without labels. A member that has none of that name counts as 0.
    pub(crate) fn get(&self, name: &str) -> u64 {
        let mut values =
            self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// Asks the member at `host:port`, if it answers soon.
pub(crate) async fn scrape(endpoint: &str, patience: Duration) -> Option<Metrics> {
    timeout(patience, ask(endpoint)).await.ok()?
}

async fn ask(endpoint: &str) -> Option<Metrics> {
    let mut stream = TcpStream::connect(endpoint).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| Metrics(body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text =
            "# HELP a_total 7\n# TYPE a_total counter\na_total_more 1\na_total 23\nb{c=\"d\"} 4\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.get("a_total"), 23);
        assert_eq!((metrics.get("b"), metrics.get("c")), (0, 0));
    }
}
