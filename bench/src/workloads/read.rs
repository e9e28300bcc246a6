//! Answers: the newest events of a subscription, the latest session with an
//! ID, and a walk over all publications.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use realmstore::{SessionId, SubscriptionId};

use crate::data::Generator;
use crate::line_up::{GROUPS, Group};
use crate::measure::{Rounds, timed};
use crate::report::{Report, Target};
use crate::scale::Scale;
use crate::systems::{System, Touched};

/// The events that are asked for.
pub const NEWEST: usize = 100;

struct Contender<'s> {
    group: &'static Group,
    name: &'static str,
    system: &'s dyn System,
}

/// Asks all systems, which hold what the generator made, the same.
pub fn run(
    systems: &[Vec<Box<dyn System>>],
    generator: &Generator,
    scale: &Scale,
    report: &mut Report,
) {
    let mut contenders = Vec::new();
    for (group, members) in GROUPS.iter().zip(systems) {
        for (name, system) in group.names().zip(members) {
            contenders.push(Contender {
                group,
                name,
                system: &**system,
            });
        }
    }
    let busy = generator.subscriptions(NEWEST as u64);
    let sessions = generator.sessions();

    let rounds = in_turns(
        &mut contenders,
        scale.rounds,
        scale.rounds,
        |system, round| {
            let mut touched = Touched::default();
            for subscription in subscriptions(&busy, round, scale.queries) {
                touched.and(system.newest(subscription, NEWEST));
            }
            touched
        },
    );
    compare(
        "newest 100 events",
        "queries/s",
        scale.queries as f64,
        &rounds,
        &contenders,
        report,
    );

    let lookups = scale.queries * 20;
    let rounds = in_turns(
        &mut contenders,
        scale.rounds,
        scale.rounds,
        |system, round| {
            let mut touched = Touched::default();
            for session in latest_of(sessions, round, lookups) {
                touched.and(system.latest_session(session));
            }
            touched
        },
    );
    compare(
        "latest session",
        "queries/s",
        lookups as f64,
        &rounds,
        &contenders,
        report,
    );

    for (workload, is_checked) in [
        ("scan of all publications", false),
        ("scan, topics checked to be UTF-8", true),
    ] {
        let rounds = in_turns(&mut contenders, scale.rounds, 1, |system, _| {
            if is_checked {
                system.scan_checked()
            } else {
                system.scan_publications()
            }
        });
        let records = scale.publications as f64;
        compare(workload, "records/s", records, &rounds, &contenders, report);
    }
}

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
    contenders: &mut [Contender<'_>],
    rounds: usize,
    warm: usize,
    ask: impl Fn(&dyn System, usize) -> Touched,
) -> Rounds {
    for round in 0..warm {
        let mut answer = None;
        for contender in contenders.iter() {
            let touched = ask(contender.system, round);
            let expected = *answer.get_or_insert(touched);
            let name = contender.name;
            assert_eq!(
                touched, expected,
                "{name} gives another answer than those before it"
            );
        }
    }
    Rounds::take(rounds, contenders, |contender, round| {
        timed(|| std::hint::black_box(ask(contender.system, round))).0
    })
}

fn compare(
    workload: &str,
    unit: &'static str,
    operations: f64,
    rounds: &Rounds,
    contenders: &[Contender<'_>],
    report: &mut Report,
) {
    let mut own = 0;
    for (place, contender) in contenders.iter().enumerate() {
        if contender.name.starts_with("realmstore") {
            own = place;
            continue;
        }
        let target = match contender.name {
            // Nobody promises what the others do not do.
            _ if workload.contains("UTF-8") => None,
            "SQLite" if workload.starts_with("newest") => Some(Target::AtLeast(3.0)),
            name if name.starts_with("raw") => Some(Target::AtLeast(0.9)),
            _ => None,
        };
        let about = (workload, contender.group.engine.name(), contender.name);
        report.add(
            about,
            operations / rounds.median(own),
            unit,
            rounds.ratio(own, place),
            target,
        );
    }
    if workload.contains("UTF-8") {
        return;
    }
    let ours = || {
        contenders
            .iter()
            .enumerate()
            .filter(|(_, contender)| contender.name.starts_with("realmstore"))
    };
    let Some((best, fastest)) =
        ours().min_by(|(a, _), (b, _)| rounds.median(*a).total_cmp(&rounds.median(*b)))
    else {
        return;
    };
    for (place, contender) in contenders.iter().enumerate() {
        if ["redb", "fjall"].contains(&contender.name) {
            let engine = format!("best ({})", fastest.group.engine.name());
            let about = (workload, engine.as_str(), contender.name);
            let value = operations / rounds.median(best);
            report.add(
                about,
                value,
                unit,
                rounds.ratio(best, place),
                Some(Target::AtLeast(1.0)),
            );
        }
    }
}
