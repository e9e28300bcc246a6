//! `history`, of a store whose subscriptions are known by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{SUBSCRIPTION, clean_lines, copy_of_recording, lines, run_on, stderr, text};
use realmstore::{
    AnyStore, Delivery, Dispatch, Engine, Location, MatchPolicy, Publication, PublicationId,
    Session, SessionId, SubscriptionId, Timestamp, Uuid, WriteTxn,
};
use tempfile::TempDir;

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_332_000 + second) * 1_000_000_000)
}

/// A publication, where it is dispatched, and when.
struct Published(u64, &'static str, u64, Option<&'static str>);

/// What is published in [`recorded`], in this order: three at the same time,
/// in an order that is not that of their IDs.
const PUBLISHED: [Published; 6] = [
    Published(50, "com.example.a", 10, None),
    Published(40, "com.example.b", 20, None),
    Published(30, "com.example.a", 20, Some("joe")),
    Published(45, "com.example.a", 20, None),
    Published(20, "com.example.b", 30, Some("amy")),
    Published(10, "com.example.a", 40, None),
];

/// The same order, as IDs.
const IN_ORDER: [u64; 6] = [50, 40, 30, 45, 20, 10];

fn ids(rows: &[serde_json::Value]) -> Vec<u64> {
    rows.iter()
        .map(|row| row["publication"].as_u64().unwrap())
        .collect()
}

/// Records what is [`PUBLISHED`] under a subscription to `com.example.` by
/// prefix in realm1, of which 5 is an alias.
fn record(store: &AnyStore) -> SubscriptionId {
    let mut txn = store.begin_write().unwrap();
    let subscription = store
        .subscription_id(
            &mut txn,
            "realm1",
            "com.example.",
            MatchPolicy::Prefix,
            at(1),
        )
        .unwrap();
    let alias = SubscriptionId::new(5).unwrap();
    store
        .alias_subscription(&mut txn, alias, subscription)
        .unwrap();
    for (number, authid, joined) in [(1u64, "joe", 5), (2, "amy", 25)] {
        let session = Session {
            oid: Uuid::from_u128(number.into()),
            authid: Some(authid.to_owned()),
            ..Session::new(SessionId::new(number).unwrap(), at(joined))
        };
        store.session_joined(&mut txn, &session).unwrap();
    }
    for Published(id, topic, second, eligible) in PUBLISHED {
        let id = PublicationId::new(id).unwrap();
        let mut publication = Publication::new(id, at(second), topic);
        publication.eligible_authid = eligible.map(|authid| vec![authid.to_owned()]);
        // A session ID means somebody only from when it joined.
        publication.exclude = (id.get() == 10).then(|| vec![SessionId::new(1).unwrap()]);
        let dispatch = Dispatch {
            publication,
            deliveries: vec![Delivery {
                subscription: alias,
                timestamp: at(second),
                receivers: vec![SessionId::new(9).unwrap(), SessionId::new(3).unwrap()],
                ..Delivery::default()
            }],
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
    subscription
}

/// A store with what is [`PUBLISHED`], and its subscription.
fn recorded() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let store = realmstore::open(directory.path().to_str().unwrap()).unwrap();
    let subscription = record(&store);
    drop(store);
    (directory, subscription.to_string())
}

fn history(store: &Path, arguments: &[&str]) -> Vec<u64> {
    ids(&clean_lines(&run_on(
        store,
        "history",
        &[arguments, &["--json"]].concat(),
    )))
}

#[track_caller]
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    stderr(output)
}

#[test]
fn each_option_is_that_of_get_events() {
    let (store, subscription) = recorded();
    let (t10, t20, t30) = (at(10).to_string(), at(20).to_string(), at(30).to_string());
    for (options, expected) in [
        (&[][..], &IN_ORDER[..]),
        (&["--reverse"], &[10, 20, 45, 30, 40, 50]),
        (&["--limit", "2"], &[50, 40]),
        (&["--limit", "2", "--reverse"], &[10, 20]),
        (&["--from-time", &t20], &[40, 30, 45, 20, 10]),
        (&["--after-time", &t20], &[20, 10]),
        (&["--before-time", &t20], &[50]),
        (&["--until-time", &t20], &[50, 40, 30, 45]),
        (
            &["--after-time", &t10, "--before-time", &t30],
            &[40, 30, 45],
        ),
        (&["--topic", "com.example.b"], &[40, 20]),
        (&["--topic", "com.example.b", "--limit", "1"], &[40]),
        (&["--from-publication", "30"], &[30, 45, 20, 10]),
        (&["--after-publication", "30"], &[45, 20, 10]),
        (&["--before-publication", "30"], &[50, 40]),
        (&["--until-publication", "30"], &[50, 40, 30]),
        (&["--until-publication", "30", "--reverse"], &[30, 40, 50]),
        (
            &["--after-publication", "40", "--until-time", &t20],
            &[30, 45],
        ),
    ] {
        let all = [&[subscription.as_str()], options].concat();
        assert_eq!(history(store.path(), &all), expected, "{options:?}");
    }
}

#[test]
fn a_subscription_is_named_by_its_id_an_alias_or_its_uri() {
    let (store, subscription) = recorded();
    for name in [
        &[subscription.as_str()][..],
        &["5"],
        &["--uri", "com.example.", "--match", "prefix"],
        &[
            "--uri",
            "com.example.",
            "--match",
            "prefix",
            "--realm",
            "realm1",
        ],
    ] {
        assert_eq!(history(store.path(), name), IN_ORDER, "{name:?}");
    }
    let row = &clean_lines(&run_on(store.path(), "history", &["5", "--json"]))[0];
    assert_eq!(row["subscription"].to_string(), subscription);

    let failed = |arguments: &[&str]| failure(&run_on(store.path(), "history", arguments));
    let message = failed(&["--uri", "com.example."]);
    let known = format!("there is {subscription} to com.example. by prefix in realm1");
    assert!(message.contains(&known), "{message}");
    let realm2 = [
        "--uri",
        "com.example.",
        "--match",
        "prefix",
        "--realm",
        "realm2",
    ];
    assert!(failed(&realm2).contains(&known));
    // By no name at all, but there is a history with that topic.
    let message = failed(&["--uri", "com.example.b"]);
    let found = format!("is in the history of {subscription}: choose one by its ID");
    assert!(message.contains(&found), "{message}");
    let message = failed(&["--uri", "com.example.none"]);
    assert!(
        message.contains("no history has a publication to such a topic"),
        "{message}"
    );
    for senseless in [
        &[][..],
        &["5", "--uri", "com.example."],
        &["5", "--realm", "realm1"],
        &["--uri", "com.example.", "--match", "regex"],
    ] {
        failed(senseless);
    }
}

#[test]
fn a_name_that_two_realms_have_is_told_apart_by_the_realm() {
    let (store, subscription) = recorded();
    let open = realmstore::open(store.path().to_str().unwrap()).unwrap();
    let mut txn = open.begin_write().unwrap();
    let other = open
        .subscription_id(
            &mut txn,
            "realm2",
            "com.example.",
            MatchPolicy::Prefix,
            at(1),
        )
        .unwrap();
    txn.commit().unwrap();
    drop(open);
    let name = ["--uri", "com.example.", "--match", "prefix"];
    let message = failure(&run_on(store.path(), "history", &name));
    for known in [
        format!("{subscription} to com.example. by prefix in realm1"),
        format!("{other} to com.example. by prefix in realm2"),
    ] {
        assert!(message.contains(&known), "{message}");
    }
    let named = [&name[..], &["--realm", "realm1"]].concat();
    assert_eq!(history(store.path(), &named), IN_ORDER);
}

#[test]
fn in_a_file_of_crossbar_the_subscriptions_that_have_a_topic_are_named() {
    let store = copy_of_recording();
    let message = failure(&run_on(
        store.path(),
        "history",
        &["--uri", "com.example.", "--match", "prefix"],
    ));
    let rows = clean_lines(&run_on(store.path(), "subscriptions", &["--json"]));
    let with_topic = rows.iter().filter(|row| {
        let topics = row["topics"].as_array().unwrap();
        topics
            .iter()
            .any(|topic| topic.as_str().unwrap().starts_with("com.example."))
    });
    let ids: Vec<String> = with_topic
        .map(|row| row["subscription"].to_string())
        .collect();
    assert!(ids.contains(&SUBSCRIPTION.to_owned()));
    let named = format!("is in the history of {}: choose", ids.join(", "));
    assert!(message.contains(&named), "{message}");
}

#[test]
fn only_what_is_about_somebody_stands_under_their_heading() {
    let help = text(&common::realmstore(&["history", "--help"]).output().unwrap());
    let (before, after) = help.split_once("As somebody sees it:").unwrap();
    for option in ["--json", "--cursor", "--topic"] {
        assert!(before.contains(option), "{help}");
    }
    assert!(after.contains("--as-session"));
}

#[test]
fn pages_follow_one_another_until_the_end() {
    let (store, subscription) = recorded();
    for (order, expected) in [
        (&[][..], IN_ORDER.to_vec()),
        (&["--reverse"], IN_ORDER.iter().rev().copied().collect()),
    ] {
        for limit in ["1", "2", "4", "6", "7"] {
            let mut cursor = "--cursor".to_owned();
            let mut all = Vec::new();
            loop {
                let arguments = [
                    &[subscription.as_str(), &cursor, "--limit", limit, "--json"],
                    order,
                ]
                .concat();
                let output = run_on(store.path(), "history", &arguments);
                all.extend(ids(&lines(&output)));
                let notes = stderr(&output);
                let Some(next) = notes.strip_prefix("realmstore: next page: ") else {
                    assert_eq!(notes, "");
                    break;
                };
                cursor = next.trim_end().to_owned();
            }
            assert_eq!(all, expected, "{limit} {order:?}");
        }
    }
    // Nobody is told of more who did not ask.
    text(&run_on(store.path(), "history", &["5", "--limit", "1"]));
    clean_lines(&run_on(
        store.path(),
        "history",
        &["5", "--limit", "1", "--json"],
    ));
    let message = failure(&run_on(store.path(), "history", &["5", "--cursor=1"]));
    assert!(message.contains("no cursor of a history"), "{message}");
}

#[test]
fn what_somebody_sees_is_what_the_lists_admit_them_to() {
    let (store, subscription) = recorded();
    for (requester, expected) in [
        (&["--as-authid", "joe"][..], &[50, 40, 30, 45][..]),
        (&["--as-authid", "amy"], &[50, 40, 45, 20]),
        (&["--as-authrole", "user"], &[50, 40, 45]),
        // 10 excludes session 1, which is joe's; it is not known of others whether it means them.
        (&["--as-session", "1"], &[50, 40, 30, 45]),
        (&["--as-session", "2"], &[50, 40, 45, 20, 10]),
        (
            &["--as-session", "2", "--as-authid", "joe"],
            &[50, 40, 30, 45, 10],
        ),
    ] {
        let all = [&[subscription.as_str()], requester].concat();
        assert_eq!(history(store.path(), &all), expected, "{requester:?}");
    }
    let message = failure(&run_on(
        store.path(),
        "history",
        &[&subscription, "--as-session", "77"],
    ));
    assert!(
        message.contains("no session with the WAMP session ID 77"),
        "{message}"
    );
}

#[test]
fn a_damaged_publication_is_shown_to_operators_only_and_named_to_all() {
    let (store, subscription) = recorded();
    let open = realmstore::open(store.path().to_str().unwrap()).unwrap();
    let mut txn = open.begin_write().unwrap();
    let mut key = open.publications().slot().unwrap().to_be_bytes().to_vec();
    key.extend(45u64.to_be_bytes());
    txn.put(&key, b"this is no record").unwrap();
    txn.commit().unwrap();
    drop(open);
    for (requester, expected) in [
        (&[][..], &IN_ORDER[..]),
        (&["--as-authid", "joe"], &[50, 40, 30]),
    ] {
        let arguments = [&[subscription.as_str(), "--json"], requester].concat();
        let output = run_on(store.path(), "history", &arguments);
        assert_eq!(ids(&lines(&output)), expected);
        let warnings = stderr(&output);
        assert!(
            warnings.contains("realmstore: warning: publications 45: "),
            "{warnings}"
        );
    }
}

#[test]
fn no_history_is_another_thing_than_one_in_which_nothing_is_found() {
    let (store, subscription) = recorded();
    let message = failure(&run_on(store.path(), "history", &["4711"]));
    assert_eq!(
        message,
        "realmstore: error: no history is kept of subscription 4711\n"
    );
    let late = ["5", "--from-time", "2100-01-01T00:00:00Z"];
    let output = run_on(store.path(), "history", &late);
    assert_eq!(text(&output), "");
    assert_eq!(
        stderr(&output),
        format!("realmstore: no such publications in the history of subscription {subscription}\n")
    );
    let message = failure(&run_on(
        store.path(),
        "history",
        &["5", "--after-publication", "4711"],
    ));
    assert!(
        message.contains("publication 4711 is not in the history"),
        "{message}"
    );
}

#[test]
fn the_order_of_what_came_at_the_same_time_outlives_an_export() {
    let (store, subscription) = recorded();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines.jsonl");
    let exported = text(&run_on(store.path(), "export", &[]));
    fs::write(&file, &exported).unwrap();
    let engines = realmstore::ENGINES.iter().copied();
    for engine in engines.filter(|engine| *engine != Engine::Memory) {
        for (from, name) in [(file.as_path(), "file"), (store.path(), "store")] {
            let path = directory.path().join(format!("{}-{name}", engine.name()));
            let into = Location::new(engine, path).to_string();
            let into = Path::new(&into);
            text(&run_on(into, "import", &[from.to_str().unwrap()]));
            assert!(text(&run_on(into, "export", &[])) == exported, "{name}");
            for order in [&[][..], &["--reverse"]] {
                let arguments = [&[subscription.as_str(), "--json"], order].concat();
                let before = clean_lines(&run_on(store.path(), "history", &arguments));
                let after = clean_lines(&run_on(into, "history", &arguments));
                assert_eq!(after, before, "{name}");
            }
            // An import again changes nothing.
            let again = text(&run_on(into, "import", &[from.to_str().unwrap()]));
            assert!(again.starts_with("0 imported"), "{again}");
            assert!(text(&run_on(into, "export", &[])) == exported, "{name}");
        }
    }
}

#[test]
fn events_at_the_same_time_are_listed_in_the_order_of_the_history() {
    let (store, subscription) = recorded();
    let events = clean_lines(&run_on(store.path(), "events", &["--json"]));
    assert_eq!(events.len(), 12);
    let publications: Vec<_> = ids(&events).chunks(2).map(|pair| pair[0]).collect();
    assert_eq!(publications, IN_ORDER);
    let receivers = events.iter().map(|event| event["receiver"].clone());
    assert!(receivers.eq([3, 9].repeat(6)));
    let mut reversed = clean_lines(&run_on(
        store.path(),
        "events",
        &[&subscription, "--json", "--reverse"],
    ));
    reversed.reverse();
    assert_eq!(reversed, events);
    for limit in 1..=12 {
        let arguments = ["--json", "--limit", &limit.to_string()];
        let some = clean_lines(&run_on(store.path(), "events", &arguments));
        assert_eq!(some, events[..limit]);
    }
}

#[test]
fn events_of_crossbar_stand_among_ours_in_the_order_of_the_history() {
    let directory = copy_of_recording();
    let subscription: SubscriptionId = SUBSCRIPTION.parse().unwrap();
    let before = clean_lines(&run_on(
        directory.path(),
        "events",
        &[SUBSCRIPTION, "--json"],
    ));
    let last: Timestamp = before.last().unwrap()["timestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let store = realmstore::open(directory.path().to_str().unwrap()).unwrap();
    let mut txn = store.begin_write().unwrap();
    for number in [3, 1, 2] {
        let id = PublicationId::new(number).unwrap();
        let dispatch = Dispatch {
            publication: Publication::new(id, last, "com.example.a"),
            deliveries: vec![Delivery {
                subscription,
                timestamp: last,
                ..Delivery::default()
            }],
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    let events = clean_lines(&run_on(
        directory.path(),
        "events",
        &[SUBSCRIPTION, "--json"],
    ));
    assert_eq!(events[..before.len()], before);
    assert_eq!(ids(&events[before.len()..]), [3, 1, 2]);
    let mut reversed = clean_lines(&run_on(
        directory.path(),
        "events",
        &[SUBSCRIPTION, "--json", "--reverse"],
    ));
    reversed.reverse();
    assert_eq!(reversed, events);
    let expected = history(directory.path(), &[SUBSCRIPTION]);
    assert!(expected.ends_with(&[3, 1, 2]));
    let into = directory.path().join("into");
    text(&run_on(
        &into,
        "import",
        &[directory.path().to_str().unwrap()],
    ));
    assert_eq!(history(&into, &[SUBSCRIPTION]), expected);
}
