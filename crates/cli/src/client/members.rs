//! `member …` and `move-leader`: who belongs to the cluster, and who leads it.

use super::Connection;
use super::cluster::{Cluster, Endpoint};
use super::inspect::{MembersArguments, member_json, member_list, members};
use crate::failure::Failure;
use crate::output::{print, print_json};
use clap::{Args, Subcommand};
use driftless_server::pb;
use driftless_server::pb::client::{ClusterClient, MaintenanceClient};
use serde_json::{Value, json};
use tonic::Response;

/// List, add, remove, promote or move members of the cluster
#[derive(Subcommand)]
#[command(after_help = "\
A cluster is changed one member at a time while it serves. To replace a machine: add
the new member, start it, wait until `driftless member list` shows it as a voter, then
remove the old one; one that is down is removed first. `driftless member COMMAND --help`
says more.")]
pub(crate) enum MemberCommand {
    List(MembersArguments),
    Add(AddArguments),
    Remove(RemoveArguments),
    Promote(PromoteArguments),
    Update(UpdateArguments),
}

/// Make room for a new member, which is then started
#[derive(Args)]
#[command(after_help = "\
The cluster takes the new member in without a vote, sends it everything once it runs,
and lets it vote as soon as it has caught up: adding one that is slow to come, or never
comes, costs the others nothing. With --learner it gets no vote before `driftless member
promote`. With --witness it votes from now on, whether it runs or not, and never holds any
data: the third of two places, on whatever small machine (docs/beyond-etcd.md). What is
printed says how to start it.

Examples:
  driftless member add n4 --peer-urls http://10.0.0.4:2380
  driftless member add w --witness --peer-urls http://10.0.0.6:2380
  driftless member add reader --learner --peer-urls http://10.0.0.5:2380 --json")]
pub(crate) struct AddArguments {
    /// The name that it will be started under
    name: String,
    /// Where its peers will reach it, several with commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "URLS")]
    peer_urls: Vec<String>,
    /// It learns all there is and does not vote until it is promoted
    #[arg(long)]
    learner: bool,
    /// It votes, stores no data and never leads; what it is, it stays
    #[arg(long, conflicts_with = "learner")]
    witness: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Remove a member for good
#[derive(Args)]
#[command(after_help = "\
Its process ends by itself when it hears of it. Its id is never used again, and its data
directory is of no more use; the same machine can be added anew, with an empty one.
Refused if the members that are left and up would be no majority.

Examples:
  driftless member remove n2
  driftless member remove 8e9e05c52164694d")]
pub(crate) struct RemoveArguments {
    /// Its name, or its id in hexadecimal
    member: String,
    #[command(flatten)]
    connection: Connection,
}

/// Let a learner vote, once it has caught up
#[derive(Args)]
#[command(after_help = "\
Refused while the learner lacks what the leader has: then try again a little later.

Example:
  driftless member promote reader")]
pub(crate) struct PromoteArguments {
    /// Its name, or its id in hexadecimal
    member: String,
    #[command(flatten)]
    connection: Connection,
}

/// Say that a member is reached by its peers elsewhere from now on
#[derive(Args)]
#[command(after_help = "\
First tell the cluster, then start the member at the new place, with the new URL in its
own options and its old data directory. If it is to go on running, let it be reached at
both places until the cluster knows: whoever starts anew calls it at the new one only.

Example:
  driftless member update n2 --peer-urls http://10.0.0.9:2380")]
pub(crate) struct UpdateArguments {
    /// Its name, or its id in hexadecimal
    member: String,
    /// Where its peers will reach it, several with commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "URLS")]
    peer_urls: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Let another member lead
#[derive(Args)]
#[command(after_help = "\
For maintenance: writes wait for a moment instead of for an election timeout. The leader
is found by itself; --endpoints may name any members.

Example:
  driftless move-leader n3")]
pub(crate) struct MoveLeaderArguments {
    /// The name of the member that is to lead, or its id in hexadecimal
    member: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(arguments) => members(&arguments).await,
        MemberCommand::Add(arguments) => add(arguments).await,
        MemberCommand::Remove(arguments) => remove(&arguments).await,
        MemberCommand::Promote(arguments) => promote(&arguments).await,
        MemberCommand::Update(arguments) => update(arguments).await,
    }
}

async fn add(arguments: AddArguments) -> Result<(), Failure> {
    let AddArguments { name, peer_urls, learner, witness, connection } = arguments;
    let cluster = connection.cluster()?;
    if witness {
        knows_witnesses(&cluster).await?;
    }
    let request = pb::MemberAddRequest {
        peer_urls,
        is_learner: learner,
        is_witness: witness,
        name: if witness { name.clone() } else { String::new() },
    };
    let answer = cluster
        .write("member add", async |channel| {
            ClusterClient::new(channel).member_add(cluster.request(request.clone())).await
        })
        .await?
        .into_inner();
    let cluster_id = answer.header.map_or(0, |header| header.cluster_id);
    let added = answer.member.unwrap_or_default();
    let initial_cluster = initial_cluster(&answer.members, &added, &name);
    if connection.json {
        return print_json(&json!({
            "cluster_id": format!("{cluster_id:x}"),
            "member": member_json(&added),
            "members": all_json(&answer.members),
            "initial_cluster": initial_cluster,
        }));
    }
    let votes = match () {
        () if learner => "does not vote until it is promoted",
        () if witness => "votes from now on, and holds no data",
        () => "votes when it has caught up",
    };
    let urls = added.peer_urls.join(",");
    print(&format!(
        "added {name} as member {:x} of cluster {cluster_id:x}; it {votes}\n\
         Start it with (and with its own URLs for clients):\n\
         \x20 driftless serve --name {name} --data-dir ./{name} \\\n\
         \x20   --listen-client-urls URL --advertise-client-urls URL \\\n\
         \x20   --listen-peer-urls {urls} --initial-advertise-peer-urls {urls} \\\n\
         \x20   --initial-cluster {initial_cluster} \\\n\
         \x20   --initial-cluster-state existing\n",
        added.id
    ))
}

/// A server that knows of no witnesses would add a voter.
async fn knows_witnesses(cluster: &Cluster) -> Result<(), Failure> {
    let members = member_list(cluster, "member add").await?;
    if members.iter().any(|member| member.role() == pb::MemberRole::Unknown) {
        return Err(Failure::new(
            "member add: this cluster knows of no witnesses (is it etcd's?): add a member that \
             keeps data",
        ));
    }
    Ok(())
}

/// `--initial-cluster` for the member that was added. One that has not started
/// goes by its id there: only its URL is looked at.
fn initial_cluster(members: &[pb::Member], added: &pb::Member, name: &str) -> String {
    let named = members.iter().flat_map(|member| {
        let name = match member.name.as_str() {
            _ if member.id == added.id => name.to_owned(),
            "" => format!("{:x}", member.id),
            name => name.to_owned(),
        };
        member.peer_urls.iter().map(move |url| format!("{name}={url}"))
    });
    named.collect::<Vec<_>>().join(",")
}

async fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let connection = &arguments.connection;
    let cluster = connection.cluster()?;
    let member = find(&cluster, "member remove", &arguments.member).await?;
    let request = pb::MemberRemoveRequest { id: member.id };
    let answer = cluster
        .write("member remove", async |channel| {
            ClusterClient::new(channel).member_remove(cluster.request(request)).await
        })
        .await?
        .into_inner();
    if connection.json {
        let members = all_json(&answer.members);
        return print_json(&json!({ "removed": member_json(&member), "members": members }));
    }
    let left = answer.members.len();
    let left =
        if left == 1 { "1 member is left".to_owned() } else { format!("{left} members are left") };
    print(&format!("removed {}; {left}\n", shown(&member)))
}

async fn promote(arguments: &PromoteArguments) -> Result<(), Failure> {
    let connection = &arguments.connection;
    let cluster = connection.cluster()?;
    let member = find(&cluster, "member promote", &arguments.member).await?;
    let request = pb::MemberPromoteRequest { id: member.id };
    let answer = cluster
        .write("member promote", async |channel| {
            ClusterClient::new(channel).member_promote(cluster.request(request)).await
        })
        .await?;
    told(connection, &member, &answer.get_ref().members, "votes from now on")
}

async fn update(arguments: UpdateArguments) -> Result<(), Failure> {
    let UpdateArguments { member, peer_urls, connection } = arguments;
    let cluster = connection.cluster()?;
    let member = find(&cluster, "member update", &member).await?;
    let request = pb::MemberUpdateRequest { id: member.id, peer_urls };
    let answer = cluster
        .write("member update", async |channel| {
            ClusterClient::new(channel).member_update(cluster.request(request.clone())).await
        })
        .await?;
    let urls = request.peer_urls.join(",");
    told(&connection, &member, &answer.get_ref().members, &format!("is reached at {urls}"))
}

/// Prints one member as it is after a change.
fn told(
    connection: &Connection,
    before: &pb::Member,
    members: &[pb::Member],
    what: &str,
) -> Result<(), Failure> {
    if connection.json {
        let member = members.iter().find(|member| member.id == before.id).unwrap_or(before);
        let members = all_json(members);
        return print_json(&json!({ "member": member_json(member), "members": members }));
    }
    print(&format!("{} {what}\n", shown(before)))
}

pub(super) async fn move_leader(arguments: &MoveLeaderArguments) -> Result<(), Failure> {
    const WHAT: &str = "move-leader";
    let connection = &arguments.connection;
    let cluster = connection.cluster()?;
    let members = member_list(&cluster, WHAT).await?;
    let to = find_in(&members, WHAT, &arguments.member)?;
    let status = cluster
        .read(WHAT, async |channel| {
            let request = cluster.request(pb::StatusRequest {});
            MaintenanceClient::new(channel).status(request).await
        })
        .await;
    let leader_id = status.map(Response::into_inner)?.leader;
    let leader = members.iter().find(|member| member.id == leader_id).ok_or_else(|| {
        Failure::new(format!("{WHAT}: nobody leads now; is a majority of the members up?"))
    })?;
    let endpoints = leader.client_urls.iter().filter_map(|url| url.parse::<Endpoint>().ok());
    let at_leader = Cluster::new(endpoints.collect(), cluster.timeout());
    let request = pb::MoveLeaderRequest { target_id: to.id };
    at_leader
        .write(WHAT, async |channel| {
            MaintenanceClient::new(channel).move_leader(cluster.request(request)).await
        })
        .await?;
    if connection.json {
        return print_json(&json!({ "from": member_json(leader), "to": member_json(to) }));
    }
    if leader.id == to.id {
        return print(&format!("{} leads already\n", shown(to)));
    }
    print(&format!("{} leads now, after {}\n", shown(to), shown(leader)))
}

async fn find(cluster: &Cluster, what: &str, wanted: &str) -> Result<pb::Member, Failure> {
    let members = member_list(cluster, what).await?;
    find_in(&members, what, wanted).cloned()
}

/// The member of this name, or of this id.
fn find_in<'a>(
    members: &'a [pb::Member],
    what: &str,
    wanted: &str,
) -> Result<&'a pb::Member, Failure> {
    let is_named = |member: &&pb::Member| !wanted.is_empty() && member.name == wanted;
    let named: Vec<_> = members.iter().filter(is_named).collect();
    if let [member] = named[..] {
        return Ok(member);
    }
    if named.len() > 1 {
        return Err(Failure::new(format!(
            "{what}: {} members go by the name {wanted:?}: say which by its id, as \
             `driftless member list` shows it",
            named.len()
        )));
    }
    let id = u64::from_str_radix(wanted.trim_start_matches("0x"), 16).ok();
    members.iter().find(|member| Some(member.id) == id).ok_or_else(|| {
        let known: Vec<_> = members.iter().map(shown).collect();
        Failure::new(format!(
            "{what}: there is no member {wanted:?} in the cluster, which is made of {}",
            known.join(", ")
        ))
    })
}

fn shown(member: &pb::Member) -> String {
    if member.name.is_empty() {
        format!("member {:x}", member.id)
    } else {
        format!("{} ({:x})", member.name, member.id)
    }
}

fn all_json(members: &[pb::Member]) -> Vec<Value> {
    members.iter().map(member_json).collect()
}

#[cfg(test)]
mod tests {
    use super::{find_in, initial_cluster};
    use driftless_server::pb::Member;

    fn member(id: u64, name: &str) -> Member {
        let peer_urls = vec![format!("http://h:{id}")];
        Member { id, name: name.to_owned(), peer_urls, ..Member::default() }
    }

    #[test]
    fn a_member_is_found_by_its_name_or_its_id() {
        let members =
            [member(0xa1, "a"), member(0xb, ""), member(0xc, "twin"), member(0xd, "twin")];
        let found = |wanted| find_in(&members, "find", wanted).map(|member| member.id);
        assert_eq!(found("a").unwrap(), 0xa1);
        assert_eq!(found("a1").unwrap(), 0xa1);
        assert_eq!(found("0xb").unwrap(), 0xb);
        assert!(format!("{:?}", found("twin")).contains("2 members go by the name"));
        assert!(format!("{:?}", found("z")).contains("a (a1), member b"));
        assert!(found("").is_err(), "one that has not said its name has none");
    }

    #[test]
    fn the_cluster_is_described_for_the_one_that_joins() {
        let members = [member(0xa, "a"), member(0xb, ""), member(0xc, "")];
        assert_eq!(
            initial_cluster(&members, &members[2], "new"),
            "a=http://h:10,b=http://h:11,new=http://h:12"
        );
    }
}
