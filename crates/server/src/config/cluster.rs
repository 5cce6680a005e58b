//! The members in the beginning, and the ids that follow from them: etcd's own
//! derivation (`server/etcdserver/api/membership`), so that the same flags give
//! the same ids.

use super::{ConfigError, Url};
use sha1::{Digest, Sha1};

/// `--initial-cluster` and its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    /// The members, by id.
    pub members: Vec<InitialMember>,
    /// The cluster's id.
    pub id: u64,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its id: follows from its peer URLs and the cluster's token.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<Url>,
}

impl InitialCluster {
    /// Reads `name=url,name=url,...`; a name with several URLs comes several times.
    pub(super) fn parse(text: &str, token: &str) -> Result<Self, ConfigError> {
        const NAME: &str = "initial-cluster";
        let mut members: Vec<(String, Vec<Url>)> = Vec::new();
        for part in text.split(',') {
            let Some((name, url)) = part.trim().split_once('=') else {
                return Err(ConfigError::BadValue {
                    name: NAME,
                    value: text.to_owned(),
                    expected: "name=http://host:port,... for every member",
                });
            };
            let url = Url::parse(NAME, url)?;
            if members.iter().any(|(_, urls)| urls.contains(&url)) {
                return Err(ConfigError::Contradiction(format!(
                    "--initial-cluster names the URL {url} twice: every member needs its own"
                )));
            }
            match members.iter_mut().find(|member| member.0 == name) {
                Some((_, urls)) => urls.push(url),
                None => members.push((name.to_owned(), vec![url])),
            }
        }
        Ok(Self::of(members, token))
    }

    /// A cluster of one.
    pub(super) fn of_one(name: &str, peer_urls: Vec<Url>, token: &str) -> Self {
        Self::of(vec![(name.to_owned(), peer_urls)], token)
    }

    fn of(members: Vec<(String, Vec<Url>)>, token: &str) -> Self {
        let mut members: Vec<InitialMember> = members
            .into_iter()
            .map(|(name, peer_urls)| InitialMember {
                id: member_id(&strings(&peer_urls), token),
                name,
                peer_urls,
            })
            .collect();
        members.sort_by_key(|member| member.id);
        let mut hash = Sha1::new();
        for member in &members {
            hash.update(member.id.to_be_bytes());
        }
        Self { members, id: first_word(hash) }
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&InitialMember> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Whether this member is in it, under the URLs that it advertises.
    pub(super) fn check_self(
        &self,
        name: &str,
        advertised: Option<&str>,
    ) -> Result<(), ConfigError> {
        let Some(member) = self.member(name) else {
            let known: Vec<&str> = self.members.iter().map(|m| m.name.as_str()).collect();
            return Err(ConfigError::Contradiction(format!(
                "--initial-cluster does not name this member: --name is `{name}`, it knows {}",
                known.join(", ")
            )));
        };
        if let Some(advertised) = advertised {
            let mut advertised = Url::parse_list("initial-advertise-peer-urls", advertised)?;
            let mut named = member.peer_urls.clone();
            advertised.sort();
            named.sort();
            if advertised != named {
                let list = |urls: &[Url]| {
                    urls.iter().map(Url::to_string).collect::<Vec<String>>().join(",")
                };
                return Err(ConfigError::Contradiction(format!(
                    "--initial-cluster has {name}={}, but --initial-advertise-peer-urls is {}: \
                     make them the same",
                    list(&named),
                    list(&advertised)
                )));
            }
        }
        Ok(())
    }
}

fn strings(urls: &[Url]) -> Vec<String> {
    let mut urls: Vec<String> = urls.iter().map(Url::to_string).collect();
    urls.sort();
    urls
}

/// The id of a member with these peer URLs, in their order; `token` tells it from
/// those of other clusters, and from those that had them before.
pub(crate) fn member_id(urls: &[String], token: &str) -> u64 {
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url);
    }
    hash.update(token);
    first_word(hash)
}

fn first_word(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let (word, _) = digest.split_first_chunk().expect("SHA-1 has 20 bytes");
    u64::from_be_bytes(*word)
}
