//! `etcdserverpb.Watch`.
//!
//! A watcher is either up to date, and then it is fed by the [`Hub`], or it
//! reads history by itself until it is. Either way it sees every event of its
//! range once and in order, or is cancelled and told which history is gone.

mod event;
mod hub;
mod index;
mod stream;

pub(crate) use hub::Hub;

use super::{Call, Requests, Responses, Services};
use crate::backend::Backend;
use crate::status::Status;

impl<B: Backend> Services<B> {
    pub(super) async fn watch(
        &self,
        requests: impl Requests,
        responses: Responses,
        call: Call,
    ) -> Result<(), Status> {
        stream::WatchStream::new(self, responses).run(requests, call.require_leader).await
    }
}
