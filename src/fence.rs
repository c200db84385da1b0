//! Who is on the way out, by subject.
//!
//! Promises: of one subject at most one release is on its way on a route, so that neither a
//! nack nor a retry lets a later event overtake an earlier one (PROMISE-4); what a sink takes
//! has entered here, and what has not entered cannot be handed to a sink; when a consent that
//! narrows is acknowledged, nothing that was permitted before it is on its way any more, nor
//! will be (PROMISE-6).
//! Knows nothing of: brokers, what a consent says.
//!
//! A release is on its way from right before it is handed to the sink until the sink has
//! confirmed it or its connection is cut. Whoever narrows marks the subject, so that a permit
//! that was asked for before does not enter, and waits until nothing that had entered by then is on
//! its way. Where that takes too long, the routes that have it on the way are told to cut their connections.
//! docs/adr/0010 says why by moments and not by a number for each subject.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::event::Subject;
use crate::privacy::Release;

/// Most narrowings that are remembered one by one. Between a question and the entering lie
/// microseconds; whoever takes longer than so many narrowings asks again.
const NARROWED_MAX: usize = 1_024;
/// When a notice enters: behind every narrowing there will be. It rests on no permit, and tells what
/// was narrowed, so whoever narrows does not wait for it.
const NOTICE: u64 = u64::MAX;

/// The fence of a daemon.
#[derive(Debug, Default)]
pub struct Fence {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Something is no longer on its way.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What is on its way, with how many were narrowed in all when it entered, or [`NOTICE`].
    on_the_way: HashMap<(Arc<str>, Arc<Subject>), u64>,
    /// Subjects that were narrowed, oldest first.
    narrowed: VecDeque<Subject>,
    /// How many were narrowed in all.
    narrowings: u64,
    /// Subjects whose fence was passed, oldest first, each with how many were narrowed by then.
    passed: VecDeque<(u64, Subject)>,
    /// How often each route was told to cut its connection.
    cuts: HashMap<Arc<str>, watch::Sender<u64>>,
}

/// The moment at which a subject's consent is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// A release on its way. Only [`Fence::enter`] makes one, and a sink takes nothing else:
///
/// ```compile_fail
/// fn hand(sink: &mut tidegate::deliver::Sink, release: tidegate::privacy::Release) {
///     sink.send(release, 1);
/// }
/// ```
///
/// It stays on its way until this is dropped: when the sink has confirmed it, or has cut its
/// connection.
#[derive(Debug)]
pub struct Entered {
    release: Release,
    route: Arc<str>,
    inner: Arc<Inner>,
}

/// Why a release did not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Another of its subject is on its way on that route.
    OnTheWay,
    /// Its subject's consent was narrowed since it was asked about: it is to be asked anew.
    Narrowed,
}

impl Fence {
    /// Now, which is before the consent is looked up that a release will rest on.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.inner.lock().narrowings)
    }

    /// Lets a release onto its way, if what it was permitted by still stands.
    ///
    /// # Errors
    /// [`Kept`].
    // PROMISE-6: looking and entering are one step, so that nobody narrows in between.
    pub fn enter(
        &self,
        route: &Arc<str>,
        release: Release,
        asked_at: Moment,
    ) -> Result<Entered, Kept> {
        let mut state = self.inner.lock();
        if state.narrowed_since(release.subject(), asked_at) {
            return Err(Kept::Narrowed);
        }
        let key = (Arc::clone(route), Arc::clone(release.subject()));
        if state.on_the_way.contains_key(&key) {
            return Err(Kept::OnTheWay);
        }
        let entered_at = if release.is_notice() { NOTICE } else { state.narrowings };
        state.on_the_way.insert(key, entered_at);
        Ok(Entered { release, route: Arc::clone(route), inner: Arc::clone(&self.inner) })
    }

    /// How often a route was told to cut its connection, and when that changes.
    #[must_use]
    pub fn cuts(&self, route: &Arc<str>) -> watch::Receiver<u64> {
        let mut state = self.inner.lock();
        state.cuts.entry(Arc::clone(route)).or_default().subscribe()
    }

    /// Returns when nothing of some subjects is on its way that was permitted before. Their new
    /// consent must be in the store by then. After `patience` the routes that still have it on
    /// the way are told to cut their connections; a route that does not go round is the
    /// watchdog's matter, and nothing is acknowledged until then.
    // PROMISE-6
    pub async fn narrow(&self, subjects: Vec<Subject>, patience: Duration) {
        let moment = self.inner.lock().narrow(&subjects);
        if timeout(patience, self.clear(&subjects, moment)).await.is_err() {
            self.inner.lock().cut(&subjects, moment);
            self.clear(&subjects, moment).await;
        }
        self.inner.lock().pass(subjects, moment);
    }

    /// Whether somebody was told that a subject's fence is passed by what was narrowed since a
    /// moment: what enters by a question of before that would be late. It never is, unless the
    /// code is wrong.
    #[must_use]
    pub fn is_late(&self, subject: &Subject, asked_at: Moment) -> bool {
        let state = self.inner.lock();
        // Mostly nobody was narrowed in between, and nothing is looked through.
        state.narrowings > asked_at.0
            && state.passed.iter().any(|(at, one)| *at > asked_at.0 && one == subject)
    }

    /// What has entered since was permitted since: after a merge a subject's events go on.
    async fn clear(&self, subjects: &[Subject], moment: Moment) {
        loop {
            let left = self.inner.left.notified();
            if !self.inner.lock().has_any(subjects, moment) {
                return;
            }
            left.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Marks subjects; the moment behind that.
    fn narrow(&mut self, subjects: &[Subject]) -> Moment {
        for subject in subjects {
            self.narrowings += 1;
            self.narrowed.push_back(subject.clone());
            if self.narrowed.len() > NARROWED_MAX {
                self.narrowed.pop_front();
            }
        }
        Moment(self.narrowings)
    }

    fn pass(&mut self, subjects: Vec<Subject>, narrowing: Moment) {
        for subject in subjects {
            self.passed.push_back((narrowing.0, subject));
            if self.passed.len() > NARROWED_MAX {
                self.passed.pop_front();
            }
        }
    }

    fn narrowed_since(&self, subject: &Subject, moment: Moment) -> bool {
        let since = usize::try_from(self.narrowings - moment.0).unwrap_or(usize::MAX);
        since > self.narrowed.len()
            || self.narrowed.iter().rev().take(since).any(|one| one == subject)
    }

    /// The routes on which something of some subjects is on its way that entered before.
    fn on_the_way_of<'s>(
        &'s self,
        subjects: &'s [Subject],
        before: Moment,
    ) -> impl Iterator<Item = &'s Arc<str>> {
        let entered = self.on_the_way.iter();
        let of_them =
            entered.filter(move |((_, subject), at)| **at < before.0 && subjects.contains(subject));
        of_them.map(|((route, _), _)| route)
    }

    fn has_any(&self, subjects: &[Subject], before: Moment) -> bool {
        self.on_the_way_of(subjects, before).next().is_some()
    }

    fn cut(&self, subjects: &[Subject], before: Moment) {
        let routes: HashSet<&Arc<str>> = self.on_the_way_of(subjects, before).collect();
        for cuts in routes.into_iter().filter_map(|route| self.cuts.get(route)) {
            cuts.send_modify(|count| *count += 1);
        }
    }
}

impl Entered {
    /// What is on its way.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let key = (Arc::clone(&self.route), Arc::clone(self.release.subject()));
        self.inner.lock().on_the_way.remove(&key);
        self.inner.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phi::Phi;

    /// PROMISE-6: a consumer that does not confirm what it is told holds up no revocation.
    #[tokio::test]
    async fn nobody_waits_for_a_notice_and_it_keeps_its_place_in_order() {
        let fence = Fence::default();
        let told = Release::telling(subject("1"));
        let told = fence.enter(&route("r"), told, fence.moment()).unwrap();
        let cuts = fence.cuts(&route("r"));
        fence.narrow(vec![subject("1")], Duration::from_secs(60)).await;
        assert!(!cuts.has_changed().unwrap(), "a connection was cut");
        let behind = fence.enter(&route("r"), release("1"), fence.moment());
        assert_eq!(behind.unwrap_err(), Kept::OnTheWay);
        drop(told);
        fence.enter(&route("r"), release("1"), fence.moment()).unwrap();
    }

    const PATIENCE: Duration = Duration::from_millis(1);

    fn subject(value: &str) -> Subject {
        Subject { authority: "A".to_owned(), value: Phi::new(value.to_owned()) }
    }

    fn release(value: &str) -> Release {
        Release::of(subject(value))
    }

    fn route(name: &str) -> Arc<str> {
        name.into()
    }

    /// PROMISE-4
    #[test]
    fn of_a_subject_one_release_is_on_its_way_on_a_route() {
        let fence = Fence::default();
        let first = fence.enter(&route("r"), release("1"), fence.moment()).unwrap();
        let second = fence.enter(&route("r"), release("1"), fence.moment());
        assert_eq!(second.unwrap_err(), Kept::OnTheWay);
        drop(fence.enter(&route("s"), release("1"), fence.moment()).unwrap());
        drop(fence.enter(&route("r"), release("2"), fence.moment()).unwrap());
        drop(first);
        drop(fence.enter(&route("r"), release("1"), fence.moment()).unwrap());
    }

    /// PROMISE-6
    #[tokio::test]
    async fn what_was_asked_before_does_not_enter_after() {
        let fence = Fence::default();
        let before = fence.moment();
        fence.narrow(vec![subject("1")], PATIENCE).await;
        let stale = fence.enter(&route("r"), release("1"), before);
        assert_eq!(stale.unwrap_err(), Kept::Narrowed);
        drop(fence.enter(&route("r"), release("2"), before).unwrap());
        drop(fence.enter(&route("r"), release("1"), fence.moment()).unwrap());
        // Who slept through more than is remembered asks again, whoever it was.
        for _ in 0..=NARROWED_MAX {
            fence.narrow(vec![subject("3")], PATIENCE).await;
        }
        let late = fence.enter(&route("r"), release("2"), before);
        assert_eq!(late.unwrap_err(), Kept::Narrowed);
    }

    /// PROMISE-6
    #[tokio::test]
    async fn who_narrows_waits_for_what_is_on_its_way_and_for_nothing_else() {
        let fence = Arc::new(Fence::default());
        let mut cuts = fence.cuts(&route("r"));
        let others = fence.cuts(&route("s"));
        let own = fence.enter(&route("r"), release("1"), fence.moment()).unwrap();
        let other = fence.enter(&route("s"), release("2"), fence.moment()).unwrap();
        fence.narrow(vec![subject("3")], PATIENCE).await;
        let waiting = {
            let fence = Arc::clone(&fence);
            tokio::spawn(async move { fence.narrow(vec![subject("1")], PATIENCE).await })
        };
        // Its patience ends, and the route is told.
        cuts.changed().await.unwrap();
        assert!(!waiting.is_finished());
        drop(own);
        waiting.await.unwrap();
        assert!(!others.has_changed().unwrap());
        drop(other);
    }

    /// PROMISE-6: after a merge the subject's events go on, and are not waited for.
    #[tokio::test]
    async fn who_narrows_does_not_wait_for_what_was_permitted_since() {
        let fence = Arc::new(Fence::default());
        let cuts = fence.cuts(&route("r"));
        let own = fence.enter(&route("r"), release("1"), fence.moment()).unwrap();
        let waiting = {
            let fence = Arc::clone(&fence);
            let both = vec![subject("1"), subject("2")];
            tokio::spawn(async move { fence.narrow(both, Duration::from_secs(60)).await })
        };
        tokio::task::yield_now().await;
        let since = fence.enter(&route("r"), release("2"), fence.moment()).unwrap();
        drop(own);
        waiting.await.unwrap();
        assert!(!cuts.has_changed().unwrap());
        drop(since);
    }

    /// PROMISE-6: threads that ask, dawdle, enter and leave, while another narrows; the consent is
    /// a flag that is set before the fence is taken, as the journal's commit is.
    #[test]
    fn whoever_narrows_finds_nothing_on_its_way_however_threads_meet() {
        use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        const ROUNDS: usize = 3_000;
        #[derive(Default)]
        struct Shared {
            fence: Fence,
            denied: AtomicBool,
            /// The fence was taken: what is on its way from now on is late.
            taken: AtomicBool,
            late: AtomicU32,
        }
        fn deliver(shared: &Shared, name: &Arc<str>) {
            loop {
                let moment = shared.fence.moment();
                if shared.denied.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::yield_now();
                if let Ok(entered) = shared.fence.enter(name, release("1"), moment) {
                    std::thread::yield_now();
                    let late = shared.taken.load(Ordering::SeqCst);
                    shared.late.fetch_add(u32::from(late), Ordering::SeqCst);
                    drop(entered);
                }
            }
        }
        for round in 0..ROUNDS {
            let shared = Arc::new(Shared::default());
            let routes: Vec<_> = (0..3)
                .map(|name| {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || deliver(&shared, &route(&name.to_string())))
                })
                .collect();
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            shared.denied.store(true, Ordering::SeqCst);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let patience = Duration::from_secs(60);
            runtime.unwrap().block_on(shared.fence.narrow(vec![subject("1")], patience));
            shared.taken.store(true, Ordering::SeqCst);
            routes.into_iter().for_each(|route| route.join().unwrap());
            assert_eq!(shared.late.load(Ordering::SeqCst), 0, "round {round}");
        }
    }
}
