//! Messages in a crate of their own, which knows nothing of the aggregate and needs no engine.

use std::sync::Arc;

use phoenix_runtime::engine::Engine;
use phoenix_runtime::event_store::MemoryStore;
use phoenix_test_messages::{Count, Pieces, Put, Take, TooFew};

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "shelf")]
#[derive(Default, Serialize, Deserialize)]
struct Shelf {
    pieces: Pieces,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "pieces-changed")]
struct Changed {
    pieces: Pieces,
}

#[event_sourced]
impl Shelf {
    #[command_handler(reply = self.pieces)]
    fn put(&self, command: Put) -> Changed {
        Changed { pieces: self.pieces + command.pieces }
    }

    #[command_handler(reply = self.pieces, create = false)]
    fn take(&self, command: phoenix_test_messages::Take) -> Result<Changed, TooFew> {
        let left = self.pieces.checked_sub(command.pieces);
        left.map(|pieces| Changed { pieces }).ok_or(TooFew { left: self.pieces })
    }

    #[event_handler]
    fn changed(&mut self, event: &Changed) {
        self.pieces = event.pieces;
    }

    #[query_handler]
    fn count(&self, _: Count) -> Pieces {
        self.pieces
    }
}

#[tokio::test]
async fn an_engine_handles_them() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder(store).aggregate::<Shelf>().start().await.expect("it starts");
    let client = engine.client();
    let put = |pieces| Put { hall: 'a', shelf: 3, pieces };
    let take = |order: &str, pieces| Take { hall: 'a', shelf: 3, pieces, order: order.to_owned() };

    let shelves = client.of::<Shelf>();
    assert!(matches!(shelves.ask(take("o-1", 1)).await, Err(AskError::NotFound { .. })));
    assert_eq!(shelves.ask(put(5)).await.expect("a reply"), 5);
    assert_eq!(shelves.query(Count { hall: 'a', shelf: 3 }).await.expect("an answer"), 5);

    // by the message alone: without the aggregate's type
    assert_eq!(client.ask(put(2)).await.expect("a reply"), 7);
    assert_eq!(client.ask(take("o-2", 3)).await.expect("a reply"), 4);
    assert_eq!(client.ask(take("o-2", 3)).await.expect("a repeat gets the first reply"), 4);
    let refused = client.ask(take("o-3", 9)).await;
    assert!(matches!(refused, Err(AskError::Rejected { rejection: TooFew { left: 4 }, .. })), "{refused:?}");

    // the same key by the other way is the same command
    assert_eq!(shelves.ask(take("o-2", 3)).await.expect("a repeat gets the first reply"), 4);
    engine.stop().await;
}
