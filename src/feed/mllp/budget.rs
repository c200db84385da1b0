//! How many bytes of frames all connections hold together.
//!
//! Promises: `intake_bytes_max` bounds the sum; whatever holds it, some frame can always be read
//! to its end, so that connections that wait for each other's share never all stand still.
//! Knows nothing of: connections.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const UNIT_BYTES: usize = 1 << 10;

/// The budget of a daemon.
#[derive(Debug)]
pub struct Budget {
    shared: Arc<Semaphore>,
    /// Set aside for one frame of the largest size: who gets it reads on, whatever the others hold.
    reserve: Arc<Semaphore>,
}

/// What one connection, or one frame that is not answered, holds of it. Given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    permits: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of `bytes_max`, of which one frame of `frame_bytes_max` is set aside.
    #[must_use]
    pub fn new(bytes_max: u64, frame_bytes_max: usize) -> Self {
        let shared = bytes_max.saturating_sub(frame_bytes_max as u64) / UNIT_BYTES as u64;
        let shared = usize::try_from(shared).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { shared: Arc::new(Semaphore::new(shared)), reserve: Arc::new(Semaphore::new(1)) }
    }

    /// Waits until a share covers so many bytes of one frame.
    pub async fn grow(&self, share: &mut Share, bytes: usize) {
        let wanted = bytes.div_ceil(UNIT_BYTES);
        let has = share.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if share.reserve.is_some() || wanted <= has {
            return;
        }
        let more = u32::try_from(wanted - has).unwrap_or(u32::MAX);
        // Both are tried in turn: what is held here may be what another connection waits for.
        // Neither is ever closed.
        tokio::select! {
            biased;
            Ok(permit) = Arc::clone(&self.shared).acquire_many_owned(more) => match &mut share.permits {
                Some(held) => held.merge(permit),
                None => share.permits = Some(permit),
            },
            Ok(permit) = Arc::clone(&self.reserve).acquire_owned() => share.reserve = Some(permit),
            else => {}
        }
    }
}

impl Share {
    /// The part for a frame of so many bytes, taken out of this one.
    pub fn split(&mut self, bytes: usize) -> Self {
        let permits = self
            .permits
            .as_mut()
            .and_then(|held| held.split(bytes.div_ceil(UNIT_BYTES).min(held.num_permits())));
        Self { permits, reserve: self.reserve.take() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROMISE-11
    #[tokio::test]
    async fn frames_that_hold_everything_together_are_read_one_after_the_other() {
        let budget = Budget::new(4 << 10, 2 << 10);
        let (mut first, mut second) = (Share::default(), Share::default());
        budget.grow(&mut first, 1 << 10).await;
        budget.grow(&mut second, 1 << 10).await;
        // Both want more, and each holds what the other waits for.
        budget.grow(&mut first, 2 << 10).await;
        let waiting = tokio::spawn(async move {
            budget.grow(&mut second, 2 << 10).await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the sum is bounded");
        let frame = first.split(2 << 10);
        drop((first, frame));
        let second = waiting.await.unwrap();
        assert!(second.permits.is_some() || second.reserve.is_some());
    }
}
