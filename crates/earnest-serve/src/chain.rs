//! The chain behind the service. The embedded one cannot move between threads, so that a chain is opened by the thread
//! that keeps it, and answers one question after the other.

use std::sync::mpsc;

use anyhow::{Context, Result};
use earnest_chain::chain::{Chain, ChainError};

type Question = Box<dyn FnOnce(&mut Chain) + Send>;

/// A thread with a chain. It ends with the last clone of this.
#[derive(Clone)]
pub struct ChainThread(mpsc::Sender<Question>);

impl ChainThread {
    /// Opens the chain in a thread of its own.
    pub fn start(open: impl FnOnce() -> Result<Chain> + Send + 'static) -> Result<Self> {
        let (ask, questions) = mpsc::channel::<Question>();
        let (ready, opened) = mpsc::channel();
        std::thread::Builder::new().name("chain".into()).spawn(move || {
            let mut chain = match open() {
                Ok(chain) => chain,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            questions.into_iter().for_each(|question| question(&mut chain));
        })?;
        opened.recv().context("the thread of the chain ended")??;
        Ok(ChainThread(ask))
    }

    /// For a chain that cannot leave its thread: whoever has the desk answers.
    pub fn elsewhere() -> (Self, Desk) {
        let (ask, questions) = mpsc::channel();
        (ChainThread(ask), Desk(questions))
    }

    /// Asks and waits: not for threads that serve.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Chain) -> Result<T, ChainError> + Send + 'static,
    ) -> Result<T, ChainError> {
        let (answer, answered) = mpsc::channel();
        let question = Box::new(move |chain: &mut Chain| drop(answer.send(question(chain))));
        let gone = || ChainError::Node("the thread of the chain ended".into());
        self.0.send(question).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

/// Where questions to a chain of another thread arrive.
pub struct Desk(mpsc::Receiver<Question>);

impl Desk {
    /// Answers until nobody can ask any more.
    pub fn answer(self, chain: &mut Chain) {
        self.0.into_iter().for_each(|question| question(chain));
    }
}
