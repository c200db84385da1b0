//! Answers that a server of the tests keeps back, so that whoever asked stands still until a test goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A gate that answers go through.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<Kept>, Condvar)>);

#[derive(Default)]
struct Kept {
    /// What an answer holds that is kept back.
    text: Option<String>,
    waiting: usize,
}

impl Gate {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers that hold a text are kept back, until [`Gate::open`].
    pub fn close(&self, text: String) {
        self.kept().text = Some(text);
    }

    /// Lets all of them go.
    pub fn open(&self) {
        self.kept().text = None;
        self.0.1.notify_all();
    }

    /// Whether one is kept back now.
    pub fn is_waited_at(&self) -> bool {
        self.kept().waiting > 0
    }

    /// Goes through with an answer, as soon as it may.
    pub fn pass(&self, answer: &[u8]) {
        let mut kept = self.kept();
        kept.waiting += 1;
        while kept.text.as_ref().is_some_and(|text| holds(answer, text.as_bytes())) {
            kept = self.0.1.wait(kept).unwrap_or_else(PoisonError::into_inner);
        }
        kept.waiting -= 1;
    }
}

fn holds(answer: &[u8], text: &[u8]) -> bool {
    answer.windows(text.len()).any(|part| part == text)
}
