//! CPU time of other processes, from `/proc`.

use crate::failure::Failure;
use std::time::Duration;

/// What some processes have used so far, in user and kernel mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTimes(Vec<(u32, Duration)>);

impl CpuTimes {
    /// Reads them now.
    pub(crate) fn read(pids: &[u32]) -> Result<Self, Failure> {
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let mut times = Vec::with_capacity(pids.len());
        for &pid in pids {
            let path = format!("/proc/{pid}/stat");
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::new(format!(
                    "--pids: cannot read {path}: {error}; is process {pid} still there?"
                ))
            })?;
            let ticks = ticks(&text)
                .ok_or_else(|| Failure::new(format!("--pids: {path} is not as expected")))?;
            times.push((pid, Duration::from_micros(ticks * 1_000_000 / ticks_per_second)));
        }
        Ok(Self(times))
    }

    /// What was used since `before`, process by process.
    pub(crate) fn since(&self, before: &Self) -> Vec<(u32, Duration)> {
        let used = self.0.iter().zip(&before.0);
        used.map(|((pid, now), (_, then))| (*pid, now.saturating_sub(*then))).collect()
    }
}

/// `utime` and `stime` of `/proc/PID/stat`: fields 14 and 15. The second field
/// is the program's name and may hold anything, so counting begins behind it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

#[cfg(test)]
mod tests {
    use super::{CpuTimes, ticks};

    #[test]
    fn a_name_with_brackets_and_spaces_does_no_harm() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 8 7 6 120 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_can_be_read_and_a_wrong_one_is_named() {
        let this = std::process::id();
        let before = CpuTimes::read(&[this]).unwrap();
        assert_eq!(before.since(&before)[0].0, this);
        let failure = CpuTimes::read(&[u32::MAX]).unwrap_err();
        assert!(format!("{failure:?}").contains("4294967295"));
    }
}
