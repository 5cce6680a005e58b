//! `status` and `members`: how the cluster is.

use super::Connection;
use super::cluster::{Cluster, Endpoint, connect, describe};
use crate::failure::Failure;
use crate::output::{Table, human_bytes, print, print_json};
use clap::Args;
use driftless_server::pb;
use driftless_server::pb::client::{ClusterClient, MaintenanceClient};
use serde_json::{Value, json};
use std::cell::Cell;
use tokio::time::timeout;
use tonic::Status;

/// Show who leads, and how each member of the cluster is
#[derive(Args)]
#[command(after_help = "\
Any one member given with --endpoints tells who the others are; each is then
asked itself. Exit code 1 if a member does not answer or has no leader.

Examples:
  driftless status
  driftless status --endpoints 10.0.0.1:2379 --json")]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    connection: Connection,
}

/// List the members of the cluster
#[derive(Args)]
pub(crate) struct MembersArguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn members(arguments: &MembersArguments) -> Result<(), Failure> {
    let members = member_list(&arguments.connection.cluster()?, "members").await?;
    if arguments.connection.json {
        let members: Vec<Value> = members.iter().map(member_json).collect();
        return print_json(&json!({ "members": members }));
    }
    let mut table = Table::new(["ID", "NAME", "KIND", "PEERS REACH IT AT", "CLIENTS REACH IT AT"]);
    for member in members {
        let kind = kind(&member).to_owned();
        table.row([
            format!("{:x}", member.id),
            if member.name.is_empty() { "(not started yet)".to_owned() } else { member.name },
            kind,
            member.peer_urls.join(","),
            member.client_urls.join(","),
        ]);
    }
    print(&table.render(""))
}

const NO_ADDRESS: &str = "no address for clients is known";

/// What one member said of itself, or why it said nothing.
struct Answer {
    member: pb::Member,
    endpoint: String,
    status: Result<pb::StatusResponse, String>,
}

pub(super) async fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    let cluster = arguments.connection.cluster()?;
    let members = member_list(&cluster, "status").await?;
    let asked: Vec<_> =
        members.into_iter().map(|member| tokio::spawn(ask(member, cluster.timeout()))).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(answer.await.map_err(|error| Failure::new(error.to_string()))?);
    }
    if arguments.connection.json {
        let members: Vec<Value> = answers.iter().map(answer_json).collect();
        print_json(&json!({ "members": members }))?;
    } else {
        print(&status_table(&answers).render(""))?;
    }
    complaint(&answers).map_or(Ok(()), |complaint| Err(Failure::new(complaint)))
}

pub(super) async fn member_list(cluster: &Cluster, what: &str) -> Result<Vec<pb::Member>, Failure> {
    // Not linearizable: this must work, above all, when there is no leader.
    let request = pb::MemberListRequest { linearizable: false };
    // A witness knows who the members are, and not where clients reach them.
    let of_a_witness = Cell::new(None);
    let answer = cluster
        .read(what, async |channel| {
            let answer = ClusterClient::new(channel).member_list(cluster.request(request)).await?;
            let answer = answer.into_inner();
            let answerer = answer.header.as_ref().map(|header| header.member_id);
            let itself = answer.members.iter().find(|member| Some(member.id) == answerer);
            if itself.is_some_and(is_witness) {
                of_a_witness.set(Some(answer.members));
                return Err(Status::unavailable("it is a witness"));
            }
            Ok(answer.members)
        })
        .await;
    let mut members = match (answer, of_a_witness.take()) {
        (Ok(members), _) | (Err(_), Some(members)) => members,
        (Err(failure), None) => return Err(failure),
    };
    // They come by id, which says nothing to people.
    members.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    Ok(members)
}

async fn ask(member: pb::Member, patience: std::time::Duration) -> Answer {
    let mut endpoint = String::new();
    let mut status = Err(NO_ADDRESS.to_owned());
    for url in &member.client_urls {
        endpoint.clone_from(url);
        status = match url.parse::<Endpoint>() {
            Ok(parsed) => {
                endpoint = parsed.to_string();
                ask_at(&parsed, patience).await
            }
            Err(reason) => Err(reason),
        };
        if status.is_ok() {
            break;
        }
    }
    Answer { member, endpoint, status }
}

async fn ask_at(
    endpoint: &Endpoint,
    patience: std::time::Duration,
) -> Result<pb::StatusResponse, String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = MaintenanceClient::new(channel);
    match timeout(patience, client.status(pb::StatusRequest {})).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(describe(&status)),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs_f64())),
    }
}

fn status_table(answers: &[Answer]) -> Table {
    let headings =
        ["NAME", "ENDPOINT", "ID", "ROLE", "TERM", "COMMITTED", "APPLIED", "SIZE", "VERSION"];
    let mut table = Table::new(headings);
    for Answer { member, endpoint, status } in answers {
        let (name, endpoint) = (member.name.clone(), endpoint.clone());
        let id = format!("{:x}", member.id);
        match status {
            Ok(status) => table.row([
                name,
                endpoint,
                id,
                role(member.id, status).to_owned(),
                status.raft_term.to_string(),
                status.raft_index.to_string(),
                status.raft_applied_index.to_string(),
                human_bytes(status.db_size.max(0) as u64),
                status.version.clone(),
            ]),
            // It has no address because clients are not to come to it.
            Err(_) if is_witness(member) => {
                let dash = || "-".to_owned();
                let role = "witness".to_owned();
                table.row([name, dash(), id, role, dash(), dash(), dash(), dash(), dash()]);
            }
            Err(reason) => {
                let dash = || "-".to_owned();
                let role = format!("silent: {reason}");
                table.row([name, endpoint, id, role, dash(), dash(), dash(), dash(), dash()]);
            }
        }
    }
    table
}

fn role(member_id: u64, status: &pb::StatusResponse) -> &'static str {
    match status.leader {
        0 => "no leader",
        leader if leader == member_id => "leader",
        _ if status.is_learner => "learner",
        _ if status.role() == pb::MemberRole::Witness => "witness",
        _ => "follower",
    }
}

fn complaint(answers: &[Answer]) -> Option<String> {
    let mut complaints = Vec::new();
    for Answer { member, endpoint, status } in answers {
        let name = if member.name.is_empty() { endpoint } else { &member.name };
        match status {
            _ if is_witness(member) => {}
            Err(reason) => complaints.push(format!("{name} does not answer: {reason}")),
            Ok(status) if status.leader == 0 => {
                complaints.push(format!("{name} knows no leader; is a majority up?"));
            }
            Ok(status) => {
                complaints.extend(status.errors.iter().map(|error| format!("{name}: {error}")));
            }
        }
    }
    (!complaints.is_empty()).then(|| complaints.join("\n"))
}

fn is_witness(member: &pb::Member) -> bool {
    member.role() == pb::MemberRole::Witness
}

/// What a member is, for people and programs.
fn kind(member: &pb::Member) -> &'static str {
    match member.role() {
        _ if member.is_learner => "learner",
        // It was added as one, or lost its disk: it votes when it has caught up.
        pb::MemberRole::Learner => "voter to be",
        pb::MemberRole::Witness => "witness",
        _ => "voter",
    }
}

pub(super) fn member_json(member: &pb::Member) -> Value {
    json!({
        "id": format!("{:x}", member.id),
        "name": member.name,
        "peer_urls": member.peer_urls,
        "client_urls": member.client_urls,
        "is_learner": member.is_learner,
        "kind": kind(member),
    })
}

fn answer_json(answer: &Answer) -> Value {
    let mut object = member_json(&answer.member);
    object["endpoint"] = answer.endpoint.clone().into();
    match &answer.status {
        Ok(status) => {
            object["role"] = role(answer.member.id, status).into();
            object["leader"] = format!("{:x}", status.leader).into();
            object["term"] = status.raft_term.into();
            object["committed"] = status.raft_index.into();
            object["applied"] = status.raft_applied_index.into();
            object["size_bytes"] = status.db_size.into();
            object["version"] = status.version.clone().into();
            object["errors"] = status.errors.clone().into();
        }
        Err(_) if is_witness(&answer.member) => object["role"] = "witness".into(),
        Err(reason) => object["silent"] = reason.clone().into(),
    }
    object
}
