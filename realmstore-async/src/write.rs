//! The writes, and how each is applied. A new one is one more [`Write`].

use futures_channel::oneshot;
use realmstore_core::cbor::Cbor;
use realmstore_core::{
    Backend, Dispatch, Error, ErrorKind, Event, MatchPolicy, Publication, RealmStore, Result,
    Session, SessionId, StoreWrite, SubscriptionId, Timestamp, Uuid,
};

use crate::recorder::Recorder;

/// One write, as plain owned values.
pub(crate) trait Write<B: Backend>: Send + 'static {
    /// What its caller is told.
    type Answer: Send + 'static;

    /// The name of its method.
    const KIND: &'static str;

    /// Its size in bytes, about.
    fn weight(&self) -> usize;

    /// Does it.
    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<Self::Answer>;

    /// Whether the transaction is as it was before when [`apply`](Self::apply)
    /// has failed in this way.
    fn has_changed_nothing(kind: ErrorKind) -> bool {
        is_refusal(kind)
    }
}

/// What core refuses before it writes anything.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidInput | ErrorKind::Duplicate | ErrorKind::NotFound
    )
}

pub(crate) struct SessionJoined(pub(crate) Session);

impl<B: Backend> Write<B> for SessionJoined {
    type Answer = ();
    const KIND: &'static str = "session_joined";

    fn weight(&self) -> usize {
        let session = &self.0;
        size_of::<Self>()
            + [
                &session.node_authid,
                &session.worker_name,
                &session.proxy_node_authid,
                &session.proxy_worker_name,
                &session.realm,
                &session.authid,
                &session.authrole,
                &session.authmethod,
                &session.authprovider,
            ]
            .map(|text| text.as_ref().map_or(0, String::len))
            .into_iter()
            .sum::<usize>()
            + cbor(&session.transport)
            + cbor(&session.proxy_transport)
            + cbor(&session.authextra)
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        _: &mut Recorder,
    ) -> Result<()> {
        store.session_joined(txn, &self.0)
    }
}

pub(crate) struct SessionLeft {
    pub(crate) session: SessionId,
    pub(crate) left_at: Timestamp,
}

impl<B: Backend> Write<B> for SessionLeft {
    type Answer = Option<Uuid>;
    const KIND: &'static str = "session_left";

    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        _: &mut Recorder,
    ) -> Result<Option<Uuid>> {
        store.session_left(txn, self.session, self.left_at)
    }

    /// The record is read in full before it is written, and left as it is when
    /// it cannot be.
    fn has_changed_nothing(kind: ErrorKind) -> bool {
        is_refusal(kind) || matches!(kind, ErrorKind::Damaged | ErrorKind::Unsupported)
    }
}

pub(crate) struct StorePublication(pub(crate) Publication);

impl<B: Backend> Write<B> for StorePublication {
    type Answer = ();
    const KIND: &'static str = "store_publication";

    fn weight(&self) -> usize {
        size_of::<Self>() + publication_weight(&self.0)
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        _: &mut Recorder,
    ) -> Result<()> {
        store.store_publication(txn, &self.0)
    }
}

/// What a publication takes beside its struct.
fn publication_weight(publication: &Publication) -> usize {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let ids = |ids: &Option<Vec<SessionId>>| ids.as_ref().map_or(0, |ids| size_of_val(&**ids));
    let texts = |texts: &Option<Vec<String>>| {
        texts.as_ref().map_or(0, |texts| {
            size_of_val(&**texts) + texts.iter().map(String::len).sum::<usize>()
        })
    };
    publication.topic.len()
        + cbor(&publication.args)
        + cbor(&publication.kwargs)
        + bytes(&publication.payload)
        + bytes(&publication.enc_key)
        + ids(&publication.exclude)
        + ids(&publication.eligible)
        + texts(&publication.exclude_authid)
        + texts(&publication.exclude_authrole)
        + texts(&publication.eligible_authid)
        + texts(&publication.eligible_authrole)
}

pub(crate) struct StoreEvent(pub(crate) Event);

impl<B: Backend> Write<B> for StoreEvent {
    type Answer = ();
    const KIND: &'static str = "store_event";

    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        recorder.event(store, txn, &self.0)
    }
}

pub(crate) struct StoreDispatch(pub(crate) Dispatch);

impl<B: Backend> Write<B> for StoreDispatch {
    type Answer = ();
    const KIND: &'static str = "store_dispatch";

    fn weight(&self) -> usize {
        let deliveries = &self.0.deliveries;
        let receivers = deliveries.iter().map(|to| size_of_val(&*to.receivers));
        size_of::<Self>()
            + publication_weight(&self.0.publication)
            + size_of_val(&**deliveries)
            + receivers.sum::<usize>()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        recorder.dispatch(store, txn, &self.0)
    }
}

pub(crate) struct NameSubscription {
    pub(crate) uri: String,
    pub(crate) match_policy: MatchPolicy,
    pub(crate) now: Timestamp,
}

impl<B: Backend> Write<B> for NameSubscription {
    type Answer = SubscriptionId;
    const KIND: &'static str = "subscription_id";

    fn weight(&self) -> usize {
        size_of::<Self>() + self.uri.len()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<SubscriptionId> {
        recorder.subscription_id(store, txn, &self.uri, self.match_policy, self.now)
    }
}

pub(crate) struct AliasSubscription {
    pub(crate) alias: SubscriptionId,
    pub(crate) subscription: SubscriptionId,
}

impl<B: Backend> Write<B> for AliasSubscription {
    type Answer = ();
    const KIND: &'static str = "alias_subscription";

    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        _: &mut Recorder,
    ) -> Result<()> {
        store.alias_subscription(txn, self.alias, self.subscription)
    }
}

pub(crate) struct ForgetRetained(pub(crate) String);

impl<B: Backend> Write<B> for ForgetRetained {
    type Answer = usize;
    const KIND: &'static str = "forget_retained";

    fn weight(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }

    fn apply(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        _: &mut Recorder,
    ) -> Result<usize> {
        store.forget_retained(txn, &self.0)
    }
}

fn cbor(cbor: &Option<Cbor>) -> usize {
    cbor.as_ref()
        .map_or(0, |cbor| cbor.as_ref().as_bytes().len())
}

/// A write and its caller, whatever the write is.
pub(crate) trait Pending<B: Backend>: Send {
    /// The name of the method that was called.
    fn kind(&self) -> &'static str;

    /// Does it, and keeps what is to be told. May be done again in another transaction.
    ///
    /// # Errors
    /// Those after which the transaction can only be dropped.
    fn apply(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<()>;

    /// Tells the caller what came of it, once that is committed. Returns the
    /// kind of error, where it was refused.
    fn acknowledge(&mut self) -> Option<ErrorKind>;

    /// Tells the caller that it could not be done. Whoever was told already is
    /// not told again; returns whether it was told now.
    fn fail(&mut self, error: &Error) -> bool;
}

struct WithCaller<W, A> {
    write: W,
    outcome: Option<Result<A>>,
    caller: Option<oneshot::Sender<Result<A>>>,
}

/// A write for the queue, and where its caller waits for the answer.
#[allow(
    clippy::type_complexity,
    reason = "the two ends of what is between a caller and the writer"
)]
pub(crate) fn pending<B: Backend, W: Write<B>>(
    write: W,
) -> (
    Box<dyn Pending<B>>,
    oneshot::Receiver<Result<<W as Write<B>>::Answer>>,
) {
    let (caller, answer) = oneshot::channel();
    let pending = WithCaller {
        write,
        outcome: None,
        caller: Some(caller),
    };
    (Box::new(pending), answer)
}

impl<B: Backend, W: Write<B>> Pending<B> for WithCaller<W, W::Answer> {
    fn kind(&self) -> &'static str {
        W::KIND
    }

    fn apply(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        self.outcome = match self.write.apply(store, txn, recorder) {
            Err(error) if !W::has_changed_nothing(error.kind()) => return Err(error),
            outcome => Some(outcome),
        };
        Ok(())
    }

    fn acknowledge(&mut self) -> Option<ErrorKind> {
        let outcome = self.outcome.take()?;
        let refused = outcome.as_ref().err().map(Error::kind);
        if let Some(caller) = self.caller.take() {
            // Who has stopped waiting need not know.
            let _ = caller.send(outcome);
        }
        refused
    }

    fn fail(&mut self, error: &Error) -> bool {
        let Some(caller) = self.caller.take() else {
            return false;
        };
        let _ = caller.send(Err(error.clone()));
        true
    }
}
