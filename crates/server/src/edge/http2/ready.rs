//! Which of a connection's calls can go on: a waker for each of them.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// What was woken since the connection last looked, and the task to wake for it.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<Woken>);

#[derive(Debug, Default)]
struct Woken {
    numbers: Vec<usize>,
    task: Option<Waker>,
}

impl Ready {
    /// From now on this task is woken.
    pub(super) fn listen(&self, task: &Waker) {
        let mut woken = self.0.lock();
        if !woken.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            woken.task = Some(task.clone());
        }
    }

    /// Exchanges the numbers of what was woken for an empty list.
    pub(super) fn take(&self, numbers: &mut Vec<usize>) {
        numbers.clear();
        std::mem::swap(numbers, &mut self.0.lock().numbers);
    }
}

/// Wakes one thing, by its number.
#[derive(Debug)]
pub(super) struct Bell {
    ready: Arc<Ready>,
    number: usize,
    /// Its number is on the list.
    is_rung: AtomicBool,
}

impl Bell {
    pub(super) fn new(ready: &Arc<Ready>, number: usize) -> Arc<Self> {
        Arc::new(Self { ready: Arc::clone(ready), number, is_rung: AtomicBool::new(false) })
    }

    /// To be called before that which it wakes is looked at: what happens from now
    /// on rings again.
    pub(super) fn quiet(&self) {
        // Both sides exchange, so that whoever rang in vain has its deeds seen.
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = self.ready.0.lock();
        woken.numbers.push(self.number);
        // Whoever was first has woken the task already.
        if woken.numbers.len() == 1
            && let Some(task) = &woken.task
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_listed_once_and_the_task_woken_once_until_they_are_taken() {
        let task = Arc::new(Task::default());
        let ready = Arc::new(Ready::default());
        ready.listen(&Waker::from(Arc::clone(&task)));
        let bells: Vec<_> = (0..3).map(|number| Bell::new(&ready, number)).collect();
        let wakers: Vec<_> = bells.iter().cloned().map(Waker::from).collect();
        let mut numbers = vec![9];
        for _ in 0..2 {
            for number in [2, 0, 2, 2] {
                wakers[number].wake_by_ref();
            }
            ready.take(&mut numbers);
            assert_eq!(numbers, [2, 0]);
            wakers[0].wake_by_ref();
            ready.take(&mut numbers);
            assert_eq!(numbers, [0; 0], "it was not looked at yet");
            for bell in &bells {
                bell.quiet();
            }
        }
        assert_eq!(task.0.load(Ordering::Relaxed), 2);
    }
}
