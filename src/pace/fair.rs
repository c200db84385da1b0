//! A limit that many share.
//!
//! Promises: who asks first goes first, so that of several that always want to go each gets as much
//! as the others; who stops waiting takes nothing.
//! Knows nothing of: who they are.

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::Rate;

/// A [`Rate`] with a line before it.
#[derive(Debug)]
pub struct Fair(Mutex<Rate>);

impl Fair {
    /// A limit of so many a second over all who share it; none where it is 0.
    #[must_use]
    pub fn new(per_second: u64) -> Option<Self> {
        (per_second > 0).then(|| Self(Mutex::new(Rate::new(per_second))))
    }

    /// Waits until one may go.
    pub async fn turn(&self) {
        // Whoever waits for the time holds the lock: tokio's is handed on in the order of asking.
        let mut rate = self.0.lock().await;
        while let Some(at) = rate.wait(Instant::now()) {
            sleep_until(at).await;
        }
        rate.take(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn those_who_always_want_to_go_get_the_same_share() {
        let fair = Arc::new(Fair::new(500).unwrap());
        let counts: Vec<Arc<AtomicUsize>> = (0..4).map(|_| Arc::default()).collect();
        let tasks: Vec<_> = counts
            .iter()
            .map(|count| {
                let (fair, count) = (Arc::clone(&fair), Arc::clone(count));
                tokio::spawn(async move {
                    loop {
                        fair.turn().await;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let gone = || counts.iter().map(|count| count.load(Ordering::Relaxed));
        while gone().sum::<usize>() < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let (least, most) = (gone().min().unwrap(), gone().max().unwrap());
        // Before they stand in line, the first may take the burst of 50.
        assert!(most - least <= 51, "{least} to {most}");
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_nothing_and_holds_nobody_up() {
        let fair = Fair::new(1).unwrap();
        fair.turn().await;
        let asked = Instant::now();
        for _ in 0..3 {
            let gave_up = tokio::time::timeout(Duration::from_millis(10), fair.turn()).await;
            assert!(gave_up.is_err(), "it is not due yet");
        }
        fair.turn().await;
        assert!(asked.elapsed() < Duration::from_secs(3), "one second, and not four");
    }
}
