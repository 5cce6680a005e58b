//! The words in which a world is told.

use crate::plan::{Fault, Who};
use driftless_node::log::Recovered;
use driftless_node::raft::{Message, NodeId};
use std::fmt;

/// What a message that decides elections says; the rest would drown the reader.
pub(crate) fn told(message: &Message) -> Option<String> {
    Some(match message {
        Message::PreVote { term, last_log } => {
            format!("would you vote for me in term {term}? my log ends at {last_log}")
        }
        Message::PreVoteReply { term, granted: true } => format!("I would, in term {term}"),
        Message::PreVoteReply { term, granted: false } => {
            format!("I would not; my term is {term}")
        }
        Message::RequestVote { term, last_log, transfer: false } => {
            format!("vote for me in term {term}! my log ends at {last_log}")
        }
        Message::RequestVote { term, last_log, transfer: true } => {
            format!("vote for me in term {term}, as your leader wants! my log ends at {last_log}")
        }
        Message::TimeoutNow { term } => format!("take over from me (term {term})"),
        Message::VoteReply { term, vote_granted: true } => {
            format!("you have my vote in term {term}")
        }
        Message::VoteReply { term, vote_granted: false } => {
            format!("you do not have my vote; my term is {term}")
        }
        Message::AppendRejected { term, prev_log, hint, .. } => {
            format!("I do not hold {prev_log}; try {hint} (term {term})")
        }
        Message::InstallSnapshot { term, last, .. } => {
            format!("my snapshot is at {last} (term {term})")
        }
        _ => return None,
    })
}

/// With what a process starts.
pub(crate) fn started(id: NodeId, recovered: &Recovered) -> String {
    let state = recovered.hard_state;
    let vote = match state.voted_for {
        Some(candidate) => format!("voted for {candidate}"),
        None => "no vote".to_owned(),
    };
    format!(
        "member {id} starts: term {}, {vote}, committed {}, log from behind {} to {}",
        state.current_term,
        state.commit_index,
        recovered.trail.base(),
        recovered.trail.last()
    )
}

/// Time, as people read it.
struct Ms(u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(number) => write!(f, "member {number}"),
            Self::Leader(number) => write!(f, "the leader (or member {number})"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Crash { who, for_us } => write!(f, "{who} is killed, for {}", Ms(for_us)),
            Self::PowerCut { who, for_us } => write!(f, "{who} loses power, for {}", Ms(for_us)),
            Self::PowerCutInWrite { who, operations, .. } => {
                write!(f, "{who} loses power after {operations} more disk operations")
            }
            Self::PowerCutOfAll { for_us } => {
                write!(f, "all members lose power, for up to {}", Ms(for_us))
            }
            Self::Pause { who, for_us } => write!(f, "{who} stands still, for {}", Ms(for_us)),
            Self::Suspend { who, for_us } => {
                write!(f, "the machine of {who} is suspended, for {}", Ms(for_us))
            }
            Self::BreakLinks { one, other } => {
                write!(f, "the links between members {one} and {other} break")
            }
            Self::Isolate { who, for_us } => {
                write!(f, "{who} is cut off from all, for {}", Ms(for_us))
            }
            Self::Partition { side, for_us } => {
                let members = (0..64).filter(|bit| side >> bit & 1 == 1).map(|bit| bit + 1);
                let members: Vec<String> = members.map(|member: u64| member.to_string()).collect();
                let members = members.join(", ");
                write!(f, "members {{{members}}} are cut off from the others, for {}", Ms(for_us))
            }
            Self::OneWay { from, to, for_us } => {
                write!(f, "nothing passes from member {from} to {to}, for {}", Ms(for_us))
            }
            Self::PairCut { one, other, for_us } => {
                write!(f, "members {one} and {other} do not meet, for {}", Ms(for_us))
            }
            Self::SlowNetwork { factor, for_us } => write!(
                f,
                "the network is {factor} times slower and breaks links, for {}",
                Ms(for_us)
            ),
            Self::ClockLeap { who, by_us } => {
                write!(f, "the clock of {who} leaps ahead by {}", Ms(by_us))
            }
            Self::ClockRate { who, rate_ppm } => {
                let (whole, percent) = (rate_ppm / 1_000_000, rate_ppm / 10_000 % 100);
                write!(f, "the clock of {who} runs {whole}.{percent:02} times as fast")
            }
            Self::StallDisk { who, for_us } => {
                write!(f, "the disk of {who} finishes nothing, for {}", Ms(for_us))
            }
            Self::SlowDisk { who, factor, for_us } => {
                write!(f, "the disk of {who} is {factor} times slower, for {}", Ms(for_us))
            }
            Self::FullDisk { who, for_us, spare_bytes } => {
                let time = Ms(for_us);
                write!(f, "the disk of {who} is full but for {spare_bytes} bytes, for {time}")
            }
            Self::FullDiskOfAll { for_us, spare_bytes } => {
                let time = Ms(for_us);
                write!(f, "all disks are full but for {spare_bytes} bytes, for {time}")
            }
            Self::FailSync { who } => write!(f, "the next sync of {who} fails"),
            Self::Rot { who, .. } => write!(f, "a byte rots on the disk of {who}"),
            Self::LoseWrite { who } => {
                write!(f, "the disk of {who} reports its next write and does not make it")
            }
            Self::WipeDisk { who, told: true } => {
                write!(f, "{who} loses its disk, and its operator knows")
            }
            Self::WipeDisk { who, .. } => write!(f, "{who} loses its disk in silence"),
            Self::OldDisk { who } => write!(f, "a copy of the disk of {who} is to come back"),
            Self::Change { wish, cut_us: 0, .. } => write!(f, "the operator wishes for {wish}"),
            Self::Change { wish, cut_us, .. } => {
                let time = Ms(cut_us);
                write!(f, "the operator wishes for {wish}, of a leader that is cut off for {time}")
            }
            Self::LoseQuorum { .. } => write!(f, "a quorum is lost for good"),
            Self::Transfer { .. } => write!(f, "the operator wishes for another leader"),
        }
    }
}
