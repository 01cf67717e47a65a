//! A door between a store and its server that can be shut in the middle of a conversation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Failed;
use phoenix_test_servers::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// They pass.
    Open,
    /// Those of the store pass; the first ones of the server are swallowed, and the connection is cut.
    AnswersLost,
    /// All bytes pass up to a statement that begins with this text; what the server says to it is swallowed, and the
    /// connection is cut.
    AnswerLost(&'static str),
    /// The same, and the connection is not cut: nothing passes through it any more.
    AnswerNever(&'static str),
    /// Nothing passes any more, for ever, through connections that are open now or are made now; and none is cut.
    Silent,
    /// Nothing passes, and every connection is cut.
    Shut,
}

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    pub(crate) address: String,
    door: watch::Sender<Door>,
    answers_lost: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn before(server: &Server) -> Result<Self, Failed> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, server)
    }

    pub(crate) fn on(listener: TcpListener, server: &Server) -> Result<Self, Failed> {
        let (address, server) = (listener.local_addr()?.to_string(), server.address().to_owned());
        let (door, seen) = watch::channel(Door::Open);
        let answers_lost = Arc::new(AtomicUsize::new(0));
        let lost = Arc::clone(&answers_lost);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), seen.clone(), Arc::clone(&lost)));
            }
        });
        Ok(Self { address, door, answers_lost })
    }

    /// The address of a database, through this door.
    pub(crate) fn url(&self, url: &str, server: &Server) -> String {
        url.replace(server.address(), &self.address)
    }

    pub(crate) fn set(&self, door: Door) {
        self.door.send_replace(door);
    }

    /// How many answers were swallowed.
    pub(crate) fn answers_lost(&self) -> usize {
        self.answers_lost.load(Ordering::Relaxed)
    }
}

async fn carry(mut client: TcpStream, server: String, door: watch::Receiver<Door>, lost: Arc<AtomicUsize>) {
    if *door.borrow() == Door::Shut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let mut shutting = door.clone();
    let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut silenced = door.clone();
    let mut cut = false;
    loop {
        tokio::select! {
            biased;
            // what comes after the door was shut does not pass
            () = async { drop(shutting.wait_for(|door| *door == Door::Shut).await) } => return,
            () = async { drop(silenced.wait_for(|door| *door == Door::Silent).await) } => {
                drop(shutting.wait_for(|door| *door == Door::Shut).await);
                return;
            }
            read = client.read(&mut question) => match read {
                Ok(bytes @ 1..) if server.write_all(&question[..bytes]).await.is_ok() => {
                    if let Door::AnswerLost(text) | Door::AnswerNever(text) = *door.borrow() {
                        // what is before a statement is never a blank
                        let begins = |part: &[u8]| part[0] != b' ' && part[1..] == *text.as_bytes();
                        cut |= question[..bytes].windows(text.len() + 1).any(begins);
                    }
                }
                _ => return,
            },
            read = server.read(&mut answer) => match read {
                Ok(bytes @ 1..) => {
                    if cut || *door.borrow() == Door::AnswersLost {
                        lost.fetch_add(1, Ordering::Relaxed);
                        if matches!(*door.borrow(), Door::AnswerNever(_)) {
                            drop(shutting.wait_for(|door| *door == Door::Shut).await);
                        }
                        return;
                    }
                    if client.write_all(&answer[..bytes]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
