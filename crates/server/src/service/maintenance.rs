//! `etcdserverpb.Maintenance`: status, hash, and that there are no alarms.

use super::{ETCD_CLUSTER_VERSION, ETCD_VERSION, Services, off_thread};
use crate::backend::Backend;
use crate::pb;
use crate::status::{Code, Status};

/// What a witness says of itself to tools that know no such kind of member.
const WITNESS_NOTE: &str = "driftless: this member is a witness: it votes, and holds no data";

impl<B: Backend> Services<B> {
    pub(super) fn member_status(&self) -> pb::StatusResponse {
        let status = self.backend().status();
        let reader = self.backend().reader();
        let is_witness = self.is_witness();
        let size = reader.size();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push(Status::NO_LEADER.message.into_owned());
        }
        if status.low_space {
            errors.push("driftless: the disk is nearly full".to_owned());
        }
        if is_witness {
            errors.push(WITNESS_NOTE.to_owned());
        }
        // It has no store; the one in this process was never given anything.
        let stored = |what| if is_witness { 0 } else { what };
        let role = match () {
            () if is_witness => pb::MemberRole::Witness,
            () if self.learns() => pb::MemberRole::Learner,
            () => pb::MemberRole::Voter,
        };
        pb::StatusResponse {
            header: Some(self.header(stored(reader.revision()))),
            version: ETCD_VERSION.to_owned(),
            db_size: stored(size.total_bytes as i64),
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.commit_index.0,
            raft_term: status.term.0,
            raft_applied_index: status.applied_index.0,
            errors,
            db_size_in_use: stored(size.in_use_bytes as i64),
            // As it is now: a voter to be is one, too.
            is_learner: self.learns(),
            storage_version: ETCD_CLUSTER_VERSION.to_owned(),
            db_size_quota: self.limits().quota_bytes as i64,
            downgrade_info: Some(pb::DowngradeInfo::default()),
            role: role as i32,
        }
    }

    /// None is ever raised so far; tools that list them learn so.
    pub(super) fn alarm(&self, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
        if request.action != pb::AlarmAction::Get as i32 {
            return Err(Status::new(
                Code::Unimplemented,
                "driftless does not raise or disarm alarms yet",
            ));
        }
        let header = self.header(self.backend().reader().revision());
        Ok(pb::AlarmResponse { header: Some(header), alarms: Vec::new() })
    }

    pub(super) async fn hash_kv(
        &self,
        request: pb::HashKvRequest,
    ) -> Result<pb::HashKvResponse, Status> {
        let reader = self.backend().reader().clone();
        let revision = request.revision;
        let hash = off_thread(move || reader.hash(revision)).await??;
        Ok(pb::HashKvResponse {
            header: Some(self.header(self.backend().reader().revision())),
            hash: (hash.hash ^ hash.hash >> 32) as u32,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        })
    }
}
