//! Which members to ask, in which order, and what to say when none answers.

use crate::failure::Failure;
use std::error::Error as _;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Where a member serves clients, as `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl Default for Endpoint {
    fn default() -> Self {
        Self("127.0.0.1:2379".to_owned())
    }
}

impl Endpoint {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("https://") {
            return Err("TLS is not there yet; use http:// or HOST:PORT".to_owned());
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = authority
            .rsplit_once(':')
            .ok_or("a member is named HOST:PORT, as in 127.0.0.1:2379")?;
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        if host.is_empty() || host.contains(['/', '@']) || is_bare_ipv6 {
            return Err("a member is named HOST:PORT, as in 127.0.0.1:2379".to_owned());
        }
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(format!("{port:?} is not a port (1 to 65535)"));
        }
        Ok(Self(authority.to_owned()))
    }
}

/// Connects to a member, or says why not.
pub(crate) async fn connect(endpoint: &Endpoint, within: Duration) -> Result<Channel, String> {
    let builder = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(within)
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    match timeout(within, builder.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(root_cause(&error)),
        Err(_) => Err(format!("no connection within {} s", within.as_secs_f64())),
    }
}

/// The innermost reason, where "transport error" says nothing.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What a member answered instead of doing it, for a person.
pub(crate) fn describe(status: &Status) -> String {
    let cause = status.source().map(root_cause);
    let text = match (&cause, status.message()) {
        (Some(cause), "" | "transport error") => cause.as_str(),
        (_, "") => status.code().description(),
        (_, message) => message,
    };
    if text == "etcdserver: unhealthy cluster" {
        return format!(
            "{text} (the member that was asked has not been in touch with all voters for five \
             seconds: try again in a moment, or first remove who is down)"
        );
    }
    match status.code() {
        Code::Unimplemented => format!("{text} (the server does not know this call)"),
        Code::Unknown | Code::Unavailable => text.to_owned(),
        code => format!("{text} ({code:?})"),
    }
}

/// Members of one cluster.
pub(crate) struct Cluster {
    endpoints: Vec<Endpoint>,
    timeout: Duration,
}

impl Cluster {
    pub(super) fn new(endpoints: Vec<Endpoint>, timeout: Duration) -> Self {
        Self { endpoints, timeout }
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A request that the server, too, gives up on in time.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Asks one member after the other until one answers: fit for what changes
    /// nothing.
    pub(super) async fn read<T>(
        &self,
        what: &str,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let mut tried = Vec::new();
        for endpoint in &self.endpoints {
            let status = match self.attempt(endpoint, &call).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(reason) => {
                    tried.push((endpoint, reason));
                    continue;
                }
            };
            if !is_silence(&status) {
                return Err(refused(what, endpoint, &status));
            }
            tried.push((endpoint, describe(&status)));
        }
        Err(unreachable(what, &tried))
    }

    /// Asks the first member that a connection can be had to, and that keeps data, once: what
    /// changes something must not be asked for twice.
    pub(super) async fn write<T>(
        &self,
        what: &str,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let mut tried = Vec::new();
        for endpoint in &self.endpoints {
            match self.attempt(endpoint, &call).await {
                Ok(Ok(answer)) => return Ok(answer),
                // It has surely not done it, and another will.
                Ok(Err(status)) if is_of_a_witness(&status) => {
                    tried.push((endpoint, describe(&status)));
                }
                Ok(Err(status)) if is_silence(&status) => {
                    return Err(Failure::Unreachable(format!(
                        "{what}: {endpoint} did not confirm it: {}\n\
                         It may or may not have taken effect. Look before you repeat it.",
                        describe(&status)
                    )));
                }
                Ok(Err(status)) => return Err(refused(what, endpoint, &status)),
                Err(reason) => tried.push((endpoint, reason)),
            }
        }
        Err(unreachable(what, &tried))
    }

    /// The outer error says that nothing was sent.
    async fn attempt<T>(
        &self,
        endpoint: &Endpoint,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<Result<T, Status>, String> {
        let channel = connect(endpoint, self.timeout).await?;
        let asked = Instant::now();
        // The client below keeps the request's own timeout; this is for answers
        // that begin and do not end.
        let answer = timeout(self.timeout * 2, call(channel)).await;
        let waited = self.timeout.as_secs_f64();
        let silent = || Status::deadline_exceeded(format!("no answer within {waited} s"));
        let has_waited = asked.elapsed() >= self.timeout;
        Ok(match answer {
            Err(_) => Err(silent()),
            Ok(Err(status)) if status.code() == Code::Cancelled && has_waited => Err(silent()),
            Ok(answer) => answer,
        })
    }
}

fn is_of_a_witness(status: &Status) -> bool {
    status.message() == driftless_server::Status::WITNESS.message
}

/// Whether the member could not say, rather than said no.
pub(super) fn is_silence(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
        || status.source().is_some()
}

pub(super) fn refused(what: &str, endpoint: &Endpoint, status: &Status) -> Failure {
    Failure::Failed(format!("{what}: {endpoint} refuses: {}", describe(status)))
}

pub(super) fn unreachable(what: &str, tried: &[(&Endpoint, String)]) -> Failure {
    let mut message = format!("{what}: no member answered\n");
    for (endpoint, reason) in tried {
        writeln!(message, "  {endpoint}: {reason}").expect("a String takes everything");
    }
    message.push_str(
        "Is a cluster running? `driftless up` starts one; --endpoints says where another is.",
    );
    Failure::Unreachable(message)
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let name = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(name("127.0.0.1:2379"), Ok("127.0.0.1:2379".to_owned()));
        assert_eq!(name(" http://node-1:80/ "), Ok("node-1:80".to_owned()));
        assert_eq!(name("[::1]:2379"), Ok("[::1]:2379".to_owned()));
        for wrong in ["", "node", ":2379", "node:", "node:0", "node:70000", "::1:2379", "a/b:1"] {
            assert!(name(wrong).is_err(), "{wrong:?} is no endpoint");
        }
        assert!(name("https://node:2379").is_err_and(|error| error.contains("TLS")));
    }
}
