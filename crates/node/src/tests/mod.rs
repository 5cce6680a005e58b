//! Three nodes over links and disks that do at once what they are told: what
//! the node itself decides, without the noise of a world.

mod cluster;
mod commands;
mod delegated;
mod disk;
mod members;
mod snapshots;
mod strangers;
