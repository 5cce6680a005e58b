//! Addresses of members: `host:port`, or a URL of which only that counts; several
//! with commas between them.

/// Each `host:port` in `addresses`, in their order.
pub(crate) fn hosts(addresses: &str) -> impl Iterator<Item = &str> {
    addresses.split(',').map(host).filter(|host| !host.is_empty())
}

fn host(address: &str) -> &str {
    let address = address.trim();
    let behind_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    behind_scheme.split('/').next().unwrap_or(behind_scheme)
}

#[cfg(test)]
mod tests {
    use super::hosts;

    #[test]
    fn of_a_url_the_host_and_the_port_count() {
        let all = |addresses| hosts(addresses).collect::<Vec<_>>();
        assert_eq!(all("10.0.0.1:7000"), ["10.0.0.1:7000"]);
        assert_eq!(all("http://a:1, https://b:2/"), ["a:1", "b:2"]);
        assert_eq!(all("[::1]:2380,"), ["[::1]:2380"]);
        assert!(all("").is_empty());
    }
}
