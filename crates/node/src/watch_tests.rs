//! Times of events, and what they tell.

use super::*;

#[test]
fn a_disk_that_does_not_answer_has_stalled_until_it_does() {
    let mut watch = Watch::new(1_000);
    assert_eq!((watch.deadline(), watch.disk(Time(10_000))), (None, None));
    watch.asked(Ticket(1), Time(10_000));
    watch.asked(Ticket(2), Time(10_400));
    assert_eq!(watch.deadline(), Some(Time(10_500)));
    assert_eq!(watch.disk(Time(10_499)), None);
    assert_eq!(watch.disk(Time(10_500)), Some(Input::DiskStalled));
    assert_eq!((watch.deadline(), watch.disk(Time(10_600))), (None, None), "said once");
    watch.answered(Ticket(1));
    assert_eq!(watch.disk(Time(10_700)), Some(Input::DiskRecovered), "the second is not late yet");
    assert_eq!(watch.deadline(), Some(Time(10_900)));
    watch.answered(Ticket(2));
    assert_eq!((watch.deadline(), watch.disk(Time(20_000))), (None, None));
}

#[test]
fn a_deadline_that_is_kept_late_was_slept_through() {
    let mut watch = Watch::new(1_000);
    let mut stood_still =
        |now, deadline: Option<u64>| watch.stood_still(Time(now), || deadline.map(Time));
    assert!(!stood_still(10_000, Some(1)), "nothing is known of the time before the first");
    assert!(!stood_still(10_100, Some(10_050)));
    assert!(!stood_still(20_000, None), "there was nothing to be woken for");
    assert!(!stood_still(30_000, Some(29_900)));
    assert!(stood_still(40_000, Some(31_000)));
}
