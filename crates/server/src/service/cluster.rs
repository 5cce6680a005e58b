//! `etcdserverpb.Cluster`: so far the members can only be listed.

use super::{Call, Services};
use crate::backend::Backend;
use crate::pb;
use crate::status::Status;

impl<B: Backend> Services<B> {
    pub(super) async fn member_list(
        &self,
        request: pb::MemberListRequest,
        call: Call,
    ) -> Result<pb::MemberListResponse, Status> {
        if request.linearizable {
            self.read_barrier(call).await?;
        }
        Ok(pb::MemberListResponse {
            header: Some(self.header(0)),
            members: self.identity().members.clone(),
        })
    }
}
