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
        Ok(pb::MemberListResponse { header: Some(self.header(0)), members: self.members() })
    }

    /// The members, with what each has said about itself.
    fn members(&self) -> Vec<pb::Member> {
        let published = self.backend().reader().members();
        let mut members = self.identity().members.clone();
        for member in &mut members {
            if let Some(said) = published.iter().find(|said| said.id == member.id) {
                let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
                member.client_urls = said.client_urls.iter().map(text).collect();
            }
        }
        members
    }
}
