use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Change, ChangeListener};

/// Who wants to hear of changes; held weakly, so that a cache can go.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<dyn ChangeListener>>>);

impl Listeners {
    pub(crate) fn add(&self, listener: Weak<dyn ChangeListener>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    /// Tells every listener, also those after one that panics; then the panic goes on.
    pub(crate) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.each(|listener| changes.iter().for_each(|change| listener.changed(*change)));
    }

    /// What is told from now on is what a look finds that begins now.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn catching_up(&self) {
        self.each(|listener| listener.catching_up());
    }

    /// All that the last look has found is told.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn caught_up(&self) {
        self.each(|listener| listener.caught_up());
    }

    fn each(&self, tell: impl Fn(&dyn ChangeListener)) {
        // Called without the lock: a listener may ask this store for something.
        let listeners: Vec<Arc<dyn ChangeListener>> = {
            let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().filter_map(Weak::upgrade).collect()
        };
        let mut panicked = None;
        for listener in listeners {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| tell(&*listener))) {
                panicked = Some(panic);
            }
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}
