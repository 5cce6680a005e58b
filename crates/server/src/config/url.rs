//! The URLs of etcd's options: a scheme, a host and a port.

use super::ConfigError;
use std::fmt;

/// `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    /// A name or an address; an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Url {
    /// Reads one URL given for the option `name`.
    pub fn parse(name: &'static str, text: &str) -> Result<Self, ConfigError> {
        let bad = |why: &'static str| ConfigError::BadUrl { name, url: text.to_owned(), why };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("write it as http://host:port"));
        };
        match scheme {
            "http" => {}
            "https" => return Err(bad("TLS is not supported yet: use http://")),
            "unix" | "unixs" => return Err(bad("Unix sockets are not supported: use http://")),
            _ => return Err(bad("only http:// is supported")),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(bad("it must end after the port"));
        }
        let Some((host, port)) = rest.rsplit_once(':') else {
            return Err(bad("the port is missing: write it as http://host:port"));
        };
        if host.is_empty()
            || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']')))
        {
            return Err(bad("the host is missing or malformed: write it as http://host:port"));
        }
        let port = port.parse().map_err(|_| bad("the port must be a number up to 65535"))?;
        Ok(Self { host: host.to_owned(), port })
    }

    /// Reads a list with commas; at least one.
    pub fn parse_list(name: &'static str, text: &str) -> Result<Vec<Self>, ConfigError> {
        text.split(',').map(|url| Self::parse(name, url.trim())).collect()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}
