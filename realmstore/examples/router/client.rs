//! A simulated client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use realmstore::cbor::Cbor;
use realmstore::{
    MatchPolicy, Publication, PublicationId, Requester, Retain, SessionId, Timestamp,
};

use crate::Result;
use crate::broker::Broker;
use crate::journal::{Acknowledged, Journal};
use crate::statistics::{Kind, Statistics};

/// How many topics a client subscribes to, each time it has joined.
const SUBSCRIPTIONS: usize = 3;

/// How many publications it makes before it leaves.
const PUBLICATIONS: usize = 50;

/// One in so many clients logs everything.
const LOGGERS: u32 = 500;

pub(crate) struct Client {
    number: u32,
    topics: u32,
    /// Some topics have many subscribers, most have few.
    popularity: Zipf<f64>,
    random: StdRng,
    acknowledged: Acknowledged,
    broker: Arc<Broker>,
    journal: Arc<Journal>,
    statistics: Arc<Statistics>,
}

/// The ID of what a client does, so that it can be told what must be in the store.
pub(crate) fn id(client: u32, number: u64) -> u64 {
    (u64::from(client) + 1) << 32 | number
}

fn topic(number: u32) -> String {
    format!("com.example.topic{number}")
}

impl Client {
    pub(crate) fn new(
        number: u32,
        topics: u32,
        broker: &Arc<Broker>,
        journal: &Arc<Journal>,
        statistics: &Arc<Statistics>,
    ) -> Result<Self> {
        Ok(Self {
            number,
            topics,
            popularity: Zipf::new(f64::from(topics), 1.0)?,
            random: StdRng::seed_from_u64(number.into()),
            acknowledged: journal.of(number),
            broker: Arc::clone(broker),
            journal: Arc::clone(journal),
            statistics: Arc::clone(statistics),
        })
    }

    /// Joins, does something, and leaves, again and again.
    pub(crate) async fn live(mut self, stop: Arc<AtomicBool>) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let number = self.acknowledged.joined + 1;
            let session = SessionId::new(id(self.number, number))?;
            let joined_at = Timestamp::now();
            let authid = format!("client{}", self.number);
            let joining = self.broker.join(session, &authid, joined_at);
            self.statistics.measure(Kind::Join, joining).await?;
            self.note(|acknowledged| acknowledged.joined = number)?;

            let requester = Requester {
                authid: Some(authid),
                authrole: Some("user".to_owned()),
                session: Some((session, joined_at)),
            };
            self.be_there(&requester, session, &stop).await?;

            let leaving = self.broker.leave(session);
            self.statistics.measure(Kind::Leave, leaving).await?;
            self.note(|acknowledged| acknowledged.left = number)?;
        }
        Ok(())
    }

    async fn be_there(
        &mut self,
        requester: &Requester,
        session: SessionId,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut wanted = Vec::with_capacity(SUBSCRIPTIONS + 1);
        if self.number.is_multiple_of(LOGGERS) {
            wanted.push(("com.example.".to_owned(), MatchPolicy::Prefix));
        }
        for _ in 0..SUBSCRIPTIONS {
            let rank = self.popularity.sample(&mut self.random) as u32;
            wanted.push((topic(rank - 1), MatchPolicy::Exact));
        }
        let mut subscribed = Vec::with_capacity(wanted.len());
        for (uri, policy) in wanted {
            let subscribing = self.broker.subscribe(session, &uri, policy);
            subscribed.push(
                self.statistics
                    .measure(Kind::Subscribe, subscribing)
                    .await?,
            );
            if self.random.random_ratio(1, 4) && policy == MatchPolicy::Exact {
                let getting = self.broker.retained(requester.clone(), &uri, policy);
                self.statistics.measure(Kind::Retained, getting).await?;
            }
        }
        for _ in 0..PUBLICATIONS {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.publish(session).await?;
            if self.random.random_ratio(1, 10) {
                let subscription = subscribed[self.random.random_range(..subscribed.len())];
                let asking = self.broker.history(requester.clone(), subscription, 10);
                self.statistics.measure(Kind::History, asking).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, session: SessionId) -> Result<()> {
        let number = self.acknowledged.published + 1;
        let topic = topic(self.random.random_range(..self.topics));
        let publication = Publication {
            publisher: Some(session),
            args: Some(Cbor::serialize(&(number, "measured", [0.5; 8]))?),
            ..Publication::new(
                PublicationId::new(id(self.number, number))?,
                Timestamp::now(),
                topic,
            )
        };
        let retain = self.random.random_ratio(1, 50).then(Retain::default);
        let publishing = self.broker.publish(publication, retain);
        let receivers = self.statistics.measure(Kind::Publish, publishing).await?;
        self.note(|acknowledged| {
            acknowledged.published = number;
            acknowledged.events += receivers;
        })
    }

    fn note(&mut self, note: impl FnOnce(&mut Acknowledged)) -> Result<()> {
        note(&mut self.acknowledged);
        self.journal.note(self.number, self.acknowledged)
    }
}
