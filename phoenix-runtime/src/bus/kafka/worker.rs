//! Threads that ask brokers questions. kafka-rust waits up to two minutes for an answer, and nothing shortens that: a
//! thread whose question takes too long is left alone, and another one takes over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::connection::Connection;
use crate::bus::BusError;
use crate::bus::options::KafkaOptions;

/// The most threads of a bus, with those that wait for brokers which do not answer.
const MAX_THREADS: usize = 64;

/// How many questions may wait for one thread.
const MAX_WAITING: usize = 256;

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// What is the same for all threads of a bus.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) hosts: Vec<String>,
    pub(super) options: KafkaOptions,
    threads: AtomicUsize,
}

impl Shared {
    pub(super) fn new(hosts: Vec<String>, options: KafkaOptions) -> Arc<Self> {
        Arc::new(Self { hosts, options, threads: AtomicUsize::new(0) })
    }

    pub(super) fn connection(&self) -> Connection {
        Connection::new(self.hosts.clone(), self.options.clone())
    }

    /// Starts a thread, unless too many wait for brokers already.
    pub(super) fn spawn(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), BusError> {
        struct Counted(Arc<Shared>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.threads.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if self.threads.fetch_add(1, Ordering::Relaxed) >= MAX_THREADS {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return Err(BusError::Unavailable("too many threads wait for brokers that do not answer".to_owned()));
        }
        let counted = Counted(Arc::clone(self));
        let run = move || {
            let _counted = counted;
            work();
        };
        let started = std::thread::Builder::new().name(format!("kafka-{name}")).spawn(run);
        started.map(drop).map_err(|error| BusError::Unavailable(format!("no thread can be started: {error}")))
    }
}

/// A thread for questions: see the module.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    questions: Mutex<Option<SyncSender<Question>>>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, questions: Mutex::new(None) }
    }

    fn sender(&self) -> Result<SyncSender<Question>, BusError> {
        let mut current = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*current {
            return Ok(sender.clone());
        }
        let (sender, questions) = sync_channel::<Question>(MAX_WAITING);
        let mut connection = self.shared.connection();
        self.shared.spawn("questions", move || {
            while let Ok(question) = questions.recv() {
                // kafka-rust panics where it has lost all of its connections
                if catch_unwind(AssertUnwindSafe(|| question(&mut connection))).is_err() {
                    connection.forget();
                }
            }
        })?;
        *current = Some(sender.clone());
        Ok(sender)
    }

    /// Asks, and waits for the answer as long as a request may take.
    pub(super) async fn ask<T, F>(&self, question: F) -> Result<T, BusError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, BusError> + Send + 'static,
    {
        let sender = self.sender()?;
        let (tell, told) = oneshot::channel();
        let asked = sender.try_send(Box::new(move |connection| {
            if !tell.is_closed() {
                let _ = tell.send(question(connection));
            }
        }));
        match asked {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(BusError::Unavailable("too many questions wait for the brokers' answers".to_owned()));
            }
            Err(TrySendError::Disconnected(_)) => {
                self.leave();
                return Err(BusError::Unavailable("the thread that asks the brokers has ended".to_owned()));
            }
        }
        match tokio::time::timeout(self.shared.options.request_timeout, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(BusError::Unavailable("the connections to all brokers are lost".to_owned())),
            Err(_) => {
                self.leave();
                let limit = self.shared.options.request_timeout;
                Err(BusError::Unavailable(format!("the brokers do not answer within {limit:?}")))
            }
        }
    }

    /// The thread ends when it has its answer.
    fn leave(&self) {
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
