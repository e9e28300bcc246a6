//! Answers: the newest events of a subscription, the latest session with an
//! ID, and a walk over all publications.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use realmstore::{SessionId, SubscriptionId};

use crate::contender::{Ask, Contender};
use crate::line_up::GROUPS;
use crate::measure::Rounds;
use crate::report::{Report, Target};
use crate::scale::Scale;

/// The events that are asked for.
pub const NEWEST: usize = 100;

/// Asks all systems, by groups, the same of what they hold.
pub fn run(systems: &mut [Vec<Contender>], scale: &Scale, report: &mut Report) {
    let mut members = Vec::new();
    for (group, contenders) in GROUPS.iter().zip(systems) {
        for contender in contenders {
            members.push((group.engine.name(), contender));
        }
    }
    let queries = scale.queries;
    let rounds = in_turns(&mut members, scale.rounds, scale.rounds, |round| {
        Ask::Newest { round, queries }
    });
    let each = queries as f64;
    compare(
        "newest 100 events",
        "queries/s",
        each,
        &rounds,
        &members,
        report,
    );

    let queries = scale.queries * 20;
    let rounds = in_turns(&mut members, scale.rounds, scale.rounds, |round| {
        Ask::Latest { round, queries }
    });
    let each = queries as f64;
    compare(
        "latest session",
        "queries/s",
        each,
        &rounds,
        &members,
        report,
    );

    let each = scale.publications as f64;
    let rounds = in_turns(&mut members, scale.rounds, 1, |_| Ask::Scan);
    compare(
        "scan of all publications",
        "records/s",
        each,
        &rounds,
        &members,
        report,
    );
    let rounds = in_turns(&mut members, scale.rounds, 1, |_| Ask::ScanChecked);
    compare(CHECKED, "records/s", each, &rounds, &members, report);
}

/// A system, and the engine in its group.
type Member<'c> = (&'static str, &'c mut Contender);

/// What nobody promises: the others do not do it.
const CHECKED: &str = "scan, topics checked to be UTF-8";

/// The subscriptions that are asked for in a round.
pub fn subscriptions(
    all: &[SubscriptionId],
    round: usize,
    queries: usize,
) -> impl Iterator<Item = SubscriptionId> {
    let mut rng = StdRng::seed_from_u64(round as u64);
    (0..queries).filter_map(move |_| all.choose(&mut rng).copied())
}

/// The sessions that are asked for in a round.
pub fn latest_of(
    all: &[SessionId],
    round: usize,
    queries: usize,
) -> impl Iterator<Item = SessionId> {
    let mut rng = StdRng::seed_from_u64(round as u64);
    (0..queries).filter_map(move |_| all.choose(&mut rng).copied())
}

/// Asks all in turns. All that is asked for in the first `warm` rounds is asked
/// for once before: it is then in memory.
fn in_turns(
    members: &mut [Member<'_>],
    rounds: usize,
    warm: usize,
    ask: impl Fn(usize) -> Ask,
) -> Rounds {
    for round in 0..warm {
        let mut expected = None;
        for (_, contender) in &mut *members {
            let touched = contender.ask(ask(round)).touched;
            let name = contender.name();
            assert_eq!(
                touched,
                *expected.get_or_insert(touched),
                "{name} gives another answer than those before it"
            );
        }
    }
    Rounds::take(rounds, members, |(_, contender), round| {
        contender.ask(ask(round)).time()
    })
}

fn compare(
    workload: &str,
    unit: &'static str,
    operations: f64,
    rounds: &Rounds,
    members: &[Member<'_>],
    report: &mut Report,
) {
    let mut own = 0;
    for (place, (engine, contender)) in members.iter().enumerate() {
        let name = contender.name();
        if name.starts_with("realmstore") {
            own = place;
            continue;
        }
        let target = match name {
            _ if workload == CHECKED => None,
            "SQLite" if workload.starts_with("newest") => Some(Target::AtLeast(3.0)),
            name if name.starts_with("raw") => Some(Target::AtLeast(0.9)),
            _ => None,
        };
        let per_second = operations / rounds.median(own);
        let about = (workload, *engine, name);
        report.add(about, per_second, unit, rounds.ratio(own, place), target);
    }
    let ours = members.iter().enumerate();
    let ours = ours.filter(|(_, (_, contender))| contender.name().starts_with("realmstore"));
    let best = ours.min_by(|(a, _), (b, _)| rounds.median(*a).total_cmp(&rounds.median(*b)));
    let Some((best, (engine, _))) = best.filter(|_| workload != CHECKED) else {
        return;
    };
    let engine = format!("best ({engine})");
    for (place, (_, contender)) in members.iter().enumerate() {
        if ["redb", "fjall"].contains(&contender.name()) {
            let about = (workload, engine.as_str(), contender.name());
            let per_second = operations / rounds.median(best);
            let ratio = rounds.ratio(best, place);
            report.add(about, per_second, unit, ratio, Some(Target::AtLeast(1.0)));
        }
    }
}
