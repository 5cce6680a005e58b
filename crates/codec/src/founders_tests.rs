//! Founders come back as they were, and nothing else passes for them.

use super::*;
use crate::membership::encode_membership;
use driftless_raft::NodeId;

fn founders() -> Founders {
    let membership = Membership::of([1, 2, 3].map(NodeId));
    let contact = |id, address: &str| Contact { node_id: NodeId(id), address: address.to_owned() };
    let contacts = vec![contact(1, "http://a:2380,http://b:2380"), contact(3, "")];
    Founders { membership, contacts }
}

#[test]
fn they_come_back_as_they_were() {
    let founders = founders();
    assert_eq!(Founders::decode(&founders.encode()), Ok(founders));
}

#[test]
fn without_addresses_the_payload_is_a_membership() {
    let founders = Founders { contacts: Vec::new(), ..founders() };
    assert_eq!(founders.encode(), encode_membership(&founders.membership));
    assert_eq!(Founders::decode(&founders.encode()), Ok(founders));
}

#[test]
fn what_is_cut_short_is_refused() {
    let (whole, bytes) = (founders(), founders().encode());
    let ends = |count: usize| {
        let contacts = whole.contacts[..count].to_vec();
        Founders { contacts, ..whole.clone() }.encode().len()
    };
    let sound: Vec<usize> = (0..=whole.contacts.len()).map(ends).collect();
    for len in 0..bytes.len() {
        let read = Founders::decode(&bytes.slice(..len));
        assert_eq!(read.is_ok(), sound.contains(&len), "{len} bytes: {read:?}");
    }
}
