//! `grpc.health.v1.Health`: a member serves while it knows a leader.

use super::{Requests, Responses, Services, decode, stopped};
use crate::backend::Backend;
use crate::grpc::encode;
use crate::pb::{self, ServingStatus};
use crate::status::{Code, Status};

/// The names that may be asked about: the server as a whole, and its services.
const KNOWN: [&str; 6] = [
    "",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "grpc.health.v1.Health",
];

impl<B: Backend> Services<B> {
    pub(super) fn health_check(
        &self,
        request: &pb::HealthCheckRequest,
    ) -> Result<pb::HealthCheckResponse, Status> {
        if !KNOWN.contains(&request.service.as_str()) {
            return Err(Status::new(Code::NotFound, "unknown service"));
        }
        Ok(pb::HealthCheckResponse { status: self.serving(&request.service) as i32 })
    }

    /// Whoever sends clients to those that serve must not send them to a witness.
    fn serving(&self, service: &str) -> ServingStatus {
        let takes_data = matches!(service, "" | "etcdserverpb.KV" | "etcdserverpb.Watch");
        if self.is_witness() && takes_data {
            return ServingStatus::NotServing;
        }
        if self.backend().status().leader.is_some() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }

    /// Says how it stands, then whenever that changes.
    pub(super) async fn health_watch(
        &self,
        mut requests: impl Requests,
        responses: Responses,
    ) -> Result<(), Status> {
        let request: pb::HealthCheckRequest = match requests.next().await? {
            Some(message) => decode(message)?,
            None => return Err(Status::new(Code::Internal, "the request holds no message")),
        };
        let known = KNOWN.contains(&request.service.as_str());
        let mut status = self.backend().watch_status();
        let mut stopping = self.inner.stopping.subscribe();
        let mut last = None;
        loop {
            status.borrow_and_update();
            let now =
                if known { self.serving(&request.service) } else { ServingStatus::ServiceUnknown };
            if last != Some(now) {
                last = Some(now);
                let response = encode(&pb::HealthCheckResponse { status: now as i32 });
                if responses.send(response).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return Err(Status::STOPPED);
                    }
                }
                () = responses.closed() => return Ok(()),
                () = stopped(&mut stopping) => return Err(Status::STOPPED),
            }
        }
    }
}
