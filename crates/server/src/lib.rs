//! The etcd v3 API and the operator's endpoints, over `driftless-kv` on
//! `driftless`.

pub mod pb;
