//! The chain as requests ask it: on a thread of its own, one after another, never waiting for the index.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use earnest_chain::chain::Chain;
use tokio::sync::oneshot;

use super::Opener;

/// How long a request waits for the chain.
const PATIENCE: Duration = Duration::from_secs(20);

type Job = Box<dyn FnOnce(&mut Chain) + Send>;

/// The way to the thread, which ends with it.
pub(super) struct Asker(Mutex<Sender<Job>>);

impl Asker {
    pub(super) fn start(open: Arc<Opener>) -> Self {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || {
            let mut chain = None;
            for job in queue {
                // A node that could not be reached is tried again with the next request, which goes unanswered if it fails.
                chain = chain.or_else(|| open().ok());
                if let Some(chain) = &mut chain {
                    job(chain);
                }
            }
        });
        Asker(Mutex::new(jobs))
    }

    /// `None`: the chain does not answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Chain) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |chain| drop(tell.send(what(chain))));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(job).ok()?;
        tokio::time::timeout(PATIENCE, told).await.ok()?.ok()
    }
}
