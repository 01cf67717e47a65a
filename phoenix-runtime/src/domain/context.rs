//! What a command handler may know besides state and command.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use crate::domain::id::{AggregateId, Dedup, MessageId};
use crate::domain::metadata::Metadata;

/// The second parameter of a command handler.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) id: AggregateId,
    pub(crate) version: u64,
    pub(crate) now_micros: i64,
    pub(crate) message: MessageId,
    pub(crate) metadata: Option<Arc<Metadata>>,
    pub(crate) resources: Resources,
    pub(crate) chain: CallChain,
    pub(crate) key: Option<String>,
    cause: Option<Arc<Cause>>,
}

/// What an `async` handler's own asks come from. They get keys of it, so that a handler that runs again, because its
/// batch failed or its caller sent the command again, repeats them instead of asking twice.
#[derive(Debug)]
pub struct Cause {
    identity: u128,
    message: MessageId,
    correlation_id: String,
    traceparent: Option<String>,
    asks: AtomicU64,
}

impl Cause {
    /// Of a command to this aggregate.
    #[must_use]
    pub fn new(aggregate: &str, context: &Context, dedup: Dedup) -> Self {
        let identity = [aggregate.as_bytes(), context.id.as_str().as_bytes(), &dedup.0].join(&0);
        Self {
            identity: xxh3_128(&identity),
            message: context.message,
            correlation_id: context.correlation_id(),
            traceparent: context.metadata().and_then(|metadata| metadata.traceparent.clone()),
            asks: AtomicU64::new(0),
        }
    }

    /// The key of the next ask that has none.
    #[must_use]
    pub fn next_key(&self) -> String {
        format!("{:032x}:{}", self.identity, self.asks.fetch_add(1, Ordering::Relaxed))
    }

    /// Says where an ask comes from, as far as its caller did not.
    pub fn describe(&self, metadata: &mut Metadata) {
        metadata.correlation_id.get_or_insert_with(|| self.correlation_id.clone());
        metadata.causation_id.get_or_insert_with(|| self.message.to_string());
        if metadata.traceparent.is_none() {
            metadata.traceparent.clone_from(&self.traceparent);
        }
    }
}

impl Context {
    /// For those who run handlers: the engine and test kits.
    #[must_use]
    pub fn new(id: AggregateId, version: u64, now_micros: i64, message: MessageId) -> Self {
        Self {
            id,
            version,
            now_micros,
            message,
            metadata: None,
            resources: Resources::default(),
            chain: CallChain::default(),
            key: None,
            cause: None,
        }
    }

    /// The same with what the handler's own asks come from: for those who run `async` handlers.
    #[must_use]
    pub fn caused_by(self, cause: Cause) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }

    /// What the handler's own asks come from.
    #[must_use]
    pub fn cause(&self) -> Option<&Arc<Cause>> {
        self.cause.as_ref()
    }

    /// A text that is equal whenever this command runs, however often it is sent: the caller's key, or the command's
    /// id. Hand it to services outside, which an `async` handler that runs again would otherwise ask twice.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.key.clone().unwrap_or_else(|| self.message.to_string())
    }

    /// The aggregate's id.
    #[must_use]
    pub fn id(&self) -> &AggregateId {
        &self.id
    }

    /// The version that this decision starts from; 0 for an aggregate without events.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The time that the events of this decision will carry. It never decreases within one stream.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.now_micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// The command's own id.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        self.message
    }

    /// Names the whole conversation; the command's id where its caller said nothing.
    #[must_use]
    pub fn correlation_id(&self) -> String {
        self.metadata.as_ref().and_then(|m| m.correlation_id.clone()).unwrap_or_else(|| self.message.to_string())
    }

    /// What the caller sent along, if anything.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    /// A resource that the handler named in `#[command_handler(uses(T))]` and the node was given.
    /// The node does not start without those named; one that was not named may be missing.
    #[must_use]
    pub fn resource<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.resources.get()
    }

    /// The aggregates that wait for this decision, nearest last.
    #[must_use]
    pub fn chain(&self) -> &CallChain {
        &self.chain
    }
}

/// What a node lends to handlers, by type.
#[derive(Clone, Default)]
pub struct Resources(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Resources {
    /// Adds a resource; one of the same type is replaced.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, resource: T) -> Self {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(resource));
        self
    }

    /// The resource of this type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned().and_then(|any| any.downcast().ok())
    }

    /// Whether there is a resource of this type.
    #[must_use]
    pub fn has(&self, resource: &Needs) -> bool {
        self.0.contains_key(&(resource.type_id)())
    }
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resources({})", self.0.len())
    }
}

/// A resource that a handler asks for.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Its type.
    pub type_id: fn() -> TypeId,
    /// Its Rust name, for messages.
    pub name: &'static str,
}

impl Needs {
    /// Of a type.
    #[must_use]
    pub const fn of<T: 'static>(name: &'static str) -> Self {
        Self { type_id: TypeId::of::<T>, name }
    }
}

/// The aggregates that wait for a decision, because each asked the next from inside a handler.
#[derive(Debug, Clone, Default)]
pub struct CallChain(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    aggregate: &'static str,
    id: AggregateId,
    before: CallChain,
}

impl CallChain {
    /// The chain with one more at its end.
    #[must_use]
    pub fn and(&self, aggregate: &'static str, id: AggregateId) -> Self {
        Self(Some(Arc::new(Link { aggregate, id, before: self.clone() })))
    }

    /// Whether this aggregate waits in the chain.
    #[must_use]
    pub fn contains(&self, aggregate: &str, id: &AggregateId) -> bool {
        let mut next = self;
        while let Some(link) = &next.0 {
            if link.aggregate == aggregate && link.id == *id {
                return true;
            }
            next = &link.before;
        }
        false
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
